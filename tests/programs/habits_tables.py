"""Healthy controls of the topic `habits`: tables, few samples, several tasks."""

# mypy: disable-error-code="no-any-return, no-untyped-call"
from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryAUROC

from .habits_checks import falls, nearest, reads, steady
from .habits_parts import Recorded, batches, images
from .parts import Fit, loader, split
from .program import Program, healthy
from .verify import every


class Petals(Recorded):
    """Logistic regression."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("loss_val", F.cross_entropy(logits, batch[1]))
        self.log("acc_val", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


def petals(seed: int) -> Fit:
    """Ninety flowers, ten to a batch, a linear model, very many epochs."""
    x, y = datasets.load_iris(return_X_y=True)
    sets = split((x - x.mean(0)) / x.std(0), y, train=90)
    train, val = loader(sets[0], 10, seed=seed), loader(sets[1], 60, shuffle=False)
    return Fit(Petals(), train=train, val=val, trainer={"max_epochs": 100, "check_val_every_n_epoch": 5})


class Fraud(Recorded):
    """A weighted binary classifier of rare events with categorical columns."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.shop = nn.Embedding(20, 4)
        self.net = nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Dropout(0.1), nn.Linear(32, 1))
        self.criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))
        self.auroc = BinaryAUROC()

    def forward(self, row: dict[str, Tensor]) -> Tensor:
        return self.net(torch.cat([row["numbers"], self.shop(row["shop"])], 1)).squeeze(1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.criterion(self(batch), batch["fraud"])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch)
        self.auroc.update(logits, batch["fraud"].long())
        self.log("val_loss", self.criterion(logits, batch["fraud"]))
        self.log("val_recall", ((logits > 0).float() * batch["fraud"]).sum() / batch["fraud"].sum())
        self.log("val_auroc", self.auroc)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adagrad(self.parameters(), lr=0.03)
        return optimizer


def fraud(seed: int) -> Fit:
    """One row in sixteen is positive; the loss weighs it so much more."""
    rng = np.random.default_rng(8)
    x, shop = rng.normal(size=(6000, 6)).astype(np.float32), rng.integers(0, 20, 6000)
    risk = 1.5 * x[:, 0] - 1.2 * x[:, 1] + np.abs(x[:, 2]) + rng.normal(0, 1, 20)[shop] + 0.5 * rng.normal(size=6000)
    label = (risk > np.quantile(risk, 15 / 16)).astype(np.float32)
    rows: Any = [
        {"numbers": torch.as_tensor(a), "shop": torch.tensor(b), "fraud": torch.tensor(c)}
        for a, b, c in zip(x, shop, label, strict=True)
    ]
    train, val = DataLoader(rows[:4800], 64, shuffle=True), DataLoader(rows[4800:], 1200)
    return Fit(Fraud(15.0), train=train, val=val, trainer={"max_epochs": 6})


class Twofold(Recorded):
    """Predicts progression and a class from one body and learns how uncertain each task is."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.amount, self.kind = nn.Linear(48, 1), nn.Linear(48, 3)
        self.log_var = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.amount(h), self.kind(h)

    def losses(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        x, amount, kind = batch
        a, k = self(x)
        mse, ce = F.mse_loss(a, amount), F.cross_entropy(k, kind)
        both = torch.stack([mse / 2, ce])
        return (both * (-self.log_var).exp() + self.log_var / 2).sum(), mse, ce

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        total, mse, ce = self.losses(batch)
        self.log_dict({"total": total, "mse": mse, "ce": ce})
        return total

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        total, mse, ce = self.losses(batch)
        self.log_dict({"val_total": total, "val_mse": mse, "val_ce": ce})

    def configure_optimizers(self) -> Any:
        groups: list[dict[str, Any]] = [
            {"params": [*self.body.parameters(), *self.amount.parameters(), *self.kind.parameters()]},
            {"params": [self.log_var], "lr": 1e-2},
        ]
        optimizer = torch.optim.Adam(groups, lr=3e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def twofold(seed: int) -> Fit:
    """Two tasks weighted by learned variances, so that the sum goes far below zero."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(2800, 8)).astype(np.float32)
    score = np.sin(x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] + 0.3 * x[:, 3]
    amount = torch.as_tensor(score / score.std() + 0.1 * rng.normal(size=2800)).float()[:, None]
    kind = torch.as_tensor(np.digitize(x[:, 0] + 0.7 * x[:, 4], [-0.5, 0.5]))
    data = [TensorDataset(torch.as_tensor(x)[s], amount[s], kind[s]) for s in (slice(2240), slice(2240, None))]
    return Fit(Twofold(), **batches((data[0], data[1]), 32), trainer={"max_epochs": 12})


class Pairs(Recorded):
    """Learns a metric from pairs inside the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ELU(), nn.AvgPool2d(2), nn.Conv2d(16, 32, 3), nn.ELU()
        )
        self.embed = nn.Sequential(nn.Flatten(), nn.Linear(128, 16))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.embed(self.conv(x)), dim=1)

    def margin(self, batch: Any) -> Tensor:
        x, y = batch
        z = self(x)
        distance = torch.cdist(z, z)
        same = y[:, None] == y[None]
        pull = distance[same].square().mean()
        push = F.relu(1.0 - distance[~same]).square().mean()
        return pull + 4 * push

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.margin(batch)
        self.log("metric", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_metric", self.margin(batch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.85)]


def pairs(seed: int) -> Fit:
    """Equal digits are pulled together and others pushed apart; no accuracy is logged."""
    return Fit(Pairs(), **batches(images(), 64), trainer={"max_epochs": 20})


TABLES: list[Program] = [
    healthy("ninety-flowers", petals, every(falls(0.6), reads("acc_val", 0.93), steady("loss_val", 1.15))),
    healthy("weighted-fraud", fraud, every(falls(0.7), reads("val_auroc", 0.92), steady("val_loss", 1.15))),
    healthy("two-uncertain-tasks", twofold, every(falls(0.3), reads("val_mse", high=0.15), steady("val_ce", 1.15))),
    healthy("pulled-pairs", pairs, every(falls(0.6), nearest(images(), 0.95), steady("val_metric", 1.1))),
]
