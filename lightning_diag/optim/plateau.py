"""Reduce-on-plateau that is told its metric at validations, not at ends of epochs."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_diag.recipe import Mode


class Plateau(ReduceLROnPlateau):
    """Multiplies the rates by a factor when a metric has not got better for some validations.

    Torch's ``ReduceLROnPlateau``, with two differences. A step without a metric, which is how Lightning steps the
    schedulers that it is handed, does nothing: whoever has the metric calls ``step(metric)`` when it is new, before a
    checkpoint is written, so that a resumed run goes on exactly. And the lowest rate is a share of the first.

    Args:
        optimizer: whose rates.
        mode: whether less or more of the metric is better.
        factor: what the rates are multiplied by; the lectures divide by 2, 5 or 10.
        patience: validations without gain that are borne.
        threshold: relative gain that counts as one.
        cooldown: validations after a reduction that are not counted.
        final: lowest factor.
        warmup_steps: optimizer steps at the start in which no validation is counted.

    Source: lecture "Optimization revisited": a = a / n if the loss no longer decreases significantly, n of 2, 5, 10.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        mode: Mode = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        final: float = 0.0,
        warmup_steps: int = 0,
    ) -> None:
        floors = [final * group["lr"] for group in optimizer.param_groups]
        super().__init__(optimizer, mode, factor, patience, threshold, cooldown=cooldown, min_lr=floors, eps=0.0)
        self.warmup_steps = warmup_steps

    def step(self, metrics: Any = None, epoch: int | None = None) -> None:  # type: ignore[override]
        """Count a validation with this value of the metric; None does nothing."""
        if metrics is not None:
            super().step(metrics)
