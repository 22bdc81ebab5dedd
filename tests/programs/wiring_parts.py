"""Data and modules of the programs in wiring.py, written the way different people write them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from .parts import Pair, split


class Ledger(L.LightningModule):
    """Notes the values of its steps for the proofs."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.val_losses: list[float] = []
        self.val_accuracies: list[float] = []

    def note(self, loss: Tensor, accuracy: Any = None) -> None:
        """Keep the values of one step."""
        if self.trainer.training:
            self.losses.append(float(loss.detach()))
        elif not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            if accuracy is not None:
                self.val_accuracies.append(float(accuracy))

    def annealed(self, optimizer: torch.optim.Optimizer) -> Any:
        """Return the optimizer with a cosine to zero over all steps."""
        steps = int(self.trainer.estimated_stepping_batches)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}


class Classifier(Ledger):
    """Cross entropy on (x, y) of whatever the subclass's forward makes of x."""

    prefix = "train/"

    def compute(self, batch: Any) -> Tensor:
        *inputs, y = batch
        return F.cross_entropy(self(*inputs), y)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.compute(batch)
        self.log(f"{self.prefix}loss", loss, prog_bar=True)
        self.note(loss)
        return {"loss": loss}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        *inputs, y = batch
        logits = self(*inputs)
        loss, accuracy = F.cross_entropy(logits, y), (logits.argmax(1) == y).float().mean()
        name = self.prefix.replace("train", "val")
        self.log_dict({f"{name}loss": loss, f"{name}acc": accuracy})
        self.note(loss, accuracy)


# -- data ------------------------------------------------------------------------------------------------


class Rows(Dataset[dict[str, Tensor]]):
    """Rows as dicts."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {k: v[i] for k, v in self.columns.items()}


@lru_cache
def baskets() -> tuple[Rows, Rows]:
    """Eight of 60 articles, each with a hidden value; the label is whether their sum is positive."""
    rng = np.random.default_rng(3)
    value, items = rng.normal(size=60), rng.integers(0, 60, size=(2304, 8))
    label = torch.as_tensor(value[items].sum(1) > 0).float()
    x = torch.as_tensor(items)
    return Rows(items=x[:1792], label=label[:1792]), Rows(items=x[1792:], label=label[1792:])


@lru_cache
def fields() -> tuple[Rows, Rows]:
    """Three categorical columns with hidden effects, one number, and a noisy target of variance 1."""
    rng = np.random.default_rng(4)
    columns: dict[str, Tensor] = {}
    target = np.zeros(1664)
    for name, size in {"city": 25, "job": 15, "device": 10}.items():
        codes = rng.integers(0, size, size=1664)
        target += rng.normal(size=size)[codes]
        columns[name] = torch.as_tensor(codes)
    age = rng.normal(size=1664)
    target += 0.5 * age + 0.3 * rng.normal(size=1664)
    columns |= {"age": torch.as_tensor(age).float(), "target": torch.as_tensor(target / target.std()).float()}
    train, val = ({k: v[part] for k, v in columns.items()} for part in (slice(1280), slice(1280, None)))
    return Rows(**train), Rows(**val)


@lru_cache
def marked() -> Pair:
    """Six elements of four kinds; the class is the value of the only one that is of the first kind."""
    rng = np.random.default_rng(5)
    n, length = 2304, 6
    kind, value = rng.integers(1, 4, size=(n, length)), rng.integers(0, 5, size=(n, length))
    place = rng.integers(0, length, size=n)
    kind[np.arange(n), place] = 0
    x = np.concatenate([np.eye(4)[kind], np.eye(5)[value]], 2) + 0.1 * rng.normal(size=(n, length, 9))
    return split(x, value[np.arange(n), place], train=1792)


@lru_cache
def two_sources() -> tuple[TensorDataset, TensorDataset]:
    """Two sets of four features; each decides one bit of four classes."""
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 2048, 4))
    y = 2 * (a[:, 0] + 0.7 * a[:, 1] > 0) + (b[:, 2] - 0.5 * b[:, 3] > 0)
    tensors = torch.as_tensor(a).float(), torch.as_tensor(b).float(), torch.as_tensor(y).long()
    return TensorDataset(*(t[:1536] for t in tensors)), TensorDataset(*(t[1536:] for t in tensors))


@lru_cache
def waves() -> Pair:
    """Noisy sinusoids of 14 steps; the class is which of four frequencies."""
    rng = np.random.default_rng(7)
    y, phase = rng.integers(0, 4, size=1408), rng.uniform(0, 2 * np.pi, size=(1408, 1))
    speed = np.array([0.4, 0.8, 1.3, 1.9])[y][:, None]
    x = np.sin(speed * np.arange(14) + phase) + 0.15 * rng.normal(size=(1408, 14))
    return split(x[..., None], y, train=1024)


@lru_cache
def gratings() -> Pair:
    """10x10 gratings of four directions and any phase, with noise."""
    rng = np.random.default_rng(8)
    y, phase = rng.integers(0, 4, size=1536), rng.uniform(0, 2 * np.pi, size=(1536, 1, 1))
    angle = (y * np.pi / 4)[:, None, None]
    rows, columns = np.mgrid[:10, :10]
    x = np.sin(1.2 * (np.cos(angle) * columns + np.sin(angle) * rows) + phase) + 0.4 * rng.normal(size=(1536, 10, 10))
    return split(x[:, None], y, train=1024)


@lru_cache
def friedman() -> Pair:
    """Friedman's first regression, ten features of which five matter, standardized."""
    x, y = datasets.make_friedman1(1664, n_features=10, noise=1.0, random_state=0)
    return split((x - 0.5) * 12**0.5, (y - y.mean()) / y.std(), train=1280, kind=torch.float32)


@lru_cache
def blobs() -> Pair:
    """Eight overlapping Gaussians in ten dimensions."""
    x, y = datasets.make_blobs(2048, n_features=10, centers=8, cluster_std=3.5, random_state=2)
    return split((x - x.mean(0)) / x.std(0), y, train=1536)


def rows_of(data: Pair) -> Pair:
    """The rows of the 8x8 images as a sequence, standardized."""
    train, val = (TensorDataset((d.tensors[0].reshape(-1, 8, 8) - 0.305) / 0.376, d.tensors[1]) for d in data)
    return train, val


# -- layers ----------------------------------------------------------------------------------------------


class FieldEncoder(nn.Module):
    """One small embedding for every categorical column."""

    def __init__(self, sizes: dict[str, int], width: int, *, registered: bool) -> None:
        super().__init__()
        tables = {name: nn.Embedding(size, width) for name, size in sizes.items()}
        self.tables: Any = nn.ModuleDict(tables) if registered else tables

    def forward(self, row: dict[str, Tensor]) -> Tensor:
        return torch.cat([self.tables[name](row[name]) for name in self.tables], 1)


class HandMade(nn.Module):
    """x W1, tanh, x W2, tanh, ... with weights of its own making."""

    def __init__(self, *sizes: int, registered: bool) -> None:
        super().__init__()
        weights = [nn.Parameter(torch.randn(a, b) / a**0.5) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        self.weights: Any = nn.ParameterList(weights) if registered else weights

    def forward(self, x: Tensor) -> Tensor:
        for weight in self.weights:
            x = torch.tanh(x @ weight)
        return x


class Pick(nn.Module):
    """One element of a sequence, by its score: softly, or the best one by its index."""

    def __init__(self, width: int, *, hard: bool) -> None:
        super().__init__()
        self.score, self.hard = nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, 1)), hard

    def forward(self, x: Tensor) -> Tensor:
        score = self.score(x).squeeze(-1)
        if self.hard:
            return x[torch.arange(len(x)), score.argmax(1)]
        return (score.softmax(1).unsqueeze(-1) * x).sum(1)
