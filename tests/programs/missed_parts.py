"""What the trainings of the topic `missed` share: modules that keep what they log, small loaders."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from .parts import Fit, Pair, digits, loader


class Kept(L.LightningModule):
    """Logs a value and keeps it for the checks."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[float]] = {}

    def put(self, name: str, value: Tensor, **options: Any) -> None:
        self.log(name, value, **options)
        if not self.trainer.sanity_checking:
            self.seen.setdefault(name, []).append(float(value.detach()))

    def cosine(self, optimizer: torch.optim.Optimizer, warm: int = 0) -> Any:
        """Return what configure_optimizers returns for a cosine per step."""
        total = int(self.trainer.estimated_stepping_batches)

        def factor(i: int) -> float:
            if i < warm:
                return (i + 1) / (warm + 1)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (i - warm) / max(total - warm, 1))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Graded(Kept):
    """A batch is inputs and then a target; there is a loss and one grade of the validation."""

    names: ClassVar[tuple[str, str, str]] = ("train_loss", "val_loss", "val_acc")

    def objective(self, out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y)

    def grade(self, out: Tensor, y: Tensor) -> Tensor:
        return (out.argmax(-1) == y).float().mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        *x, y = batch
        loss = self.objective(self(*x), y)
        self.put(self.names[0], loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        *x, y = batch
        out = self(*x)
        self.put(self.names[1], self.objective(out, y))
        self.put(self.names[2], self.grade(out, y))


class Scored(Graded):
    """The same for a regression, graded by the explained part of the variance."""

    names: ClassVar[tuple[str, str, str]] = ("train_mse", "val_mse", "val_r2")

    def objective(self, out: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(out, y)

    def grade(self, out: Tensor, y: Tensor) -> Tensor:
        return 1 - F.mse_loss(out, y) / y.var()


class LastState(nn.Module):
    """A recurrent cell and a linear head on its last state."""

    def __init__(self, cell: Callable[..., nn.RNNBase], width: int, outputs: int) -> None:
        super().__init__()
        self.rnn = cell(1, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def rows(*arrays: Any) -> list[Tensor]:
    """Return tensors of the arrays, of single precision or int64."""
    tensors = [torch.as_tensor(np.asarray(a)) for a in arrays]
    return [t.float() if t.is_floating_point() else t.long() for t in tensors]


def cut(tensors: list[Tensor], train: int) -> Pair:
    """Return the first ``train`` rows to train with, the others to validate with."""
    return TensorDataset(*(t[:train] for t in tensors)), TensorDataset(*(t[train:] for t in tensors))


def standard_digits(*, image: bool = False) -> Pair:
    """Digits with a mean of 0 and a deviation of 1."""
    (a, b), (c, d) = (s.tensors for s in digits(image=image))
    return TensorDataset((a - 0.305) / 0.376, b), TensorDataset((c - 0.305) / 0.376, d)


def fitted(module: L.LightningModule, data: Pair, seed: int, batch: int, **trainer: Any) -> Fit:
    """Return the fit of a module on two sets, the second one in one batch."""
    val: DataLoader[Any] = loader(data[1], len(data[1]), shuffle=False)
    return Fit(module, loader(data[0], batch, seed=seed), val, trainer)
