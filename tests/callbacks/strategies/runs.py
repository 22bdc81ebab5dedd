"""Small modules and fits for the strategies: what they train, in which order, and what is seen on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.callbacks.fits import Net, data, quietly, trainer


class Plain(Net):
    """Logs no accuracy in training, so that soft targets are fine."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss


class Normed(Plain):
    """BatchNorm, dropout and buffers that no average makes sense of; no forward."""

    def __init__(self, *, dropout: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("ids", torch.tensor([5, 7]))


class Watcher(L.Callback):
    """Keeps weights after every batch, batches, and weights at the end of every validation."""

    def __init__(self) -> None:
        self.weights: list[list[Tensor]] = []
        self.validated: list[list[Tensor]] = []
        self.batches: list[Any] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.weights.append(weights(pl_module))

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.validated.append(weights(pl_module))


def weights(module: nn.Module) -> list[Tensor]:
    """Copies of the parameters."""
    return [p.detach().clone() for p in module.parameters()]


def same(a: list[Tensor], b: list[Tensor], tolerance: float = 0.0) -> bool:
    """Whether two lists of tensors are equal."""
    return len(a) == len(b) and all(torch.allclose(x, y, rtol=0, atol=tolerance) for x, y in zip(a, b, strict=True))


class Shuffled(L.LightningDataModule):
    """The blobs, ten batches of 16 an epoch."""

    def __init__(self, *, shuffle: bool = True, **options: Any) -> None:
        super().__init__()
        self.options = {"batch_size": 16, "shuffle": shuffle, **options}

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(data(), **self.options)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(data(48), 48)


def run(
    root: Path,
    *callbacks: Any,
    module: Any = Plain,
    loaders: L.LightningDataModule | None = None,
    ckpt_path: str | None = None,
    **options: Any,
) -> tuple[Any, L.Trainer]:
    """Fit a module, or what a class or function makes after seeding; return module and Trainer."""
    L.seed_everything(0, verbose=False)
    module = module if isinstance(module, nn.Module) else module()
    with quietly():
        fitter = trainer(root, callbacks, **options)
        fitter.fit(module, datamodule=loaders or Shuffled(), ckpt_path=ckpt_path)
    return module, fitter
