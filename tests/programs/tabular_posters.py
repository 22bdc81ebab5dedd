"""Colour images of patterns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from .parts import Fit
from .tabular_parts import Noted, feed, held, whole


class Posters(Dataset[tuple[Tensor, Tensor]]):
    """Small colour images; the class is the pattern."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, transform: Callable[[Tensor], Tensor] | None) -> None:
        self.pixels, self.labels, self.transform = torch.as_tensor(pixels), whole(labels), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.pixels[index].float().div(255)
        return (self.transform(image) if self.transform else image), self.labels[index]


def posters(count: int = 1200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(101)
    rows, columns = np.mgrid[:8, :8]
    stripes = np.stack([rows // 2 % 2, columns // 2 % 2, (rows + columns) // 2 % 2, (rows // 2 + columns // 2) % 2])
    labels = rng.integers(0, 4, count)
    pattern = stripes[labels]
    flip = rng.random(count) < 0.5
    pattern = np.where(flip[:, None, None], 1 - pattern, pattern)[:, None]
    dark, bright = rng.uniform(10, 110, (count, 3, 1, 1)), rng.uniform(100, 220, (count, 3, 1, 1))
    pixels = dark + (bright - dark) * pattern + rng.normal(0, 35, (count, 3, 8, 8))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


def normalize(image: Tensor) -> Tensor:
    return (image - 0.43) / 0.21


class ConvMixerLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depth, self.point = nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.point(x + F.gelu(self.depth(x))))


class PosterMixer(Noted):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.GELU(), ConvMixerLayer(24), ConvMixerLayer(24))
        self.classifier = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.classifier(self.backbone(x).mean((2, 3)))
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.note("ce/train", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.note("ce/val", F.cross_entropy(logits, batch[1]))
        self.note("top1/val", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=5e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)]


def poster_patterns(seed: int, *, sick: bool) -> Fit:
    """Only the training set was given the transform that takes off the mean and divides by the spread."""
    pixels, labels = posters()
    train = Posters(pixels[:960], labels[:960], normalize)
    val = Posters(pixels[960:], labels[960:], None if sick else normalize)
    return Fit(PosterMixer(), feed(train, 48, seed), held(val), {"max_epochs": 10})
