"""Modules of the healthy controls in lookalikes.py, second part: scales, streams, schedules, batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.data import IterableDataset

from .lookalikes_modules import Classifier
from .ordinary_modules import LanguageModel
from .parts import Batch, mlp


class Regressor(Classifier):
    """One number; scored by the explained share of the variance."""

    rate, end = 3e-3, 0.0

    def score(self, out: Tensor, y: Tensor) -> Tensor:
        return 1 - F.mse_loss(out, y) / y.var()

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.Adam(self.parameters(), lr=self.rate), share=self.end)


class Summed(Classifier):
    """The loss is a sum over the batch, and the rate is divided by its size."""

    def __init__(self, batch: int) -> None:
        super().__init__(mlp(64, 48, 10, act=nn.Softplus), nn.CrossEntropyLoss(reduction="sum"))
        self.batch = batch

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self(batch[0])
        loss, accuracy = F.cross_entropy(out, batch[1]) * self.batch, self.score(out, batch[1])
        self.log_dict({"val_loss": loss, "val_acc": accuracy})
        self.note(loss, accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(
            self.parameters(), lr=0.05 / self.batch, momentum=0.9, weight_decay=1e-3 * self.batch
        )
        return self.down_to(optimizer)


class Stream(IterableDataset[Batch]):
    """Batches of an endless simulation, independent of each other: a known function and noise of variance 0.25."""

    def __init__(self, seed: int, batch: int = 64) -> None:
        self.seed, self.batch = seed, batch

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            x = torch.randn(self.batch, 3, generator=generator)
            noise = torch.randn(self.batch, 1, generator=generator)
            yield [x, 1.2 * F.silu(2 * x[:, :1]) + 0.8 * x[:, 1:2] + 0.5 * noise]


class Online(Regressor):
    """Normalized weights, Adam at a constant rate, as many batches as one likes."""

    def __init__(self) -> None:
        layers = [weight_norm(nn.Linear(3, 32)), nn.SiLU(), weight_norm(nn.Linear(32, 1))]
        super().__init__(nn.Sequential(*layers), nn.MSELoss())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class Prices(Regressor):
    """Targets in thousands: the network says by how many deviations the price differs from the mean."""

    rate = 1.5e-2

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__(mlp(5, 32, 32, 1, act=nn.SiLU), nn.L1Loss())
        self.register_buffer("deviation", torch.tensor(deviation))
        self.mean = nn.Parameter(torch.tensor(mean))

    def forward(self, x: Tensor) -> Tensor:
        return self.mean + self.deviation * self.model(x)


class Clipped(LanguageModel):
    """Tied embeddings; notes the norm of the gradient before it is clipped."""

    def __init__(self) -> None:
        super().__init__(width=48, tied=True, rate=3e-3)
        self.norms: list[float] = []

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        grads = [p.grad.norm() for p in self.parameters() if p.grad is not None]
        self.norms.append(float(torch.stack(grads).norm()))


class Restarts(Classifier):
    """Cosine cycles of 2, 4 and 8 epochs; the training ends with the last one."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True)
        epoch = int(self.trainer.estimated_stepping_batches) // 14
        scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2 * epoch, T_mult=2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Averaged(Classifier):
    """Dropout in training; validated is a running average of the weights."""

    def __init__(self, model: nn.Module, decay: float = 0.95) -> None:
        super().__init__(model)
        self.average, self.decay = copy.deepcopy(model).requires_grad_(False), decay

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.model.parameters(), strict=True):
                slow.lerp_(fast, 1 - self.decay)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.training else self.average(x)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.AdamW(self.model.parameters(), lr=3e-3, weight_decay=0.05))


class SmallBatches(Classifier):
    """BatchNorm in batches of eight images."""

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3))


class RateOfOne(Classifier):
    """Plain SGD with a rate of 1 after a short warmup, which normalized weights bear well."""

    def configure_optimizers(self) -> Any:
        optimizer, steps = torch.optim.SGD(self.parameters(), lr=1.0), int(self.trainer.estimated_stepping_batches)
        warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=15)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - 15)
        scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], [15])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
