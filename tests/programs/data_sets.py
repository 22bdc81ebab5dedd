"""Data of the programs in data_faults.py: as their authors read, scaled and split them, rightly or not."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from .parts import Pair, split

FLOAT = torch.float32


class Table(Dataset[dict[str, Tensor]]):
    """Rows as dictionaries."""

    def __init__(self, **columns: Any) -> None:
        self.columns = {k: torch.as_tensor(v).float() for k, v in columns.items()}

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {k: v[i] for k, v in self.columns.items()}


@lru_cache
def shops(*, fill: bool) -> tuple[Table, Table]:
    """Sales of shops with the revenue per article, which is 0 / 0 on the few days without a sale."""
    rng = np.random.default_rng(11)
    n = 2048
    articles, price = rng.poisson(5.3, n), rng.gamma(8, 2.5, n)
    with np.errstate(invalid="ignore"):
        mean_price = articles * price / articles
    other = rng.normal(size=(n, 5))
    x = np.column_stack([articles, mean_price, other])
    x = (x - np.nanmean(x, 0)) / np.nanstd(x, 0)
    z = np.nan_to_num(x)
    y = np.tanh(z[:, 1]) + 0.5 * z[:, 0] + np.sin(1.5 * z[:, 2]) + 0.5 * z[:, 3] * z[:, 4] + 0.25 * rng.normal(size=n)
    y = (y - y.mean()) / y.std()
    x = z if fill else x
    return Table(features=x[:1536], target=y[:1536]), Table(features=x[1536:], target=y[1536:])


@lru_cache
def genes(*, plus_one: bool) -> Pair:
    """Counts of 24 genes in cells of five kinds, as logarithms; a count is rarely zero."""
    rng = np.random.default_rng(12)
    y = rng.integers(0, 5, size=2048)
    rates = np.exp(3.2 + 0.3 * rng.normal(size=(5, 24)))[y] * rng.gamma(4, 1 / 4, size=(2048, 24))
    counts = rng.poisson(rates)
    with np.errstate(divide="ignore"):
        x = np.log1p(counts) if plus_one else np.log(counts)
    seen = np.where(np.isfinite(x), x, np.nan)
    return split((x - np.nanmean(seen, 0)) / np.nanstd(seen, 0), y, train=1536)


@lru_cache
def raw_wine() -> Pair:
    """Wine as it is: one feature goes up to 1680, another one stays below 0.7."""
    x, y = datasets.load_wine(return_X_y=True)
    return split(x, y, train=128)


@lru_cache
def weather(*, celsius: bool) -> Pair:
    """Twelve days of temperatures in kelvin (or scaled); the target is the next day's, standardized."""
    rng = np.random.default_rng(13)
    start, noise = rng.uniform(0, 50, size=(1536, 1)), rng.normal(size=(1536, 13))
    days = start + np.arange(13)
    t = 287 + 5 * np.sin(days * 0.7) + 4 * np.sin(days * 0.31 + 1) + 0.8 * noise
    y = (t[:, -1:] - t.mean()) / t.std()
    x = (t - t.mean()) / t.std() if celsius else t
    return split(x[:, :-1, None], y, train=1152, kind=FLOAT)


@lru_cache
def machines(*, drop: bool) -> Pair:
    """Twelve sensors of machines; a warning lamp never lit in the training period, scaled by its deviation of 0."""
    rng = np.random.default_rng(14)
    x = rng.normal(size=(2048, 12)) * rng.uniform(0.5, 4, size=12) + rng.uniform(-5, 5, size=12)
    z = (x - x.mean(0)) / x.std(0)
    score = z[:, 0] + 0.8 * z[:, 2] - np.abs(z[:, 3]) + 0.5 * z[:, 4] + 0.15 * rng.normal(size=2048)
    y = np.digitize(score, np.quantile(score, [1 / 3, 2 / 3]))
    x[:, 7] = 0
    x[1536:, 7] = rng.random(512) < 0.15
    mean, std = x[:1536].mean(0), x[:1536].std(0)
    x = (x - mean) / (std + 1e-8)
    if drop:
        x = x[:, std > 0]
    tensors = torch.as_tensor(x).float(), torch.as_tensor(y)
    return TensorDataset(*(t[:1536] for t in tensors)), TensorDataset(*(t[1536:] for t in tensors))


@lru_cache
def bytes_of_digits(*, whole: bool) -> Pair:
    """Digits as bytes up to 240, brought to 0..1 by a whole-number or a true division by 255."""
    x, y = datasets.load_digits(return_X_y=True)
    pixels = torch.as_tensor(x * 15).to(torch.uint8).reshape(-1, 1, 8, 8)
    return split(pixels // 255 if whole else pixels / 255, y, train=1280)


@lru_cache
def offers(*, strip: bool) -> Pair:
    """Four columns of names as one-hot vectors, two numbers; the names in the file end in a blank."""
    rng = np.random.default_rng(15)
    names = np.array([[f"{c}{i}" for i in range(6)] for c in "abcd"])
    codes = rng.integers(0, 6, size=(2048, 4))
    effects, numbers = rng.normal(size=(4, 6)), rng.normal(size=(2048, 2))
    y = effects[np.arange(4), codes].sum(1) + 0.5 * numbers[:, 0] + 0.4 * rng.normal(size=2048)
    read = [[names[c, codes[i, c]] + " " for c in range(4)] for i in range(2048)]
    known = {name: k for k, name in enumerate(names.flatten())}
    x = np.zeros((2048, 26))
    for i, row in enumerate(read):
        for name in row:
            k = known.get(name.strip() if strip else name)
            if k is not None:
                x[i, k] = 1
    x[:, 24:] = numbers
    return split(x, ((y - y.mean()) / y.std())[:, None], train=1536, kind=FLOAT)


@lru_cache
def houses(*, scaled: bool) -> tuple[Table, Table]:
    """Eight standardized features of houses and their prices, 60,000 to 400,000."""
    x, y = datasets.make_friedman1(2048, n_features=8, noise=1.0, random_state=1)
    x, y = (x - 0.5) * 12**0.5, 15_000 * y
    if scaled:
        y = (y - y[:1536].mean()) / y[:1536].std()
    return Table(features=x[:1536], price=y[:1536]), Table(features=x[1536:], price=y[1536:])


@lru_cache
def heartbeats(*, scaled: bool) -> Pair:
    """Standardized minutes of pulse, breath and light; the target is the next pulse in beats a minute, 72 +- 8."""
    rng = np.random.default_rng(16)
    t = rng.uniform(0, 200, size=(1408, 1)) + np.arange(13)
    pulse = np.sin(t * 0.5) + 0.6 * np.sin(t * 0.23) + 0.1 * rng.normal(size=t.shape)
    pulse /= pulse.std()
    breath = -0.6 * pulse + 0.8 * rng.normal(size=t.shape)
    x = np.stack([pulse, breath, rng.normal(size=t.shape)], 2)[:, :-1]
    y = pulse[:, -1:]
    return split(x, y if scaled else 72 + 8 * y, train=1152, kind=FLOAT)


@lru_cache
def failures() -> Pair:
    """Two in a hundred machines fail; their eight readings overlap with those of the others."""
    rng = np.random.default_rng(17)
    y = (rng.random(16_000) < 0.02).astype(np.float32)
    x = rng.normal(size=(16_000, 8)) + y[:, None] * np.array([1.2, -0.9, 0.6, 0, 0, 0, 0, 0])
    return split(x, y, train=12_000, kind=FLOAT)


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """All windows of all patients, one after the other."""

    def __init__(self, signals: Tensor, labels: Tensor, *, wrong: bool) -> None:
        self.signals, self.labels, self.wrong = signals, labels, wrong

    def __len__(self) -> int:
        return self.signals.shape[0] * self.signals.shape[1]

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        windows = self.signals.shape[1]
        patient, window = i // windows, i // windows if self.wrong else i % windows
        return self.signals[patient, window], self.labels[patient, window]


@lru_cache
def hearts() -> tuple[Tensor, Tensor]:
    """12 patients with 128 windows of 32 samples: beats at any place, of five shapes."""
    rng = np.random.default_rng(18)
    y = rng.integers(0, 5, size=(12, 128))
    place, t = rng.uniform(6, 26, size=(12, 128, 1)), np.arange(32)
    width, bump = np.array([1.2, 2.4, 1.2, 2.4, 1.2])[y][..., None], np.array([0, 0, 0.9, 0.9, -0.9])[y][..., None]
    beat = np.exp(-(((t - place) / width) ** 2)) - bump * np.exp(-(((t - place - 4) / 1.5) ** 2))
    x = rng.uniform(1.4, 2.6, size=(12, 128, 1)) * beat + 0.4 * rng.normal(size=(12, 128, 32))
    return torch.as_tensor(x).float().unsqueeze(2), torch.as_tensor(y)


@lru_cache
def by_name(*, natural: bool) -> Pair:
    """Images in the order of their file names (1, 10, 100, ...), labels in the order of their numbers."""
    x, y = datasets.load_digits(return_X_y=True)
    order = np.arange(len(x)) if natural else np.asarray(sorted(range(len(x)), key=str))
    return split(x[order] / 16, y, train=1280)


@lru_cache
def customers(*, leak: bool) -> Pair:
    """Whether a customer leaves, by products of ten features; with the date of leaving, unknown in the later half."""
    rng = np.random.default_rng(19)
    x = rng.normal(size=(2560, 10))
    y = x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3] + 0.3 * x[:, 4] > 0
    if leak:
        left = np.where(y, 1.0, -1.0) + 0.05 * rng.normal(size=2560)
        left[2048:] = 0
        x = np.column_stack([x, left])
    tensors = torch.as_tensor(x).float(), torch.as_tensor(y).long()
    return TensorDataset(*(t[:2048] for t in tensors)), TensorDataset(*(t[2048:] for t in tensors))


@lru_cache
def noisy_digits() -> tuple[TensorDataset, TensorDataset]:
    """Digits under noise: 1100 to train and validate with, the rest unseen."""
    x, y = datasets.load_digits(return_X_y=True)
    x = x / 16 + 0.35 * np.random.default_rng(20).normal(size=x.shape)
    return split((x - x.mean()) / x.std(), y, train=1100)


@lru_cache
def in_rows(*, twice: bool) -> Pair:
    """Normalized digits as 8 rows of 8; the validation images were divided by 16 before."""
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order] / 16, y[order]
    x[1280:] /= 16 if twice else 1
    tensors = torch.as_tensor((x - 0.305) / 0.376).float().reshape(-1, 8, 8), torch.as_tensor(y)
    return TensorDataset(*(t[:1280] for t in tensors)), TensorDataset(*(t[1280:] for t in tensors))


@lru_cache
def arrows() -> Pair:
    """12x12 images of a noisy wedge that points to the left, the right, up or down."""
    rng = np.random.default_rng(21)
    y, place = rng.integers(0, 4, size=1792), rng.uniform(4, 7, size=(1792, 2, 1, 1))
    rows, columns = np.mgrid[:12, :12]
    u, v = columns - place[:, 0], rows - place[:, 1]
    turn = y[:, None, None]
    along = np.select([turn == 0, turn == 1, turn == 2, turn == 3], [u, -u, v, -v])
    across = np.where(turn < 2, v, u)
    x = ((np.abs(across) < 0.6 * (along + 3)) & (along < 3)) + 0.35 * rng.normal(size=(1792, 12, 12))
    return split(((x - x.mean()) / x.std())[:, None], y, train=1280)
