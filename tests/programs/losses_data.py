"""Data of the programs in losses.py."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from .parts import Pair, split


class Columns(Dataset[dict[str, Tensor]]):
    """Rows as dictionaries, as tables and tokenizers give them."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {name: column[i] for name, column in self.columns.items()}


@lru_cache
def friedman(train: int = 1600, *, flat: bool = False) -> Pair:
    """Friedman's first function with noise, inputs and targets standardized."""
    x, y = datasets.make_friedman1(2400, n_features=8, noise=1.0, random_state=0)
    y = (y - y.mean()) / y.std()
    x = (x - x.mean(0)) / x.std(0)
    return split(x, y if flat else y[:, None], train=train, kind=torch.float32)


@lru_cache
def waves(train: int = 1280, *, length: int = 16) -> Pair:
    """Windows of one noisy standardized series (two sines) and the value that follows."""
    t = np.arange(2048 + length)
    series = np.sin(t / 3) + 0.7 * np.sin(t / 7.3) + 0.1 * np.random.default_rng(0).normal(size=len(t))
    series = (series - series.mean()) / series.std()
    windows = np.stack([series[i : i + length] for i in range(2048)])[:, :, None]
    return split(windows, series[length:][:, None], train=train, kind=torch.float32)


@lru_cache
def soft_answers() -> tuple[Columns, Columns]:
    """Gaussian features and the probabilities that a random network gives them."""
    draw = np.random.default_rng(0).normal
    x, first, second = draw(size=(2600, 12)), draw(size=(12, 16)) / 12**0.5, draw(size=(16, 5)) * 0.5
    p = torch.as_tensor(np.tanh(x @ first) @ second).softmax(1).float()
    features = torch.as_tensor(x).float()
    return tuple(Columns(features=features[a:b], teacher=p[a:b]) for a, b in ((0, 2000), (2000, 2600)))  # type: ignore[return-value]


@lru_cache
def topics(train: int = 1600, *, labels: int = 6, length: int = 9) -> Pair:
    """Texts of 9 of 60 words; label l is there where one of its four words is."""
    x = np.random.default_rng(0).integers(0, 60, size=(2200, length))
    y = np.stack([(x // 4 == label).any(1) for label in range(labels)], 1)
    sets = split(x, y, train=train, kind=torch.float32)
    return tuple(TensorDataset(s.tensors[0].long(), s.tensors[1]) for s in sets)  # type: ignore[return-value]


@lru_cache
def votes(train: int = 2400, *, length: int = 12, vocabulary: int = 20) -> Pair:
    """Sequences of tokens; the class (of 3) is the kind of token that is most frequent."""
    x = np.random.default_rng(0).integers(0, vocabulary, size=(3000, length))
    counts = np.stack([(x % 3 == k).sum(1) for k in range(3)], 1) + np.array([0.2, 0.1, 0.0])
    sets = split(x, counts.argmax(1), train=train)
    return tuple(TensorDataset(s.tensors[0].long(), s.tensors[1]) for s in sets)  # type: ignore[return-value]


@lru_cache
def discs(train: int = 768) -> Pair:
    """Noisy 16x16 images of one bright disc each, and the mask of the disc."""
    rng = np.random.default_rng(0)
    centre, radius = rng.uniform(4, 12, size=(1024, 2, 1, 1)), rng.uniform(2.5, 5, size=(1024, 1, 1))
    grid = np.arange(16)
    mask = (grid[:, None] - centre[:, 0]) ** 2 + (grid - centre[:, 1]) ** 2 < radius**2
    image = mask * rng.uniform(0.8, 1.6, size=(1024, 1, 1)) + 0.4 * rng.normal(size=mask.shape)
    image = (image - image.mean()) / image.std()
    return split(image[:, None], mask[:, None], train=train, kind=torch.float32)
