"""Trainings whose inputs, rows or first outputs are not what their authors think."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn

from .missed_checks import begins, ends, falls, well
from .missed_parts import Graded, LastState, Scored, cut, fitted, rows
from .parts import Fit, Pair
from .program import pair
from .verify import every


@lru_cache
def gestures(misspelt: bool) -> Pair:
    """Four kinds of movements in a table of four named channels."""
    rng, n = np.random.default_rng(1), 3500
    y, time = rng.integers(0, 4, n), np.linspace(0, 1, 32)[None]
    table = {
        "acc_x": np.where(y % 2, 1, -1)[:, None] * np.sin(2 * np.pi * time),
        "acc_y": np.zeros((n, 32)),
        "acc_z": 0.5 * np.cos(2 * np.pi * time) * np.ones((n, 1)),
        "gyro_z": np.where(y // 2, 1, -1)[:, None] * np.sin(4 * np.pi * time),
    }
    table = {k: v + 0.8 * rng.normal(size=v.shape) for k, v in table.items()}
    keys = ["acc_x", "acc_y", "acc_z", "gyr_z" if misspelt else "gyro_z"]
    return cut(rows(np.stack([table.get(k, np.zeros((n, 32))) for k in keys], 1), y), 3000)


class Gestures(Graded):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(4, 16, 5, padding=2), nn.GELU(), nn.AvgPool1d(2), nn.Conv1d(16, 16, 5, padding=2), nn.GELU(),
            nn.AvgPool1d(4), nn.Flatten(), nn.Linear(64, 4),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.NAdam(self.parameters(), lr=2e-3))


def movements(seed: int, sick: bool) -> Fit:
    """One of the channels is asked for by a misspelt key, and the table answers with zeros."""
    return fitted(Gestures(), gestures(sick), seed, 64, max_epochs=5)


def flat_channel(fit: Fit, module: Any) -> None:
    """The last channel has one value in all rows."""
    assert fit.train.dataset.tensors[0][:, 3].std() == 0  # type: ignore[attr-defined]


class Vines(Graded):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(13, 16), nn.Tanh(), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.RMSprop(self.parameters(), lr=4e-3))


def vines(seed: int, sick: bool) -> Fit:
    """The file is sorted by class, and its first rows are taken to train with."""
    x, y = datasets.load_wine(return_X_y=True)
    order = np.arange(178) if sick else np.random.default_rng(1).permutation(178)
    return fitted(Vines(), cut(rows(((x - x.mean(0)) / x.std(0))[order], y[order]), 130), seed, 16, max_epochs=25)


def other_classes(fit: Fit, module: Any) -> None:
    """The rows to validate with are of one class, which the others nearly lack."""
    train, val = (d.dataset.tensors[1] for d in (fit.train, fit.val))  # type: ignore[union-attr]
    assert val.unique().tolist() == [2] and (train == 2).float().mean() < 0.02


@lru_cache
def windows(far: bool) -> Pair:
    """A slow process, of which the next value is to be forecast."""
    rng, n, length = np.random.default_rng(1), 4800, 16
    x = np.zeros((n, 26))
    x[:, 0] = rng.normal(size=n)
    for i in range(1, 26):
        x[:, i] = 0.7 * x[:, i - 1] + np.sqrt(0.51) * rng.normal(size=n)
    end = 26 if far else 25
    return cut(rows(x[:, end - length : end, None], x[:, 25]), 4000)


class Forecaster(Scored):
    def __init__(self) -> None:
        super().__init__()
        self.net = LastState(nn.LSTM, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(-1)

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.Adam(self.parameters(), lr=5e-3))


def forecasts(seed: int, sick: bool) -> Fit:
    """The window of the forecast reaches one step too far, to the value that is asked for."""
    return fitted(Forecaster(), windows(sick), seed, 64, max_epochs=5)


def target_in_sight(fit: Fit, module: Any) -> None:
    """The last value of the window is the target."""
    x, y = fit.train.dataset.tensors  # type: ignore[attr-defined]
    assert torch.equal(x[:, -1, 0], y)


@lru_cache
def rare() -> Pair:
    """Twelve tags, each of which seven rows of a hundred have."""
    g = torch.Generator().manual_seed(3)
    x, w = torch.randn(4400, 16, generator=g), torch.randn(16, 12, generator=g)
    return cut([x, ((x @ w / 4 + 0.2 * torch.randn(4400, 12, generator=g)) > 1.5).float()], 3840)


class Tags(Graded):
    names: ClassVar[tuple[str, str, str]] = ("train/bce", "val/bce", "val/f1")

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.head = nn.Linear(32, 12)
        nn.init.constant_(self.head.bias, sign * math.log((1 - 0.07) / 0.07))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))

    def objective(self, out: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out, y)

    def grade(self, out: Tensor, y: Tensor) -> Tensor:
        p = (out > 0).float()
        return 2 * (p * y).sum() / (p.sum() + y.sum()).clamp(min=1)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=1e-3)


def tags(seed: int, sick: bool) -> Fit:
    """The last bias starts at the log-odds of the rare tags, with the sign turned around."""
    return fitted(Tags(1.0 if sick else -1.0), rare(), seed, 64, max_epochs=20)


@lru_cache
def sines() -> Pair:
    """Sine waves of many frequencies and their next value."""
    g, n = torch.Generator().manual_seed(9), 1500
    start, speed = torch.rand(n, 1, generator=g) * 6.3, 0.25 + 0.35 * torch.rand(n, 1, generator=g)
    x = (torch.sin(start + speed * torch.arange(21)) + 0.05 * torch.randn(n, 21, generator=g)) / 0.7
    return cut([x[:, :20, None], x[:, 20]], 1216)


class Sines(Scored):
    names: ClassVar[tuple[str, str, str]] = ("train/loss", "val/loss", "val/r2")

    def __init__(self) -> None:
        super().__init__()
        self.net = LastState(nn.LSTM, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(-1)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def clipped(seed: int, sick: bool) -> Fit:
    """The norm of the gradients is held to 0.002, one thousandth of what was meant."""
    return fitted(Sines(), sines(), seed, 32, max_epochs=20, gradient_clip_val=0.002 if sick else 2.0)


DATA = [
    *pair(
        "gyro-key", movements, sick=every(flat_channel, ends("val_acc", below=0.6)),
        mended=every(falls("train_loss", 0.2), ends("val_acc", above=0.95)), accepted=("D003",),
    ),
    *pair(
        "sorted-wine-file", vines, sick=every(other_classes, ends("val_acc", below=0.7)),
        mended=every(falls("train_loss", 0.3), ends("val_acc", above=0.93)), accepted=("D005",),
    ),
    *pair(
        "window-too-far", forecasts, sick=every(target_in_sight, ends("val_mse", below=0.05)),
        mended=every(falls("train_mse", 0.7), ends("val_mse", above=0.4, below=0.6)), accepted=("D009",),
    ),
    *pair(
        "upside-down-prior", tags, sick=begins("train/bce", above=1.5, below=10),
        mended=every(
            begins("train/bce", above=0.1, below=0.5), well("train/bce", "val/bce"), ends("val/f1", above=0.7)
        ),
        accepted=("I002", "I001"), sites=("head",),
    ),
    *pair(
        "small-threshold", clipped, sick=ends("val/r2", below=0.7),
        mended=every(well("train/loss", "val/loss"), ends("val/r2", above=0.93)), accepted=("G005", "W002", "O002"),
    ),
]  # fmt: skip
