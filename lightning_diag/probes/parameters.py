"""Parameters, their gradients, and what an optimizer step really changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lightning_diag.graph import clean
from lightning_diag.probes.readings import Readings, measuring
from lightning_diag.statistics.sampling import sample
from lightning_diag.statistics.views import plain

EXACT = 1 << 15  # parameters of up to 32,768 elements are measured whole, larger ones on a sample of 4,096


class ParameterProbe:
    """Takes gradients before the first step of each optimizer in a batch, and updates at the batch's end.

    Args:
        root: the LightningModule, for the names.
        readings: where statistics go.
        on_error: called with the exception of a failing measurement.
    """

    def __init__(self, root: nn.Module, readings: Readings, on_error: Callable[[BaseException], None]) -> None:
        self.readings, self.on_error = readings, on_error
        self.seconds = 0.0
        self._root = root
        self._names = {id(p): clean(n) for n, p in root.named_parameters()}
        self._order = [clean(n) for n, p in root.named_parameters() if p.requires_grad]
        self._before: dict[str, tuple[Tensor, Tensor]] = {}  # name -> parameter, its elements before the step
        for family in ("gradient", "parameter", "update"):
            for name in self._order:
                readings.site(family, name)

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measure the gradients and values of an optimizer's parameters (unscaled, accumulated, not clipped)."""
        start = time.perf_counter()
        try:
            with measuring():
                if any(id(p) not in self._names for group in optimizer.param_groups for p in group["params"]):
                    # FSDP2 shows other objects while it has gathered the whole parameters
                    self._names |= {id(p): clean(n) for n, p in self._root.named_parameters()}
                for name, p in self._parameters(optimizer):
                    self._take(name, p)
        except Exception as error:
            self.on_error(error)
        self.seconds += time.perf_counter() - start

    def _parameters(self, optimizer: torch.optim.Optimizer) -> Iterable[tuple[str, Tensor]]:
        for g, group in enumerate(optimizer.param_groups):
            for i, p in enumerate(group["params"]):
                yield self._names.get(id(p), f"(optimizer group {g}, parameter {i})"), p

    def _take(self, name: str, p: Tensor) -> None:
        if p.grad is not None:
            self.readings.tensor("gradient", name, p.grad)
        if name in self._before:
            return
        if hasattr(p, "to_local"):
            self.readings.sharded[name] = p.numel()
        elements = _elements(p)
        if elements is not None:
            self.readings.tensor("parameter", name, elements)
            self.readings.site("update", name)
            self._before[name] = (p, elements.clone())

    def after_step(self) -> None:
        """Measure what changed since :meth:`before_step`, and let go of the copies."""
        start = time.perf_counter()
        try:
            with measuring():
                for name, (p, before) in self._before.items():
                    now = _elements(p)
                    if now is None or now.shape != before.shape:
                        continue
                    self.readings.tensor("update", name, now.float() - before.float())
        except Exception as error:
            self.on_error(error)
        self._before.clear()
        self.seconds += time.perf_counter() - start


def _elements(p: Tensor) -> Tensor | None:
    x = plain(p)
    return None if x is None else x if x.numel() <= EXACT else sample(x)
