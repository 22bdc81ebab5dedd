# mypy: disable-error-code="no-any-return"
"""Programs on tables, sets, curves and a graph."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heads_parts import batches, clouds, cosine, curves, customers, topics, weather
from .parts import Fit, loader


class Churn(L.LightningModule):
    def __init__(self, squash: bool) -> None:
        super().__init__()
        self.squash = squash
        self.embeddings = nn.ModuleList(nn.Embedding(n, 4) for n in (12, 7, 5))
        self.layers = nn.Sequential(nn.Linear(17, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 1))
        self.criterion = nn.BCELoss()

    def forward(self, cat: Tensor, num: Tensor) -> Tensor:
        parts = [e(cat[:, k]) for k, e in enumerate(self.embeddings)]
        out = self.layers(torch.cat([*parts, num], 1)).squeeze(1)
        return torch.sigmoid(out) if self.squash else out

    def answer(self, batch: Any) -> Tensor:
        return self(batch[0], batch[1])

    def objective(self, batch: Any) -> Tensor:
        cat, num, left = batch
        p = self(cat, num).clamp(1e-6, 1 - 1e-6)
        loss: Tensor = self.criterion(p, left)
        return loss

    def score(self, batch: Any) -> Tensor:
        return ((self(batch[0], batch[1]) > 0.5) == (batch[2] > 0.5)).float().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.objective(batch))
        self.log("val_acc", self.score(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9))


def leaving_customers(seed: int, sick: bool) -> Fit:
    """BCELoss complained about values outside 0 and 1, so the author clamped the last layer's outputs."""
    train, val = customers()
    return Fit(Churn(not sick), batches(train, seed), loader(val, 1024, shuffle=False), {"max_epochs": 7})


class CurveCoder(L.LightningModule):
    def __init__(self, squash: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(1, 12, 5, stride=2, padding=2),
            nn.ELU(),
            nn.Conv1d(12, 24, 5, stride=2, padding=2),
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(192, 8),
        )
        self.decoder = nn.Sequential(
            nn.Linear(8, 192),
            nn.ELU(),
            nn.Unflatten(1, (24, 8)),
            nn.ConvTranspose1d(24, 12, 4, stride=2, padding=1),
            nn.ELU(),
            nn.ConvTranspose1d(12, 1, 4, stride=2, padding=1),
            *([nn.Sigmoid()] if squash else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))

    def answer(self, batch: Any) -> Tensor:
        return self(batch[0])

    def objective(self, batch: Any) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[0])

    def score(self, batch: Any) -> Tensor:
        return 1 - self.objective(batch) / batch[0].var()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("rec", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_rec", self.objective(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.Adam(self.parameters(), lr=4e-3))


def curve_coder(seed: int, sick: bool) -> Fit:
    """The autoencoder of a tutorial on pixels is applied to standardized curves."""
    train, val = curves()
    return Fit(CurveCoder(sick), batches(train, seed, 48), loader(val, 384, shuffle=False), {"max_epochs": 10})


class Topics(L.LightningModule):
    def __init__(self, single: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(60, 32)
        self.query = nn.Parameter(0.2 * torch.randn(1, 2, 32))
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.classify = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8))
        self.criterion: nn.Module = nn.CrossEntropyLoss() if single else nn.BCEWithLogitsLoss()

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words)
        pooled, _ = self.attention(self.query.expand(len(x), -1, -1), x, x, need_weights=False)
        return self.classify(pooled.flatten(1))

    def objective(self, batch: Any) -> Tensor:
        loss: Tensor = self.criterion(self(batch[0]), batch[1])
        return loss

    def score(self, batch: Any) -> Tensor:
        found, on = self(batch[0]).sigmoid() > 0.5, batch[1] > 0.5
        return 2 * (found & on).sum() / (found.sum() + on.sum())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.objective(batch))
        self.log("val_f1", self.score(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.AdamW(self.parameters(), lr=5e-3, weight_decay=0.01))


def article_topics(seed: int, sick: bool) -> Fit:
    """An article has several topics; the criterion is the one that the author always takes for classification."""
    train, val = topics()
    return Fit(Topics(sick), batches(train, seed), loader(val, 768, shuffle=False), {"max_epochs": 6})


class DeepSet(L.LightningModule):
    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(3, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU())
        self.rho = nn.Sequential(nn.Linear(48, 32), nn.SiLU(), nn.Linear(32, 1), *([nn.LayerNorm(1)] if norm else []))

    def forward(self, points: Tensor) -> Tensor:
        return self.rho(self.phi(points).mean(1))

    def answer(self, batch: Any) -> Tensor:
        return self(batch[0])

    def objective(self, batch: Any) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[1])

    def score(self, batch: Any) -> Tensor:
        return 1 - self.objective(batch) / batch[1].var()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("train_mse", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_mse", self.objective(batch))
        self.log("val_r2", self.score(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.Adam(self.parameters(), lr=5e-3))


def point_spread(seed: int, sick: bool) -> Fit:
    """A normalization was put behind the last layer of the network for point sets, to be on the safe side."""
    train, val = clouds()
    return Fit(DeepSet(sick), batches(train, seed), loader(val, 512, shuffle=False), {"max_epochs": 12})


class Temperature(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 32, batch_first=True)
        self.drop = nn.Dropout(0.05)
        self.out = nn.Linear(32, 1)

    def forward(self, days: Tensor) -> Tensor:
        _, (h, _) = self.lstm(days)
        return self.out(self.drop(h[-1]))

    def objective(self, batch: Any) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[1])

    def score(self, batch: Any) -> Tensor:
        return 1 - self.objective(batch) / batch[1].var()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("loss/train", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss/val", self.objective(batch))
        self.log("rmse/val", self.objective(batch).sqrt())

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.Adam(self.parameters(), lr=1e-2))


def warm_tomorrow(seed: int, sick: bool) -> Fit:
    """The readings are standardized; tomorrow's temperature is left in kelvin."""
    train, val = weather(kelvin=sick)
    return Fit(Temperature(), batches(train, seed), loader(val, 512, shuffle=False), {"max_epochs": 14})
