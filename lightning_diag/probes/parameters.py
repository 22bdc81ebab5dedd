"""Parameters, their gradients, and what an optimizer step really changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.graph import clean
from lightning_diag.probes.readings import Readings, measuring
from lightning_diag.statistics.sampling import sample
from lightning_diag.statistics.views import plain, stands_whole

EXACT = 1 << 15  # parameters of up to 32,768 elements are measured whole, larger ones on a sample of 4,096


class ParameterProbe:
    """Takes gradients before the first step of each optimizer in a batch, and updates at the batch's end.

    Args:
        root: the LightningModule, for the names.
        readings: where statistics go.
        on_error: called with the exception of a failing measurement.
        deep: whether clones among the units of a layer are counted, too.
        fresh: ids of the parameters whose optimizer stepped in the batch before: their gradients should be cleared.
    """

    def __init__(
        self,
        root: nn.Module,
        readings: Readings,
        on_error: Callable[[BaseException], None],
        *,
        deep: bool = True,
        fresh: Collection[int] = (),
    ) -> None:
        self.readings, self.on_error, self.deep = readings, on_error, deep
        trained = [p for p in root.parameters() if p.requires_grad and p.dim() > 1 and id(p) in fresh]
        self._witnesses = trained[:1] + trained[-1:]  # parameters whose gradients are looked at before a backward pass
        self._uncleared: dict[int, Tensor] = {}
        self.seconds = 0.0
        self._root = root
        self._names = {id(p): clean(n) for n, p in root.named_parameters()}
        self._order = [clean(n) for n, p in root.named_parameters() if p.requires_grad]
        self._before: dict[str, tuple[Tensor, Tensor]] = {}  # name -> parameter, its elements before the step
        for family in ("gradient", "parameter", "update"):
            for name in self._order:
                readings.site(family, name)

    def before_backward(self) -> None:
        """A backward pass is about to add to the gradients: are those of the step before still there?"""
        with measuring():
            for p in self._witnesses:
                grad = None if p.grad is None else plain(p.grad)
                left = torch.zeros(()) if grad is None else (grad != 0).any().float()
                known = self._uncleared.get(id(p), left)
                self._uncleared[id(p)] = torch.minimum(known.to(left.device), left)

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measure the gradients and values of an optimizer's parameters (unscaled, accumulated, not clipped)."""
        start = time.perf_counter()
        try:
            with measuring():
                if self._uncleared:
                    home = next(iter(self._uncleared.values())).device
                    left = torch.stack([x.to(home) for x in self._uncleared.values()])
                    self.readings.site("total", "", 1)
                    self.readings.scalar("total/gradients_left", "", left.amin())
                    self.readings.scalar("total/gradients_left_in_part", "", left.amax())
                if any(id(p) not in self._names for group in optimizer.param_groups for p in group["params"]):
                    # FSDP2 shows other objects while it has gathered the whole parameters
                    self._names |= {id(p): clean(n) for n, p in self._root.named_parameters()}
                for name, p in self._parameters(optimizer):
                    self._take(name, p)
                    if self.deep and p.grad is not None:
                        self._signal(name, optimizer.state.get(p))
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
            if self.deep and p.dim() > 1 and p.shape[0] > 1 and stands_whole(elements, p) and p.is_floating_point():
                self.readings.scalar("parameter/clones", name, clones(elements))
            self._before[name] = (p, elements.clone())

    def _signal(self, name: str, state: Any) -> None:
        """The share of the gradient that stays: squared running mean over running mean square, as Adam keeps them."""
        if not isinstance(state, dict) or not {"exp_avg", "exp_avg_sq"} <= state.keys():
            return
        mean, square = (_elements(state[key]) for key in ("exp_avg", "exp_avg_sq"))
        if mean is not None and square is not None:
            share = mean.float().square().mean() / square.float().mean().clamp_min(torch.finfo(torch.float32).tiny)
            self.readings.scalar("gradient/signal_share", name, share)

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


def clones(weight: Tensor) -> Tensor:
    """Return the share of rows (units) that are the same as another row, all zeros excepted; a scalar.

    Rows are told apart by two random projections, to a millionth.

    Example:
        >>> clones(torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])).item()
        0.5
    """
    rows = weight.reshape(weight.shape[0], -1).float()
    sums = rows @ _directions(rows.shape[1], str(rows.device))
    order = sums[:, 0].argsort()
    ordered = sums[order]
    same = torch.isclose(ordered[1:], ordered[:-1], rtol=1e-6, atol=0.0).all(1) & (ordered[1:] != 0).any(1)
    off = same.new_zeros(1)
    return (torch.cat([off, same]) | torch.cat([same, off])).float().mean()


@lru_cache(maxsize=256)
def _directions(n: int, device: str) -> Tensor:
    return torch.rand(n, 2, generator=torch.Generator().manual_seed(0)).to(device) + 0.5


def _elements(p: Tensor) -> Tensor | None:
    x = plain(p)
    return None if x is None else x if x.numel() <= EXACT else sample(x)
