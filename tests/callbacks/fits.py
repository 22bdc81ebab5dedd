"""Tiny fits with Diagnostics: what they train, on what, and how they are run quietly."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Net(L.LightningModule):
    """A small ReLU classifier that logs loss and accuracy in training and validation."""

    def __init__(self, *, lr: float = 0.05, dead: bool = False, decay: float = 1.0, fail_at: int = -1) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
        self.accuracy = MulticlassAccuracy(3)
        self.lr, self.decay, self.fail_at = lr, decay, fail_at
        if dead:
            nn.init.constant_(self.net[2].bias, -100.0)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.global_step == self.fail_at:
            raise RuntimeError("bang")
        out = self.net(batch[0])
        loss = F.cross_entropy(out, batch[1])
        self.log("train_loss", loss)
        self.log("train_acc", (out.argmax(1) == batch[1]).float().mean())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self.net(batch[0])
        self.log("val_loss", F.cross_entropy(out, batch[1]))
        self.accuracy(out, batch[1])
        self.log("val_accuracy", self.accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.net.parameters(), lr=self.lr)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.decay)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def data(n: int = 160) -> TensorDataset:
    """Three blobs in eight dimensions."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    x = rng.standard_normal((n, 8)) + 2 * np.eye(8)[y]
    return TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))


class Blobs(L.LightningDataModule):
    """The blobs, in batches of 16: ten steps an epoch."""

    def __init__(self, batch_size: int = 16) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(data(), self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(data(48), 48)


def trainer(root: Path, callbacks: Sequence[Any], **options: Any) -> L.Trainer:
    """A quiet Trainer."""
    settings = {**QUIET, "max_epochs": 2, "default_root_dir": str(root), "num_sanity_val_steps": 0, **options}
    return L.Trainer(**settings, callbacks=list(callbacks))


def fit(root: Path, *callbacks: Any, module: L.LightningModule | None = None, **options: Any) -> L.LightningModule:
    """Fit and return the module."""
    L.seed_everything(0, verbose=False)
    module = Net() if module is None else module
    with quietly():
        trainer(root, callbacks, **options).fit(module, datamodule=Blobs())
    return module


@contextmanager
def quietly() -> Iterator[None]:
    """Lightning warns of few workers, of few steps between logs and the like."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for module in (r"lightning\.pytorch", r"lightning\.fabric", "torchmetrics", r"torch\.utils\._pytree"):
            warnings.filterwarnings("ignore", module=module)
        yield


class Watch(L.Callback):
    """Calls something with the Trainer after every batch."""

    def __init__(self, act: Callable[[L.Trainer], object]) -> None:
        self.act = act

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        self.act(trainer)
