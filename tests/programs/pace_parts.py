"""What the programs of this topic share: a module that remembers its course, and generated data."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset


class Remembering(L.LightningModule):
    """Keeps losses, scores and learning rates for the verification."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.val_losses: list[float] = []
        self.scores: list[float] = []
        self.rates: list[float] = []

    def keep(self, loss: Tensor) -> Tensor:
        """Remember a training loss."""
        self.losses.append(float(loss.detach()))
        self.rates.append(float(self.trainer.optimizers[0].param_groups[0]["lr"]))
        return loss

    def judge(self, loss: Tensor, score: Tensor) -> None:
        """Remember a validation (one batch is the whole set)."""
        if not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            self.scores.append(float(score))


class Rows(Dataset[dict[str, Tensor]]):
    """A table of named columns, one dict per row."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


def cut(*columns: Tensor, train: int) -> tuple[TensorDataset, TensorDataset]:
    """Return the first rows for training, the others for validation."""
    return TensorDataset(*(c[:train] for c in columns)), TensorDataset(*(c[train:] for c in columns))


def whole(data: Dataset[Any]) -> DataLoader[Any]:
    """Return a loader that gives a validation set as one batch."""
    return DataLoader(data, batch_size=4096)


WORDS = {
    "who": ["the cat", "the dog", "a bird", "my aunt", "the king", "old tom"],
    "does": ["sees", "likes", "hunts", "paints", "follows", "forgets"],
    "what": ["a fish", "the moon", "red wine", "the sea", "green tea", "his hat"],
    "where": ["at home", "in spring", "by night", "on sunday"],
}
LETTERS = " .abcdefghijklmnopqrstuvwxyz"


def text(length: int, seed: int) -> Tensor:
    """Return the characters of made-up sentences as numbers."""
    rng = np.random.default_rng(seed)
    made = ""
    while len(made) < length:
        made += " ".join(str(rng.choice(words)) for words in WORDS.values()) + ". "
    return torch.tensor([LETTERS.index(c) for c in made[:length]])


def outlines(count: int, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noisy points on the outline of a circle, square or triangle, turned and stretched at random."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, count)
    along = rng.uniform(0, 2 * np.pi, (count, points))
    corners = np.array([0, 4, 3])[kind][:, None]
    safe = np.maximum(corners, 3)
    inner = np.cos(np.pi / safe) / np.cos((along % (2 * np.pi / safe)) - np.pi / safe)
    radius = np.where(corners == 0, 0.8, inner) * rng.uniform(1.0, 1.4, (count, 1))
    angle = along + rng.uniform(0, 2 * np.pi, (count, 1))
    cloud = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1) + rng.normal(0, 0.03, (count, points, 2))
    return torch.tensor(cloud).float(), torch.tensor(kind)


def tones(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noisy signals of 64 samples and which of five frequencies are in each."""
    rng = np.random.default_rng(seed)
    present = rng.random((count, 5)) < 0.4
    frequency = np.array([2, 4, 7, 11, 16])[None, :, None]
    phase = rng.uniform(0, 2 * np.pi, (count, 5, 1))
    wave = np.sin(2 * np.pi * frequency * np.arange(64) / 64 + phase)
    x = (wave * present[..., None] * rng.uniform(0.7, 1.2, (count, 5, 1))).sum(1) + rng.normal(0, 0.4, (count, 64))
    return torch.tensor(x)[:, None].float(), torch.tensor(present).float()
