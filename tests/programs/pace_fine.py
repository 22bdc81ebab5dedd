"""Healthy trainings that look strange."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .pace_checks import gap, loss as loss_between, rate, score, steps, untouched
from .pace_parts import Remembering, cut, whole
from .pace_text import tagged
from .pace_time import load_series
from .parts import Fit, cancer, digits, loaders
from .program import healthy
from .verify import every


class Density(Remembering):
    """A GRU that forecasts mean and spread; the loss is a log-density and goes below zero."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(1, 24, batch_first=True)
        self.head = nn.Linear(24, 2)

    def compute(self, batch: list[Tensor]) -> Tensor:
        mean, spread = self.head(self.gru(batch[0].unsqueeze(-1))[0][:, -1]).chunk(2, 1)
        return F.gaussian_nll_loss(mean, batch[1], F.softplus(spread) ** 2, eps=1e-4)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("nll", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss = self.compute(batch)
        mean = self.head(self.gru(batch[0].unsqueeze(-1))[0][:, -1])[:, :1]
        self.log_dict({"val_nll": loss, "val_mae": F.l1_loss(mean, batch[1])})
        self.judge(loss, F.l1_loss(mean, batch[1]))

    def configure_optimizers(self) -> Any:
        opt = torch.optim.Adam(self.parameters(), lr=1e-2)
        total = int(self.trainer.estimated_stepping_batches)
        sch = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=2e-2, total_steps=total)
        return [opt], [{"scheduler": sch, "interval": "step"}]


def density_forecast(seed: int) -> Fit:
    """The loss is negative, the learning rate first climbs and ends near zero."""
    train, val = cut(*load_series(), train=1440)
    return Fit(Density(), DataLoader(train, 48, shuffle=True, drop_last=True), whole(val), {"max_epochs": 13})


class TinyBatches(Remembering):
    """Logistic regression with a hidden layer, weighted classes, four patients a step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(30, 8), nn.Tanh(), nn.Linear(8, 2))
        self.register_buffer("weight", torch.tensor([1.5, 0.8]))

    def compute(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1], weight=self.get_buffer("weight"), label_smoothing=0.1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_loss", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, accuracy = self.compute(batch), (self.net(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log_dict({"val_loss": loss, "val_acc": accuracy})
        self.judge(loss, accuracy)

    def configure_optimizers(self) -> Any:
        opt = torch.optim.SGD(self.parameters(), lr=0.02, weight_decay=1e-3)
        return [opt], [torch.optim.lr_scheduler.ExponentialLR(opt, 0.7)]


def four_patients(seed: int) -> Fit:
    """Four samples a batch, so that the loss is very noisy, with weighted classes and smoothed labels."""
    return Fit(TinyBatches(), **loaders(cancer(), seed, 4), trainer={"max_epochs": 8})


class FrozenFilters(Remembering):
    """Random filters that stay as they are, half of the features dropped, a trained head."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Sequential(nn.Conv2d(1, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.filters.requires_grad_(False)
        self.head = nn.Sequential(nn.LayerNorm(768), nn.Dropout(0.5), nn.Linear(768, 10))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = self.filters((x - 0.3) / 0.375)
        return self.head(h)  # type: ignore[no-any-return]

    def compute(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_loss", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, accuracy = self.compute(batch), (self(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log_dict({"val_loss": loss, "val_acc": accuracy})
        self.judge(loss, accuracy)

    def configure_optimizers(self) -> Any:
        return torch.optim.NAdam((p for p in self.parameters() if p.requires_grad), lr=2e-3)


def frozen_filters(seed: int) -> Fit:
    """The convolution is frozen on purpose, the dropout makes training look worse than validation."""
    return Fit(FrozenFilters(), **loaders(digits(image=True), seed, 64), trainer={"max_epochs": 15})


class Restarts(Remembering):
    """A convolution over words, a tag for each; warm restarts of the learning rate, RMSprop."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(60, 24, padding_idx=0)
        self.conv, self.tags = nn.Conv1d(24, 48, 3, padding=1), nn.Conv1d(48, 5, 1)

    def forward(self, words: Tensor) -> Tensor:
        return self.tags(F.relu(self.conv(self.words(words).transpose(1, 2))))  # type: ignore[no-any-return]

    def compute(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_loss", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, accuracy = self.compute(batch), (self(batch[0]).argmax(1) == batch[1])[batch[0] > 0].float().mean()
        self.log_dict({"val_loss": loss, "val_acc": accuracy})
        self.judge(loss, accuracy)

    def configure_optimizers(self) -> Any:
        opt = torch.optim.RMSprop(self.parameters(), lr=3e-3)
        sch = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=40, T_mult=2, eta_min=1e-5)
        return [opt], [{"scheduler": sch, "interval": "step"}]


def warm_restarts(seed: int) -> Fit:
    """The learning rate jumps up three times on purpose; the last cycle ends with the training."""
    train, val = cut(*tagged(1216, 14, 60), train=960)
    return Fit(Restarts(), DataLoader(train, 48, shuffle=True), whole(val), {"max_epochs": 14})


CONTROLS = [
    healthy("density-forecast", density_forecast, every(loss_between(high=-1.1), score(high=0.17), gap(1.05))),
    healthy("four-patients", four_patients, every(steps(800, 800), score(low=0.95), gap(1.05))),
    healthy("frozen-filters", frozen_filters, every(untouched("filters"), score(low=0.97), gap(1.05))),
    healthy("tagger-in-cycles", warm_restarts, every(rate(low=2e-3, at=0.43), score(low=0.97), gap(1.1))),
]
