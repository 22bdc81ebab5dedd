# mypy: disable-error-code="no-any-return"
"""Data that the programs on output heads, losses and targets share."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import lightning as L
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from .parts import Pair, digits


class Named(Dataset[dict[str, Tensor]]):
    """Rows as dicts."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {k: v[i] for k, v in self.columns.items()}


def cut(*columns: Any, train: int) -> Pair:
    """Return the first ``train`` rows and the rest."""
    tensors = [torch.as_tensor(c) for c in columns]
    tensors = [t.float() if t.dtype == torch.float64 else t for t in tensors]
    return TensorDataset(*[t[:train] for t in tensors]), TensorDataset(*[t[train:] for t in tensors])


def batches(data: Any, seed: int, batch: int = 64) -> DataLoader[Any]:
    """Return a shuffled loader."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(data, batch_size=batch, shuffle=True, drop_last=True, generator=generator)


def cosine(module: L.LightningModule, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the optimizer with a cosine to zero over the whole training."""
    steps = int(module.trainer.estimated_stepping_batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@lru_cache
def chain(vocabulary: int, length: int, rows: int, train: int) -> Pair:
    """Sequences where the next symbol depends on the last and on the parity of the one before."""
    rng = np.random.default_rng(1)
    follow = np.stack([[rng.permutation(vocabulary) for _ in range(3)] for _ in range(2)])
    s = rng.integers(0, vocabulary, size=(rows, length + 1))
    for t in range(2, length + 1):
        choice = rng.choice(3, size=rows, p=[0.75, 0.2, 0.05])
        s[:, t] = follow[s[:, t - 2] % 2, choice, s[:, t - 1]]
    return cut(s[:, :-1].copy(), s[:, 1:].copy(), train=train)


@lru_cache
def tagged(rows: int = 1280, length: int = 20, train: int = 1024) -> Pair:
    """Words of 40; a word's tag follows from its group and the group of the word before."""
    rng = np.random.default_rng(2)
    words = rng.integers(0, 40, size=(rows, length))
    group = words % 5
    before = np.concatenate([np.zeros((rows, 1), int), group[:, :-1]], 1)
    return cut(words, (group + before) % 5, train=train)


@lru_cache
def tones(rows: int = 1536, length: int = 24, train: int = 1152) -> Pair:
    """Noisy sums of two oscillations and the value that comes next."""
    rng = np.random.default_rng(3)
    t = np.arange(length + 1)[None]
    a, f, p = (
        rng.uniform(0.5, 1.5, (2, rows, 1)),
        rng.uniform(0.1, 0.9, (2, rows, 1)),
        rng.uniform(0, 6.3, (2, rows, 1)),
    )
    s = (a * np.sin(f * t + p)).sum(0) + 0.05 * rng.normal(size=(rows, length + 1))
    s = s / s.std()
    return cut(s[:, :-1, None].copy(), s[:, -1].copy(), train=train)


@lru_cache
def waves(rows: int = 1536, length: int = 48, train: int = 1152) -> Pair:
    """Sine, square, saw and chirp with noise."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, 4, rows)
    t = np.linspace(0, 1, length)[None]
    f, p = rng.uniform(2, 4, (rows, 1)), rng.uniform(0, 1, (rows, 1))
    phase = f * t + p
    kinds = [np.sin(6.283 * phase), np.sign(np.sin(6.283 * phase)), 2 * (phase % 1) - 1]
    kinds.append(np.sin(6.283 * (f * t * (0.5 + t) + p)))
    x = np.choose(y[:, None], kinds) + 0.25 * rng.normal(size=(rows, length))
    x = (x - x.mean()) / x.std()
    return cut(x[:, None], y, train=train)


@lru_cache
def curves(rows: int = 1536, length: int = 32, train: int = 1152) -> Pair:
    """Smooth curves of five hidden numbers, standardized."""
    rng = np.random.default_rng(5)
    t = np.linspace(0, 1, length)[None]
    c = rng.normal(size=(5, rows, 1))
    x = c[0] * np.sin(6.3 * t) + c[1] * np.cos(6.3 * t) + c[2] * (2 * t - 1) + c[3] * np.exp(-(((t - 0.5) / 0.1) ** 2))
    x = x + 0.5 * c[4] + 0.1 * rng.normal(size=(rows, length))
    return cut(((x - x.mean()) / x.std())[:, None], train=train)


@lru_cache
def taught() -> Pair:
    """Digits as images with the scores of a teacher and the label."""
    a, b = digits(image=True)
    flat = [s.tensors[0].flatten(1).numpy() for s in (a, b)]
    teacher = LogisticRegression(C=0.3, max_iter=300).fit(flat[0], a.tensors[1].numpy())
    scores = [torch.as_tensor(teacher.decision_function(f)).float() for f in flat]
    return tuple(  # type: ignore[return-value]
        TensorDataset((s.tensors[0] - 0.3) / 0.37, q, s.tensors[1]) for s, q in zip((a, b), scores, strict=True)
    )


@lru_cache
def customers(rows: int = 4096, train: int = 3072) -> Pair:
    """Three categories and five numbers; who leaves."""
    rng = np.random.default_rng(6)
    cards = (12, 7, 5)
    cat = np.stack([rng.integers(0, c, rows) for c in cards], 1)
    num = rng.normal(size=(rows, 5))
    effect = sum(rng.normal(size=c)[cat[:, k]] for k, c in enumerate(cards))
    z = 2.0 * (effect - np.mean(effect) + num[:, 0] - num[:, 1] * num[:, 2] - 1.2)
    return cut(cat, num, (rng.uniform(size=rows) < 1 / (1 + np.exp(-z))).astype(float), train=train)


@lru_cache
def topics(rows: int = 4096, train: int = 3072) -> Pair:
    """Bags of 12 words out of 60 and eight topics, of which none, some or all are on."""
    rng = np.random.default_rng(7)
    words = rng.integers(0, 60, size=(rows, 12))
    weight = rng.normal(size=(60, 1)) + 0.7 * rng.normal(size=(60, 8))
    z = weight[words].sum(1)
    z = 4 * (z - z.mean(0)) / z.std()
    on = rng.uniform(size=z.shape) < 1 / (1 + np.exp(-z))
    return cut(words, on.astype(float), train=train)


@lru_cache
def clouds(rows: int = 2048, train: int = 1536) -> Pair:
    """Sets of ten points and how far they are spread, standardized."""
    rng = np.random.default_rng(8)
    width = rng.uniform(0.3, 1.7, size=(rows, 1, 3))
    x = width * rng.normal(size=(rows, 10, 3))
    y = np.linalg.norm(x, axis=2).mean(1)
    return cut(x, ((y - y.mean()) / y.std())[:, None], train=train)


@lru_cache
def weather(*, kelvin: bool, rows: int = 2048, train: int = 1536) -> Pair:
    """Eight days of five readings and tomorrow's temperature."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(rows, 8, 5))
    x[:, 1:] = 0.6 * x[:, :-1] + 0.8 * x[:, 1:]
    y = x[:, -1, 0] + 0.5 * x[:, -3, 1] - 0.7 * np.tanh(x[:, -2, 2] * x[:, -1, 3]) + 0.1 * rng.normal(size=rows)
    y = (y - y.mean()) / y.std()
    return cut(x, (288.0 + 8.0 * y if kelvin else y)[:, None], train=train)


@lru_cache
def spread(rows: int = 2560, train: int = 2048) -> Pair:
    """A target whose noise depends on the input."""
    rng = np.random.default_rng(10)
    x = rng.normal(size=(rows, 4))
    y = np.sin(1.5 * x[:, 0]) + 0.5 * x[:, 1] + np.exp(0.5 * x[:, 2] - 1.5) * rng.normal(size=rows)
    return cut(x, (y - y.mean()) / y.std(), train=train)


@lru_cache
def network(nodes: int = 240) -> tuple[Tensor, Tensor, Pair]:
    """A graph of four groups: features, normalized adjacency of the known edges, pairs with 1 (edge) or 0."""
    rng = np.random.default_rng(11)
    group = rng.integers(0, 4, nodes)
    features = np.concatenate([np.eye(4)[group] + 0.4 * rng.normal(size=(nodes, 4)), rng.normal(size=(nodes, 4))], 1)
    i, j = np.triu_indices(nodes, 1)
    edge = rng.uniform(size=len(i)) < np.where(group[i] == group[j], 0.25, 0.01)
    none = rng.choice(np.flatnonzero(~edge), 3 * int(edge.sum()), replace=False)
    take = rng.permutation(np.concatenate([np.flatnonzero(edge), none]))
    pairs, label = np.stack([i[take], j[take]], 1), edge[take].astype(float)
    train = int(0.75 * len(take))
    known = pairs[:train][label[:train] > 0]
    a = np.eye(nodes)
    a[known[:, 0], known[:, 1]] = a[known[:, 1], known[:, 0]] = 1
    d = a.sum(1) ** -0.5
    x = (features - features.mean(0)) / features.std(0)
    return torch.tensor(x).float(), torch.tensor(d[:, None] * a * d).float(), cut(pairs, label, train=train)
