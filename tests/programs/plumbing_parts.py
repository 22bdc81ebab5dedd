"""Data for the plumbing programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from .parts import Pair, loader


class Records(Dataset[dict[str, Tensor]]):
    """Rows of named tensors."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


def halves(count: int, *columns: Tensor) -> Pair:
    """Return the first ``count`` rows for training and the rest for validation."""
    return TensorDataset(*(c[:count] for c in columns)), TensorDataset(*(c[count:] for c in columns))


def both(data: Any, seed: int, batch: int) -> dict[str, DataLoader[Any]]:
    """Return the loaders as keyword arguments of Fit."""
    return {"train": loader(data[0], batch, seed=seed), "val": loader(data[1], 256, seed=seed, shuffle=False)}


def point_sets(empty: int) -> tuple[Records, Records]:
    """Clouds of 4 to 14 points on a ring, on a cross or in two heaps; the first ``empty`` training clouds have none."""
    rng = np.random.default_rng(3)
    n, most = 1400, 14
    y = rng.integers(0, 3, n)
    angle, sign = rng.uniform(0, 2 * np.pi, (n, most)), rng.choice([-1.0, 1.0], (n, most))
    along, axis = rng.uniform(-1.6, 1.6, (n, most)), rng.integers(0, 2, (n, most))
    ring = np.stack([np.cos(angle), np.sin(angle)], -1) * 1.4
    cross = np.stack([along * axis, along * (1 - axis)], -1)
    heaps = np.stack([sign, sign], -1)
    points = np.choose(y[:, None, None], [ring, cross, heaps]) + rng.normal(0, 0.15, (n, most, 2))
    sizes = rng.integers(4, most + 1, n)
    sizes[:empty] = 0
    mask = np.arange(most)[None] < sizes[:, None]
    columns = {
        "points": torch.tensor(points * mask[..., None]).float(),
        "mask": torch.tensor(mask),
        "label": torch.tensor(y),
    }
    return Records(**{k: v[:1100] for k, v in columns.items()}), Records(**{k: v[1100:] for k, v in columns.items()})


def regimes() -> Pair:
    """Ten features; one of four linear laws holds, chosen by the first four features."""
    g = torch.Generator().manual_seed(5)
    x = torch.randn(3000, 10, generator=g)
    laws = torch.randn(4, 10, generator=g)
    y = (x * laws[x[:, :4].argmax(1)]).sum(1, keepdim=True)
    return halves(2400, x, (y - y.mean()) / y.std() + 0.05 * torch.randn(y.shape, generator=g))


def brackets(n: int = 1500, length: int = 20) -> Pair:
    """Symbols 0 '(' 1 ')' 2..5 letters; the tag of a position is how deep it is nested (0..3)."""
    rng = np.random.default_rng(8)
    x, depth = rng.integers(2, 6, (n, length)), np.zeros((n, length), dtype=np.int64)
    level = np.zeros(n, dtype=np.int64)
    for t in range(length):
        draw = rng.random(n)
        up, down = (draw < 0.3) & (level < 3), (draw > 0.7) & (level > 0)
        x[up, t], x[down, t] = 0, 1
        level = level + up - down
        depth[:, t] = level
    return halves(1200, torch.tensor(x), torch.tensor(depth))


def documents(vocabulary: int = 400, length: int = 16) -> Pair:
    """Bags of words of five topics."""
    rng = np.random.default_rng(2)
    topics = rng.dirichlet(np.full(vocabulary, 0.15), 5) * 0.6 + 0.4 / vocabulary
    y = rng.integers(0, 5, 2600)
    x = np.stack([rng.choice(vocabulary, length, p=topics[c]) for c in y])
    return halves(2200, torch.tensor(x), torch.tensor(y))


def ratings(users: int = 70, items: int = 50) -> Pair:
    """Standardized ratings, low-rank plus biases plus noise."""
    rng = np.random.default_rng(4)
    u, v = rng.normal(size=(users, 3)), rng.normal(size=(items, 3))
    table = u @ v.T / 3**0.5 + rng.normal(size=(users, 1)) * 0.5 + rng.normal(size=(1, items)) * 0.5
    rows = rng.permutation(users * items)
    y = ((table - table.mean()) / table.std()).reshape(-1)[rows] + rng.normal(0, 0.1, len(rows))
    ids = np.stack([rows // items, rows % items], 1)
    return halves(2800, torch.tensor(ids), torch.tensor(y).float())


def beats(n: int = 1200, length: int = 32) -> Pair:
    """One-channel signals: a chirp up, a chirp down, a steady tone or two bursts, in noise."""
    rng = np.random.default_rng(6)
    t = np.linspace(0, 1, length)[None]
    phase, rate = rng.uniform(0, 2 * np.pi, (n, 1)), rng.uniform(2.5, 4, (n, 1))
    y = rng.integers(0, 4, n)
    up, down = np.sin(2 * np.pi * rate * t**2 + phase), np.sin(2 * np.pi * rate * (1 - t) ** 2 + phase)
    tone, bursts = np.sin(2 * np.pi * rate * t + phase), np.sin(2 * np.pi * 6 * t + phase) * (np.abs(t - 0.5) > 0.25)
    x = np.choose(y[:, None], [up, down, tone, bursts]) * 1.3 + rng.normal(0, 0.3, (n, length))
    return halves(900, torch.tensor(x[:, None]).float(), torch.tensor(y))


def marked_pairs(n: int = 2600, length: int = 10) -> Pair:
    """Two of the readings are marked; the class says whether the two have the same sign."""
    rng = np.random.default_rng(9)
    x = rng.normal(0, 0.2, (n, length, 4))
    sign = rng.choice([-1.0, 1.0], (n, length))
    spots = np.argsort(rng.random((n, length)), 1)[:, :2]
    rows = np.arange(n)[:, None]
    x[..., 1] += sign
    x[rows, spots, 0] += 2
    y = (sign[rows, spots].prod(1) > 0).astype(np.int64)
    return halves(2200, torch.tensor(x).float(), torch.tensor(y))


def waves(n: int = 1600, past: int = 20, future: int = 4) -> Pair:
    """Windows of a sum of two sines and what comes next."""
    rng = np.random.default_rng(10)
    t = np.arange(past + future)[None]
    one = np.sin(rng.uniform(0.2, 0.5, (n, 1)) * t + rng.uniform(0, 6.3, (n, 1)))
    two = 0.5 * np.sin(rng.uniform(0.7, 1.1, (n, 1)) * t + rng.uniform(0, 6.3, (n, 1)))
    x = torch.tensor(one + two + rng.normal(0, 0.03, (n, past + future))).float()
    return halves(1300, x[:, :past], x[:, past:])
