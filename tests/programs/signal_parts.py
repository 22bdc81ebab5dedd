"""What the programs on signals share: a module that keeps its journal, and generated data."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import lightning as L
import numpy as np
import torch
from sklearn import datasets
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from .parts import Pair, loader


class Journal(L.LightningModule):
    """Logs and keeps losses and scores; ``compute`` returns the loss of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.val_losses: list[float] = []
        self.scores: list[float] = []

    def compute(self, batch: Any) -> Tensor:
        raise NotImplementedError

    def note_train(self, loss: Tensor, name: str = "train_loss") -> Tensor:
        self.log(name, loss)
        self.losses.append(float(loss.detach()))
        return loss

    def note_val(self, loss: Tensor, score: Tensor, names: tuple[str, str] = ("val_loss", "val_acc")) -> None:
        self.log_dict({names[0]: loss, names[1]: score})
        if not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            self.scores.append(float(score))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.note_train(self.compute(batch))


class Records(Dataset[dict[str, Tensor]]):
    """Samples as dictionaries."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {k: v[i] for k, v in self.columns.items()}


def feeds(train: Any, val: Any, seed: int, batch: int = 64, val_batch: int = 1024) -> dict[str, DataLoader[Any]]:
    """Return both loaders as keyword arguments of Fit."""
    return {"train": loader(train, batch, seed=seed), "val": loader(val, val_batch, seed=seed, shuffle=False)}


def cut(x: Any, y: Any, train: int, kind: torch.dtype = torch.int64) -> Pair:
    """Split rows that are already in random order."""
    a, b = torch.as_tensor(np.asarray(x)).float(), torch.as_tensor(np.asarray(y)).to(kind)
    return TensorDataset(a[:train], b[:train]), TensorDataset(a[train:], b[train:])


@lru_cache
def shells() -> Pair:
    """Three concentric classes in four dimensions."""
    x, y = datasets.make_gaussian_quantiles(n_samples=1800, n_features=4, n_classes=3, random_state=1)
    order = np.random.default_rng(1).permutation(len(x))
    return cut(x[order], y[order], 1400)


@lru_cache
def stains() -> Pair:
    """Digits under noise and the mask of their ink."""
    images = datasets.load_digits().images / 16
    rng = np.random.default_rng(2)
    order = rng.permutation(len(images))
    clean = images[order][:, None]
    noisy = clean + 0.45 * rng.standard_normal(clean.shape)
    return cut((noisy - noisy.mean()) / noisy.std(), clean > 0.45, 1400, torch.float32)


@lru_cache
def clouds() -> Pair:
    """Sets of 60 points in the plane: ring, disc, square, normal; all of unit variance."""
    rng = np.random.default_rng(3)
    angle, radius = rng.uniform(0, 2 * np.pi, (4, 450, 60)), rng.uniform(0, 1, (4, 450, 60)) ** 0.5
    radius[0] = 1 + 0.1 * rng.standard_normal((450, 60))
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    x[2] = rng.uniform(-1, 1, (450, 60, 2))
    x[3] = rng.standard_normal((450, 60, 2))
    x = x / x.std((1, 2, 3), keepdims=True)
    order = rng.permutation(1800)
    return cut(x.reshape(1800, 60, 2)[order], np.repeat(np.arange(4), 450)[order], 1400)


@lru_cache
def tones() -> Pair:
    """Noisy sine waves of five frequencies with random phase, 48 samples long."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, 5, 1600)
    phase, t = rng.uniform(0, 2 * np.pi, (1600, 1)), np.arange(48)[None]
    x = np.sqrt(2) * np.sin(2 * np.pi * (0.06 + 0.07 * y[:, None]) * t + phase) + rng.standard_normal((1600, 48))
    return cut(x[:, None] / x.std(), y, 1280)


@lru_cache
def gratings() -> Pair:
    """8x8 patches of stripes in four directions, random phase and sign."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 4, 1600)
    a, b = np.meshgrid(np.arange(8), np.arange(8))
    angle, phase = (np.pi / 4 * y)[:, None, None], rng.uniform(0, 2 * np.pi, (1600, 1, 1))
    x = np.sqrt(2) * np.sin(1.9 * (np.cos(angle) * a + np.sin(angle) * b) + phase)
    x = x + 1.2 * rng.standard_normal(x.shape)
    return cut(x[:, None] / x.std(), y, 1280)


@lru_cache
def memories(length: int = 32) -> Pair:
    """Noise sequences whose first three steps show one of four patterns."""
    rng = np.random.default_rng(6)
    y, shown = rng.integers(0, 4, 1500), rng.standard_normal((4, 3, 4))
    x = 0.7 * rng.standard_normal((1500, length, 4))
    x[:, :3] = 1.5 * shown[y] + 0.5 * x[:, :3]
    return cut(x / x.std(), y, 1200)


@lru_cache
def swings() -> Pair:
    """Damped noisy oscillations of 50 steps; the target is their (standardized) frequency."""
    rng = np.random.default_rng(7)
    f, phase = rng.uniform(0.03, 0.13, (1600, 1)), rng.uniform(0, 2 * np.pi, (1600, 1))
    t = np.arange(50)[None]
    x = np.sin(2 * np.pi * f * t + phase) + 0.1 * rng.standard_normal((1600, 50))
    return cut(x[..., None] / x.std(), (f - f.mean()) / f.std(), 1280, torch.float32)


@lru_cache
def bags() -> tuple[Records, Records]:
    """Padded token lists of 6 to 20 words; each word votes with a hidden weight."""
    rng = np.random.default_rng(8)
    tokens, vote = rng.integers(1, 60, (1600, 20)), rng.standard_normal(60)
    tokens[np.arange(20)[None] >= rng.integers(6, 21, (1600, 1))] = 0
    vote[0] = 0
    total = vote[tokens].sum(1)
    x, y = torch.as_tensor(tokens), torch.as_tensor((total > np.median(total)).astype(np.float32))
    return Records(tokens=x[:1280], label=y[:1280]), Records(tokens=x[1280:], label=y[1280:])


@lru_cache
def houses() -> Pair:
    """A generated price of eight standardized features, smooth and non-linear."""
    x, y = datasets.make_friedman1(n_samples=1600, n_features=8, noise=0.6, random_state=9)
    return cut((x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std())[:, None], 1280, torch.float32)


@lru_cache
def chatter(vocabulary: int = 40, length: int = 20) -> tuple[Tensor, Tensor]:
    """Walks of a sparse Markov chain with four successors per token, for training and for validation."""
    rng = np.random.default_rng(10)
    successors = np.stack([rng.choice(vocabulary, 4, replace=False) for _ in range(vocabulary)])
    walks = np.empty((1600, length), dtype=np.int64)
    walks[:, 0] = rng.integers(0, vocabulary, 1600)
    for t in range(1, length):
        pick = rng.choice(4, 1600, p=[0.6, 0.2, 0.1, 0.1])
        walks[:, t] = successors[walks[:, t - 1], pick]
    whole = torch.as_tensor(walks)
    return whole[:1280], whole[1280:]


@lru_cache
def tagged() -> tuple[Records, Records]:
    """Token sequences; the tag depends on the token and on the one before; two thirds are tag 0."""
    rng = np.random.default_rng(11)
    x = rng.integers(0, 30, (1400, 16))
    before = np.concatenate([np.full((1400, 1), 29), x[:, :-1]], 1)
    y = np.where(x < 10, 1 + (x % 2) + 2 * (before < 15), 0)
    a, b = torch.as_tensor(x), torch.as_tensor(y)
    return Records(words=a[:1100], tags=b[:1100]), Records(words=a[1100:], tags=b[1100:])
