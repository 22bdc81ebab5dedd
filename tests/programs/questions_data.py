"""Data for the questions_*.py programs: tables, series, sentences and images, generated; nothing is downloaded."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from torch.utils.data import TensorDataset

from .parts import Pair, split

f32 = torch.float32


@lru_cache
def estates(rows: int = 1280) -> tuple[Any, Any]:
    """Houses as in a file: year, square metres, rooms, metres to the sea, income; and a standardized price."""
    r = np.random.default_rng(3)
    year, area = r.uniform(1900, 2020, rows), r.gamma(9, 13, rows)
    rooms, sea, income = (
        np.clip(np.round(area / 28 + r.normal(0, 0.7, rows)), 1, 9),
        r.uniform(0, 4e4, rows),
        r.gamma(4, 1, rows),
    )
    z = 0.012 * (area - 117) + 1.2 * np.exp(-sea / 9000) + 0.25 * income + 0.5 * np.cos((year - 1900) / 25)
    z = z + r.normal(0, 0.12, rows)
    return np.stack([year, area, rooms, sea, income], 1), ((z - z.mean()) / z.std())[:, None]


@lru_cache
def houses(*, standardized: bool = True) -> Pair:
    """The houses, 1024 for training."""
    x, y = estates()
    return split((x - x.mean(0)) / x.std(0) if standardized else x, y, train=1024, kind=f32)


@lru_cache
def patients(*, mean: float = 0.0, unit: float = 1.0) -> Pair:
    """Diabetes, the score of 25..346 as ``(score - mean) / unit``, the ten features standardized."""
    x, y = datasets.load_diabetes(return_X_y=True)
    return split(x / x.std(0), ((y - mean) / unit)[:, None], train=352, kind=f32)


@lru_cache
def flowers() -> Pair:
    """Iris, standardized."""
    x, y = datasets.load_iris(return_X_y=True)
    return split((x - x.mean(0)) / x.std(0), y, train=120)


@lru_cache
def measurements() -> Pair:
    """Breast cancer, standardized; what goes in is also what is to come out."""
    x = datasets.load_breast_cancer().data
    x = np.clip((x - x.mean(0)) / x.std(0), -6, 6)
    return split(x, x, train=480, kind=f32)


@lru_cache
def pictures() -> Pair:
    """Digits of 0..1 as rows; what goes in is also what is to come out."""
    x = datasets.load_digits().data / 16
    return split(x, x, train=1400, kind=f32)


@lru_cache
def genres() -> Pair:
    """20 features of a film and which of 6 genres it belongs to."""
    r = np.random.default_rng(5)
    x = r.normal(size=(1500, 20))
    score = x @ r.normal(size=(20, 6)) / 4 + np.maximum(x, 0) @ r.normal(size=(20, 6)) / 4
    return split(x, score > np.quantile(score, 0.7, axis=0), train=1200, kind=f32)


@lru_cache
def stripes() -> Pair:
    """Noisy 12x12 gratings of four directions."""
    r = np.random.default_rng(7)
    y = r.integers(0, 4, 1300)
    a, b = np.meshgrid(np.arange(12), np.arange(12))
    angle, phase = np.pi * y / 4, r.uniform(0, 2 * np.pi, 1300)
    wave = np.cos(angle)[:, None, None] * a + np.sin(angle)[:, None, None] * b
    x = np.sin(1.3 * wave + phase[:, None, None]) + r.normal(0, 0.6, (1300, 12, 12))
    return split(x[:, None], y, train=1040)


@lru_cache
def rides(*, gaps: bool = False, flat: bool = False, scale: float = 1.0) -> Pair:
    """Windows of 24 hours of three standardized series, and the next value of the first; it may have ``gaps``."""
    r = np.random.default_rng(11)
    t = np.arange(1400)
    day, week = np.sin(2 * np.pi * t / 24), np.cos(2 * np.pi * t / 168)
    rides_ = day + 0.6 * week + 0.4 * np.sin(2 * np.pi * t / 8) + r.normal(0, 0.1, 1400)
    series = np.stack([rides_, day + r.normal(0, 0.3, 1400), week + r.normal(0, 0.3, 1400)], 1)
    series = (series - series.mean(0)) / series.std(0)
    x = np.stack([series[i : i + 24] for i in range(1376)])
    y = np.array([series[i + 24, 0] for i in range(1376)]) * scale
    train, val = split(x, y if flat else y[:, None], train=1100, kind=f32)
    if gaps:
        train.tensors[0][torch.arange(0, 1100, 137), 5, 1] = float("nan")
    return train, val


@lru_cache
def sentences(*, known: float = 1.0) -> Pair:
    """16 words of 120, those of one of four topics more often; a share is ``known``, the rest is word 1."""
    r = np.random.default_rng(13)
    y = r.integers(0, 4, 1500)
    x = r.integers(2, 122, (1500, 16))
    topical = r.random((1500, 16)) < 0.45
    x = np.where(topical, 2 + 30 * y[:, None] + r.integers(0, 30, (1500, 16)), x)
    x = np.where(r.random((1500, 16)) < known, x, 1)
    train, val = split(x, y, train=1200)
    return TensorDataset(train.tensors[0].long(), train.tensors[1]), TensorDataset(
        val.tensors[0].long(), val.tensors[1]
    )


@lru_cache
def spirals() -> Pair:
    """Three arms of a spiral."""
    r = np.random.default_rng(19)
    y = r.integers(0, 3, 1200)
    t = r.uniform(0.15, 1, 1200)
    angle = 2 * np.pi * y / 3 + 4 * t + r.normal(0, 0.12, 1200)
    return split(2 * np.stack([t * np.cos(angle), t * np.sin(angle)], 1), y, train=960)


@lru_cache
def churn(positives: float = 0.04) -> Pair:
    """3000 customers, 15 features, a share of ``positives`` that have left."""
    x, y = datasets.make_classification(3000, 15, n_informative=6, weights=[1 - positives], class_sep=0.9, flip_y=0.01,
                                        random_state=4)  # fmt: skip
    return split((x - x.mean(0)) / x.std(0), y, train=2400)


@lru_cache
def wiggle(rows: int) -> Pair:
    """``rows`` noisy points of a curve, and 400 more for validation."""
    r = np.random.default_rng(23)
    x = r.uniform(-1, 1, (rows + 400, 1))
    y = np.sin(5 * x) + 0.4 * x + r.normal(0, 0.35, x.shape)
    x, y = torch.tensor(x).float(), torch.tensor(y).float()
    return TensorDataset(x[:rows], y[:rows]), TensorDataset(x[rows:], y[rows:])
