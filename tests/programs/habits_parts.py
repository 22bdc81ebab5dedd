"""Data sets and the base module of the `habits` programs."""

# mypy: disable-error-code="no-any-return, no-untyped-call"
from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import lightning as L
import numpy as np
import torch
from sklearn import datasets
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from .parts import Pair, split


class Recorded(L.LightningModule):
    """Remembers the training losses and the metrics of every validation, for the verification."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[float] = []
        self.epochs: list[dict[str, float]] = []

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if isinstance(outputs, Mapping) and "loss" in outputs:
            self.history.append(float(outputs["loss"]))

    def on_validation_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.epochs.append({k: float(v) for k, v in self.trainer.callback_metrics.items()})


def batches(data: Pair, size: int = 32, *, last: bool = False) -> dict[str, DataLoader[Any]]:
    """Two plain loaders, as people write them."""
    return {
        "train": DataLoader(data[0], batch_size=size, shuffle=True, drop_last=not last),
        "val": DataLoader(data[1], batch_size=512),
    }


@lru_cache
def images(train: int = 1280) -> Pair:
    """Digits as 1x8x8 images with mean 0 and deviation 1."""
    x, y = datasets.load_digits(return_X_y=True)
    return split(((x - x.mean()) / x.std()).reshape(-1, 1, 8, 8), y, train=train)


@lru_cache
def signals(train: int = 1024, *, length: int = 48, noise: float = 0.4) -> Pair:
    """One channel of sine, square, sawtooth or chirp of random phase and frequency, with noise."""
    rng = np.random.default_rng(1)
    n = train + 384
    kind, time = rng.integers(0, 4, n), np.arange(length) / length
    phase = rng.uniform(2, 4, (n, 1)) * time + rng.uniform(0, 1, (n, 1))
    waves = np.stack(
        [
            1.4 * np.sin(2 * np.pi * phase),
            np.sign(np.sin(2 * np.pi * phase)),
            1.7 * (2 * (phase % 1) - 1),
            1.4 * np.sin(2 * np.pi * phase * (1 + 1.5 * time)),
        ]
    )
    x = waves[kind, np.arange(n)] + rng.normal(0, noise, (n, length))
    return split(((x - x.mean()) / x.std())[:, None, :], kind, train=train)


@lru_cache
def first_sign(train: int = 1024, *, length: int = 60) -> Pair:
    """Two channels of noise; the first step carries one of four corners that is the class."""
    rng = np.random.default_rng(2)
    n = train + 384
    kind = rng.integers(0, 4, n)
    x = rng.normal(0, 0.25, (n, length, 2))
    x[:, 0] += 2 * np.stack([2 * (kind % 2) - 1, 2 * (kind // 2) - 1], 1)
    return split(x / x.std() / 1.5, kind, train=train)


@lru_cache
def documents(train: int = 2400, *, words: int = 400, length: int = 24, wrong: float = 0.1) -> Pair:
    """Bags of words of two moods; some labels are wrong."""
    rng = np.random.default_rng(3)
    n = train + 800
    mood = rng.integers(0, 2, n)
    taste = rng.normal(0, 0.6, words)
    likely = np.exp(np.where(mood[:, None] == 1, taste, -taste))
    x = np.stack([rng.choice(words, length, p=p / p.sum()) for p in likely])
    sets = split(x, np.where(rng.random(n) < wrong, 1 - mood, mood), train=train)
    return TensorDataset(sets[0].tensors[0].long(), sets[0].tensors[1]), TensorDataset(
        sets[1].tensors[0].long(), sets[1].tensors[1]
    )


@lru_cache
def weather(train: int = 1024, *, standardized: bool = True) -> Pair:
    """A day of pressure in Pa, temperature in K and humidity in percent; does the front pass?"""
    rng = np.random.default_rng(4)
    n, time = train + 384, np.linspace(-1, 1, 16)
    rain = rng.integers(0, 2, n)
    trend = np.where(rain == 1, -1.0, 1.0)[:, None] * time
    pressure = 101325 + 500 * rng.normal(size=(n, 1)) + 80 * trend + 150 * rng.normal(size=(n, 16))
    kelvin = 288 + 5 * rng.normal(size=(n, 1)) + 0.4 * trend + rng.normal(size=(n, 16))
    humidity = 60 + 8 * rng.normal(size=(n, 1)) - 1.5 * trend + 4 * rng.normal(size=(n, 16))
    x = np.stack([pressure, kelvin, humidity], -1)
    return split((x - x.mean((0, 1))) / x.std((0, 1)) if standardized else x, rain, train=train)


@lru_cache
def comparisons(train: int = 768, *, length: int = 16, vocabulary: int = 12) -> Pair:
    """Tokens; the tag of each says whether it is smaller than, equal to or greater than the one before."""
    x = np.random.default_rng(5).integers(0, vocabulary, (train + 256, length))
    tags = 1 + np.sign(np.diff(x, axis=1, prepend=x[:, :1])).astype(int)
    data = [
        TensorDataset(torch.as_tensor(a), torch.as_tensor(b))
        for a, b in ((x[:train], tags[:train]), (x[train:], tags[train:]))
    ]
    return data[0], data[1]


def markov_text(n: int, *, letters: int = 12, length: int = 24, seed: int = 0) -> Tensor:
    """Texts of a chain whose next letter depends on the present one."""
    rule = np.random.default_rng(6).dirichlet(np.full(letters, 0.25), letters)
    rng = np.random.default_rng(seed)
    text = np.zeros((n, length), dtype=np.int64)
    text[:, 0] = rng.integers(0, letters, n)
    for t in range(1, length):
        text[:, t] = (rng.random((n, 1)) > rule[text[:, t - 1]].cumsum(1)).sum(1).clip(0, letters - 1)
    return torch.as_tensor(text)
