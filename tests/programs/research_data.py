"""Generated data for the programs that researchers write: cued sequences, a noisy grammar, rings, graphs, counts."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor
from torch.utils.data import TensorDataset

from .parts import Pair

GRAMMAR_NOISE = 0.3


def halves(train: int, *columns: object) -> Pair:
    """Cut every column after ``train`` rows."""
    parts = [torch.as_tensor(np.asarray(c)) for c in columns]
    parts = [p.float() if p.dtype == torch.float64 else p for p in parts]
    return TensorDataset(*(p[:train] for p in parts)), TensorDataset(*(p[train:] for p in parts))


@lru_cache
def cued(train: int = 1024, length: int = 16) -> Pair:
    """One of four cues (tokens 1..4) somewhere between distractors (5..24), padded with 0; half of them are full."""
    rng = np.random.default_rng(5)
    n = train + 512
    x, y = rng.integers(5, 25, size=(n, length)), rng.integers(0, 4, size=n)
    lengths = np.where(rng.random(n) < 0.5, length, rng.integers(length // 2, length, size=n))
    x[np.arange(n), (rng.random(n) * lengths).astype(int)] = 1 + y
    x[np.arange(length)[None] >= lengths[:, None]] = 0
    return halves(train, x, y)


@lru_cache
def tagged(train: int = 768, length: int = 10) -> Pair:
    """Every token has one of three tags that depends on it and its left neighbour."""
    rng = np.random.default_rng(11)
    x = rng.integers(0, 12, size=(train + 256, length))
    left = np.concatenate([np.zeros((len(x), 1), dtype=x.dtype), x[:, :-1]], 1)
    return halves(train, x, np.where(left < 6, x % 3, (x + 1) % 3))


@lru_cache
def grammar(train: int = 768, length: int = 12, vocabulary: int = 16) -> Pair:
    """The next token is 5 x + 3 of the present one, or in three of ten cases any."""
    rng = np.random.default_rng(3)
    x = np.zeros((train + 256, length + 1), dtype=np.int64)
    x[:, 0] = rng.integers(0, vocabulary, size=len(x))
    for t in range(length):
        chance = rng.random(len(x)) < GRAMMAR_NOISE
        x[:, t + 1] = np.where(chance, rng.integers(0, vocabulary, size=len(x)), (5 * x[:, t] + 3) % vocabulary)
    return halves(train, x[:, :-1], x[:, 1:])


def grammar_entropy(vocabulary: int = 16) -> float:
    """Return the entropy of the next token given all earlier ones, in nats: no causal model gets below it."""
    rest = GRAMMAR_NOISE / vocabulary
    hit = 1 - GRAMMAR_NOISE + rest
    return float(-hit * np.log(hit) - (vocabulary - 1) * rest * np.log(rest))


@lru_cache
def recalled(train: int = 768, length: int = 14) -> Pair:
    """The class is told by the first two of fourteen noisy steps of three channels."""
    rng = np.random.default_rng(8)
    x, y = 0.3 * rng.normal(size=(train + 256, length, 3)), rng.integers(0, 3, size=train + 256)
    x[np.arange(len(x)), 0, y] += 1.5
    x[np.arange(len(x)), 1, y] += 1.5
    return halves(train, x.astype(np.float32), y)


@lru_cache
def ring(train: int = 1024) -> Pair:
    """Eight Gaussians on a circle of radius 1; every row is its own target."""
    rng = np.random.default_rng(2)
    angle = rng.integers(0, 8, size=train + 256) * np.pi / 4
    x = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.08 * rng.normal(size=(train + 256, 2))
    return halves(train, x.astype(np.float32), x.astype(np.float32))


@lru_cache
def spirals(train: int = 900) -> Pair:
    """Three arms of a spiral."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, 3, size=train + 300)
    r = np.sqrt(rng.random(len(y)))
    angle = 4.5 * r + y * 2 * np.pi / 3 + 0.08 * rng.normal(size=len(y))
    return halves(train, (2 * np.stack([r * np.cos(angle), r * np.sin(angle)], 1)).astype(np.float32), y)


@lru_cache
def linear_targets(kind: str, train: int = 1024) -> Pair:
    """Eight features and a target that follows them: visits (Poisson), tails (Student t), grades 0..4, lifetimes."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(train + 512, 8)).astype(np.float32)
    score = x @ rng.normal(size=8) / 3 + 0.4 * np.sin(2 * x[:, 0])
    if kind == "visits":
        y = rng.poisson(np.exp(0.5 + score)).astype(np.float32)[:, None]
    elif kind == "tails":
        y = (score + 0.3 * rng.standard_t(1.5, size=len(x))).astype(np.float32)[:, None]
    elif kind == "grades":
        y = np.digitize(score + 0.2 * rng.normal(size=len(x)), [-1.0, -0.3, 0.3, 1.0])
    elif kind == "lifetimes":
        life, end = rng.exponential(np.exp(-1.5 * score)), rng.exponential(2.0, size=len(x))
        y = np.stack([np.minimum(life, end), life <= end], 1).astype(np.float32)
    else:
        raise ValueError(f"kind {kind!r} is none of visits, tails, grades, lifetimes")
    return halves(train, x, y)


@lru_cache
def graph(nodes: int = 240) -> tuple[Tensor, Tensor, Tensor]:
    """Three communities: the normalized adjacency (N, N), noisy features (N, 8) and the community (N,)."""
    rng = np.random.default_rng(9)
    y = np.arange(nodes) % 3
    link = rng.random((nodes, nodes)) < np.where(y[:, None] == y[None], 0.12, 0.02)
    a = np.triu(link, 1)
    a = (a | a.T) + np.eye(nodes)
    root = 1 / np.sqrt(a.sum(1))
    x = rng.normal(size=(nodes, 8)) + 0.7 * np.eye(8)[y]
    return torch.as_tensor(root[:, None] * a * root).float(), torch.as_tensor(x).float(), torch.as_tensor(y)


@lru_cache
def measured(train: int = 1280) -> Pair:
    """Digits, with their class and with their ink in raw grey values (about 310 plus or minus 45)."""
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(x))
    x, y = x[order], y[order]
    return halves(train, (x / 16).astype(np.float32), x.sum(1, keepdims=True).astype(np.float32), y)


@lru_cache
def uneven(train: int = 1500) -> Pair:
    """Three overlapping classes of which one has 88 % of the training rows; the validation rows are even."""
    rng = np.random.default_rng(12)
    y = np.concatenate([rng.choice(3, p=[0.88, 0.06, 0.06], size=train), rng.integers(0, 3, size=450)])
    middle = np.array([[0.0, 0.0], [1.6, 0.0], [0.0, 1.6]])
    rest = rng.normal(size=(len(y), 4))
    x = np.concatenate([middle[y] + 0.8 * rng.normal(size=(len(y), 2)), rest], 1)
    return halves(train, x.astype(np.float32), y)
