"""What the programs of this topic share: a module that remembers what it logs, loaders, a permuted cut."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


class Noted(L.LightningModule):
    """A LightningModule that keeps what it logs, for the verification."""

    def __init__(self) -> None:
        super().__init__()
        self.history: defaultdict[str, list[float]] = defaultdict(list)

    def note(self, name: str, value: Tensor, **options: Any) -> None:
        """Log a value and keep it."""
        self.log(name, value, **options)
        if not self.trainer.sanity_checking:
            self.history[name].append(float(value.detach()))


def real(x: Any) -> Tensor:
    """Return a float32 tensor."""
    return torch.as_tensor(np.asarray(x)).float()


def whole(x: Any) -> Tensor:
    """Return an int64 tensor."""
    return torch.as_tensor(np.asarray(x)).long()


def cut(tensors: list[Tensor], train: int, seed: int | None = 0) -> tuple[TensorDataset, TensorDataset]:
    """Return training and validation rows, permuted unless ``seed`` is None."""
    n = len(tensors[0])
    order = torch.arange(n) if seed is None else torch.as_tensor(np.random.default_rng(seed).permutation(n))
    first, second = order[:train], order[train:]
    return TensorDataset(*[t[first] for t in tensors]), TensorDataset(*[t[second] for t in tensors])


def feed(data: Any, batch: int, seed: int, *, shuffle: bool = True, **options: Any) -> DataLoader[Any]:
    """Return a training loader with a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(data, batch_size=batch, shuffle=shuffle, generator=generator, drop_last=True, **options)


def held(data: Any, batch: int = 512) -> DataLoader[Any]:
    """Return a validation loader."""
    return DataLoader(data, batch_size=batch)
