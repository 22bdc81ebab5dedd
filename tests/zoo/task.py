"""The LightningModule and the table row that all cases share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Task(L.LightningModule):
    """Classifies rows of six numbers into three classes; keeps what must not depend on who looks."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def compute(self, batch: Any) -> Tensor:
        """Return the loss of a batch."""
        return F.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_loss", loss)
        self.seen.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_loss", loss)
        self.seen.append(float(loss))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1, momentum=0.9)


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        name: what is unusual about it.
        build: makes the module; called after seeding.
        data: makes the training and validation set; rows of six numbers and a class by default.
        trainer: arguments of the Trainer.
        layers: sites that must have been observed, as prefixes; ("",) asks for none.
        around: makes a context that each training runs in.
        full: takes long.
    """

    name: str
    build: Callable[[], L.LightningModule]
    data: Callable[[], Any] | None = None
    trainer: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[str, ...] = ("net",)
    around: Callable[[], Any] | None = None
    full: bool = False


def rows() -> DataLoader[Any]:
    """16 rows of six numbers with three classes, in batches of four."""
    generator = torch.Generator().manual_seed(7)
    x, y = torch.randn(16, 6, generator=generator), torch.randint(3, (16,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=4)


def of(name: str, net: Callable[[], nn.Module], **options: Any) -> Case:
    """Return the case of a plain task round a network."""
    return Case(name, lambda: Task(net()), **options)
