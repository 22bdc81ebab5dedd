"""Sets and tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from .parts import Fit
from .tabular_parts import Noted, cut, feed, held, real, whole

# -- molecules -------------------------------------------------------------------------------------------


def molecules(count: int = 1600) -> tuple[np.ndarray, np.ndarray]:
    """Up to 12 atoms (one-hot of 4 elements, distance from the centre, mask) and the energy in eV."""
    rng = np.random.default_rng(50)
    size = rng.integers(6, 13, count)
    mask = np.arange(12) < size[:, None]
    kind = rng.choice(4, (count, 12), p=[0.5, 0.3, 0.1, 0.1])
    far = rng.gamma(4, 0.25, (count, 12))
    own = np.array([-13.6, -1035.0, -1490.0, -2045.0])[kind] - 60 / (0.5 + far)
    atoms = np.concatenate([np.eye(4)[kind], far[..., None] - 1, np.ones((count, 12, 1))], -1) * mask[..., None]
    return atoms, (own * mask).sum(1) + rng.normal(0, 20, count)


class EnergyModel(Noted):
    def __init__(self, shift: float, scale: float) -> None:
        super().__init__()
        self.shift, self.scale = shift, scale
        self.phi = nn.Sequential(nn.Linear(6, 48), nn.GELU(), nn.Linear(48, 48), nn.GELU())
        self.rho = nn.Sequential(nn.Linear(48, 48), nn.GELU(), nn.Linear(48, 1))

    def forward(self, atoms: Tensor) -> Tensor:
        per_atom = self.phi(atoms) * atoms[..., -1:]
        result: Tensor = self.rho(per_atom.sum(1) / 12).squeeze(1)
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        atoms, energy = batch
        loss = F.mse_loss(self(atoms), (energy - self.shift) / self.scale)
        self.note("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        atoms, energy = batch
        predicted = self(atoms) * self.scale + self.shift
        self.note("val_loss", F.mse_loss(self(atoms), (energy - self.shift) / self.scale))
        self.note("val_mae_ev", (predicted - energy).abs().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-3)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.85)]


def molecule_energies(seed: int, *, sick: bool) -> Fit:
    """The total energy in electronvolts, thousands below zero, is what the set network has to put out."""
    atoms, energy = molecules()
    train, val = cut([real(atoms), real(energy)], 1280)
    known = train.tensors[1]
    net = EnergyModel(0.0, 1.0) if sick else EnergyModel(float(known.mean()), float(known.std()))
    return Fit(net, feed(train, 40, seed), held(val), {"max_epochs": 14})


# -- topics ----------------------------------------------------------------------------------------------


def topics(per: int = 900) -> tuple[np.ndarray, np.ndarray]:
    """Documents of 16 words out of 80, folder by folder; a third of the words tells the topic."""
    rng = np.random.default_rng(61)
    texts, labels = [], []
    for topic in range(4):
        common, own = rng.integers(0, 48, (per, 16)), 48 + 8 * topic + rng.integers(0, 8, (per, 16))
        other = 48 + rng.integers(0, 32, (per, 16))
        pick = rng.random((per, 16))
        texts.append(np.where(pick < 0.22, own, np.where(pick < 0.35, other, common)))
        labels.append(np.full(per, topic))
    return np.concatenate(texts), np.concatenate(labels)


class TopicEncoder(Noted):
    def __init__(self) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(80, 32), nn.Parameter(0.02 * torch.randn(16, 32))
        self.block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.norm, self.classifier = nn.LayerNorm(32), nn.Linear(32, 4)
        self.accuracy = MulticlassAccuracy(4)

    def forward(self, ids: Tensor) -> Tensor:
        result: Tensor = self.classifier(self.norm(self.block(self.word(ids) + self.place)).mean(1))
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.note("loss/train", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.note("loss/val", F.cross_entropy(logits, batch[1]))
        self.note("accuracy/val", self.accuracy(logits, batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def topic_folders(seed: int, *, sick: bool) -> Fit:
    """The documents are read folder by folder, one folder per topic, and the loader keeps that order."""
    texts, labels = topics()
    held_out = np.arange(len(labels)) % 5 == 4
    columns = [whole(texts), whole(labels)]
    train, _ = cut([c[~held_out] for c in columns], 2880, seed=None)
    val, _ = cut([c[held_out] for c in columns], 720, seed=None)
    return Fit(TopicEncoder(), feed(train, 32, seed, shuffle=not sick), held(val, 1024), {"max_epochs": 3})


# -- reviews ---------------------------------------------------------------------------------------------


def reviews(count: int = 3000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reviews of 2 to 40 words, 0 is padding; every word leans a little to one side."""
    rng = np.random.default_rng(72)
    length, mood = rng.integers(2, 41, count), rng.integers(0, 2, count)
    leaning = rng.random((count, 40)) < np.where(mood == 1, 0.68, 0.32)[:, None]
    words = 1 + rng.integers(0, 15, (count, 40)) + 15 * leaning
    return np.where(np.arange(40) < length[:, None], words, 0), mood, length


class ReviewPooling(Noted):
    """Gated pooling over the words of a review."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(31, 12, padding_idx=0)
        self.value, self.gate, self.out = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 1)

    def forward(self, words: Tensor) -> Tensor:
        e, mask = self.embedding(words), (words > 0).unsqueeze(-1)
        pooled = (self.value(e) * torch.sigmoid(self.gate(e)) * mask).sum(1)
        result: Tensor = self.out(pooled / mask.sum(1).sqrt()).flatten()
        return result

    def shared(self, batch: list[Tensor], stage: str) -> Tensor:
        z = self(batch[0])
        loss = F.binary_cross_entropy_with_logits(z, batch[1])
        self.note(f"{stage}_loss", loss, on_epoch=True, on_step=False)
        self.note(f"{stage}_acc", ((z > 0) == batch[1].bool()).float().mean(), on_epoch=True, on_step=False)
        return loss

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.shared(batch, "train")

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.shared(batch, "val")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adagrad(self.parameters(), lr=0.04)


def reviews_by_length(seed: int, *, sick: bool) -> Fit:
    """The reviews are sorted by length to save padding, and the last fifth of the list, the easiest, validates."""
    words, mood, length = reviews()
    order = np.argsort(length, kind="stable")
    columns = [whole(words[order]), real(mood[order])]
    train, val = cut(columns, 2400, seed=None if sick else 4)
    return Fit(ReviewPooling(), feed(train, 64, seed), held(val), {"max_epochs": 8})
