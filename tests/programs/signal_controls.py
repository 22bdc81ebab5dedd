"""Healthy trainings that look unusual."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Batch, Fit, Pair, digits, moons
from .program import Program, healthy
from .signal_checks import falls, generalizes, scores
from .signal_parts import Journal, cut, feeds
from .verify import every


class RandomFeatures(Journal):
    """A frozen random layer with cosines and a trained head."""

    def __init__(self) -> None:
        super().__init__()
        self.random = nn.Linear(2, 200)
        nn.init.normal_(self.random.weight, std=2.0)
        nn.init.uniform_(self.random.bias, 0, 2 * math.pi)
        self.random.requires_grad_(False)
        self.head = nn.Linear(200, 2)

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.head(torch.cos(self.random(batch[0]))), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        found = self.head(torch.cos(self.random(batch[0]))).argmax(1)
        self.note_val(self.compute(batch), (found == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.head.parameters(), lr=0.2, momentum=0.9)


def kitchen(seed: int) -> Fit:
    """Only the head on random cosine features is trained, on purpose."""
    return Fit(RandomFeatures(), **feeds(*moons(), seed), trainer={"max_epochs": 20})


class NoisyDigits(Journal):
    """Group norm, heavy dropout, tiny batches."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(96, 96), nn.ReLU(), nn.Dropout(0.6), nn.Linear(96, 10)),
        )

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1], label_smoothing=0.1)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        found = self.net(batch[0]).argmax(1)
        self.note_val(self.compute(batch), (found == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.01)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def noisy(seed: int) -> Fit:
    """Batches of eight under heavy dropout and label smoothing, with a rate that decays to nothing."""
    train, val = digits(1280, scale=1 / 6, image=True)
    return Fit(NoisyDigits(), **feeds(train, val, seed, 8), trainer={"max_epochs": 3})


@lru_cache
def chirps() -> Pair:
    """A curve whose noise depends on the place."""
    rng = np.random.default_rng(20)
    x = rng.uniform(-1.7, 1.7, (1600, 1))
    y = np.sin(2.5 * x) + 0.4 * x + (0.03 + 0.1 * (x > 0)) * rng.standard_normal(x.shape)
    return cut(x, (y - y.mean()) / y.std(), 1280, torch.float32)


class Uncertain(Journal):
    """Tells mean and variance."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(1, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.mean, self.log_variance = nn.Linear(48, 1), nn.Linear(48, 1)

    def compute(self, batch: Batch) -> Tensor:
        h = self.trunk(batch[0])
        return F.gaussian_nll_loss(self.mean(h), batch[1], self.log_variance(h).exp())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.note_train(self.compute(batch), "train/nll")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        r2 = 1 - (self.mean(self.trunk(batch[0])) - batch[1]).pow(2).mean() / batch[1].var()
        self.note_val(self.compute(batch), r2, ("val/nll", "val/r2"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=4e-3)


def uncertain(seed: int) -> Fit:
    """A Gaussian likelihood with little noise, so that the loss is negative."""
    return Fit(Uncertain(), **feeds(*chirps(), seed), trainer={"max_epochs": 20})


class Inverted(nn.Module):
    """Expand, depthwise, project without activation, add."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *(nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class SmallMobile(Journal):
    """Inverted residuals on digits."""

    def __init__(self) -> None:
        super().__init__()
        stem = [nn.Conv2d(1, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU6()]
        self.net = nn.Sequential(*stem, Inverted(12, 36), Inverted(12, 36), nn.Flatten(), nn.Linear(192, 10))

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        found = self.net(batch[0]).argmax(1)
        self.note_val(self.compute(batch), (found == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.03, momentum=0.9, nesterov=True)


def mobile(seed: int) -> Fit:
    """Narrow linear bottlenecks between wide depthwise convolutions."""
    train, val = digits(1280, scale=1 / 6, image=True)
    return Fit(SmallMobile(), **feeds(train, val, seed), trainer={"max_epochs": 8})


PROGRAMS: list[Program] = [
    healthy("random-cosine-features", kitchen, every(scores(0.97), falls(0.3), generalizes())),
    healthy("tiny-noisy-batches", noisy, every(scores(0.95), falls(0.5), generalizes())),
    healthy("negative-likelihood", uncertain, every(scores(0.97), falls(0.1), generalizes())),
    healthy("expanding-residuals", mobile, every(scores(0.95), falls(0.2), generalizes(1.4))),
]
