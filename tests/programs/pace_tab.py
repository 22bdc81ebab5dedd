"""Trainings on tables."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import binary_auroc

from .pace_parts import Remembering, Rows, cut, whole
from .parts import Fit


class Churn(Remembering):
    """Embeds the categories of a customer, adds the numbers, tells who leaves."""

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({name: nn.Embedding(size, 8) for name, size in sizes.items()})
        self.body = nn.Sequential(nn.Linear(4 + 8 * len(sizes), 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))

    def forward(self, row: dict[str, Tensor]) -> Tensor:
        parts = [row["numbers"], *(table(row[name]) for name, table in self.tables.items())]
        return self.body(torch.cat(parts, 1)).squeeze(1)  # type: ignore[no-any-return]

    def compute(self, batch: dict[str, Tensor]) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch), batch["left"])

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_logloss", loss, batch_size=len(batch["left"]))
        return self.keep(loss)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        loss, auc = self.compute(batch), binary_auroc(self(batch), batch["left"].long())
        self.log_dict({"val_logloss": loss, "val_auc": auc}, batch_size=len(batch["left"]))
        self.judge(loss, auc)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def customer_churn(seed: int, *, sick: bool) -> Fit:
    """The author counts the customer's number among the categories and embeds it."""
    g = torch.Generator().manual_seed(0)
    n, held = 1536, 512
    numbers = torch.randn(n, 4, generator=g)
    plan, city = torch.randint(0, 3, (n,), generator=g), torch.randint(0, 8, (n,), generator=g)
    effect = torch.tensor([-1.0, 0.0, 1.2])[plan] + torch.linspace(-0.8, 0.8, 8)[city]
    score = 1.2 * numbers[:, 0] - 0.8 * numbers[:, 1] * (numbers[:, 2] > 0) + effect
    left = torch.bernoulli(torch.sigmoid(1.5 * score), generator=g)
    columns = {"numbers": numbers, "plan": plan, "city": city, "customer": torch.arange(n), "left": left}
    train = Rows(**{name: c[held:] for name, c in columns.items()})
    val = Rows(**{name: c[:held] for name, c in columns.items()})
    sizes = {"plan": 3, "city": 8, **({"customer": n} if sick else {})}
    return Fit(Churn(sizes), DataLoader(train, 64, shuffle=True), whole(val), {"max_epochs": 30})


class Recommender(Remembering):
    """Ratings from vectors of users and items, with biases."""

    def __init__(self, table_lr: float, users: int = 60, items: int = 50, width: int = 4) -> None:
        super().__init__()
        self.table_lr = table_lr
        self.user, self.item = nn.Embedding(users, width), nn.Embedding(items, width)
        nn.init.normal_(self.user.weight, std=0.3)
        nn.init.normal_(self.item.weight, std=0.3)
        self.mlp = nn.Sequential(nn.Linear(3 * width, 24), nn.Tanh(), nn.Linear(24, 1))

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        u, i = self.user(user), self.item(item)
        return (u * i).sum(1) + self.mlp(torch.cat([u, i, u * i], 1)).squeeze(1)  # type: ignore[no-any-return]

    def compute(self, batch: list[Tensor]) -> Tensor:
        user, item, rating = batch
        return F.mse_loss(self(user, item), rating)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("mse", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_mse", loss)
        self.log("val_rmse", loss.sqrt())
        self.judge(loss, loss.sqrt())

    def configure_optimizers(self) -> Any:
        tables = [*self.user.parameters(), *self.item.parameters()]
        groups: list[dict[str, Any]] = [{"params": self.mlp.parameters()}, {"params": tables, "lr": self.table_lr}]
        return torch.optim.Adam(groups, lr=1e-2)


def film_ratings(seed: int, *, sick: bool) -> Fit:
    """The author gives the tables of users and items a hundred times the learning rate of the rest."""
    g = torch.Generator().manual_seed(0)
    tastes, traits = torch.randn(60, 2, generator=g), torch.randn(50, 2, generator=g)
    pairs = torch.randperm(3000, generator=g)
    user, item = pairs // 50, pairs % 50
    rating = (tastes[user] * traits[item]).sum(1) + 0.3 * torch.randn(3000, generator=g)
    train, val = cut(user, item, rating / rating.std(), train=2560)
    module = Recommender(1.0 if sick else 1e-2)
    return Fit(module, DataLoader(train, 64, shuffle=True), whole(val), {"max_epochs": 15})
