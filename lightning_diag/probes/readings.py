"""The numbers of one sampled step: collected on the device, brought over in one transfer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from lightning_diag.statistics.histogram import BINS, bit_counts, fold
from lightning_diag.statistics.moments import FIELDS, moments
from lightning_diag.statistics.sampling import sample
from lightning_diag.statistics.views import plain

Row = npt.NDArray[np.float64]
Key = tuple[str, str]  # (family or statistic, site)


@contextmanager
def measuring() -> Iterator[None]:
    """Run statistics without gradients, without autocast (which would sum in half precision), unseen by modes."""
    with ExitStack() as stack:
        stack.enter_context(torch._C.DisableTorchFunction())
        stack.enter_context(torch.no_grad())
        if torch._C._len_torch_dispatch_stack():  # e.g. of selective checkpointing, which counts operations
            stack.enter_context(_disable_current_modes())
        for kind in ("cpu", "cuda", "xpu"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@dataclass
class Silence:
    """Which units of a rectifier were zero throughout a batch, and which would have fired without the bias before."""

    silent: npt.NDArray[np.bool_]
    examples: int
    without_bias: npt.NDArray[np.bool_] | None = None


@dataclass
class Part:
    """What one process read in one sampled step, on the host.

    Attributes:
        numel: family -> site -> number of elements, in order.
        moments: (family, site) -> row of :func:`~lightning_diag.statistics.moments.moments`.
        bins: (family, site) -> row of :func:`~lightning_diag.statistics.histogram.fold`.
        scalars: (statistic, site) -> number.
        silence: site -> silent units.
        sharded: parameter split over the ranks -> its number of elements in all.
        rows: name -> rows of a batch, predictions, targets, as they are; they never leave the process.
    """

    numel: dict[str, dict[str, int]] = field(default_factory=dict)
    moments: dict[Key, Row] = field(default_factory=dict)
    bins: dict[Key, Row] = field(default_factory=dict)
    scalars: dict[Key, float] = field(default_factory=dict)
    silence: dict[str, Silence] = field(default_factory=dict)
    sharded: dict[str, int] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)


class Readings:
    """Collects statistics of tensors by family and site, on the devices where the tensors are."""

    def __init__(self) -> None:
        self.numel: dict[str, dict[str, int]] = {}
        self.sharded: dict[str, int] = {}  # parameters split over the ranks -> number of elements in all
        self.nonfinite: set[str] = set()  # sites known to hold NaN or Inf without waiting for a device
        self.waiting: list[Tensor] = []  # numbers of others on the device, which travel with this transfer
        self.brought: list[float] = []  # the same, when it is over
        self._moments: dict[Key, Tensor] = {}
        self._elements: dict[Key, Tensor] = {}  # small samples, copied: binned all at once
        self._scalars: dict[Key, Tensor] = {}
        self._masks: dict[str, tuple[list[Tensor], int]] = {}
        self._rows: dict[str, Tensor] = {}

    def site(self, family: str, name: str, numel: int = 0) -> None:
        """State a site, in order; its statistics are absent until added."""
        self.numel.setdefault(family, {}).setdefault(name, numel)

    def tensor(self, family: str, name: str, value: Tensor, *, bins: bool = True) -> bool:
        """Take the moments and, if ``bins``, the bin counts of a tensor; False where it cannot be read."""
        x = plain(value)
        self.site(family, name)
        if x is None:
            return False
        self.numel[family][name] = x.numel()
        row = self._moments[family, name] = moments(x)
        if x.device.type == "cpu" and float(row[4]) > 0:
            self.nonfinite.add(name)
        if bins:
            elements = sample(x)
            self._elements[family, name] = elements.clone() if elements.numel() == x.numel() else elements
        return True

    def rms(self, family: str, name: str) -> Tensor | None:
        """Return the root mean square of a tensor taken before, on its device; None where it was not."""
        row = self._moments.get((family, name))
        return None if row is None else torch.hypot(row[0], row[1])

    def scalar(self, statistic: str, name: str, value: Tensor) -> None:
        """Add one number, a zero-dimensional tensor, to a site stated before."""
        self._scalars[statistic, name] = value

    def silence(self, site: str, silent: Tensor, examples: int, without_bias: Tensor | None) -> None:
        """Add which units of a rectifier were silent in a batch of ``examples``, shape (units,) each."""
        self._masks[site] = ([silent] if without_bias is None else [silent, without_bias], examples)

    def rows(self, name: str, values: Tensor) -> None:
        """Add some rows of a tensor as they are, shape (n, features); the caller keeps them few."""
        self._rows[name] = values.float()

    def fetch(self) -> Part:
        """Bring everything to the host in one transfer."""
        masks = [m for ms, _ in self._masks.values() for m in ms]
        with measuring():
            groups = [
                torch.stack(_together(list(self._moments.values()))) if self._moments else torch.empty(0),
                fold(bit_counts(_together(list(self._elements.values())))) if self._elements else torch.empty(0),
                torch.stack([x.float() for x in _together(list(self._scalars.values()))] or [torch.empty(0)]),
                torch.cat([m.float() for m in _together(masks)] or [torch.empty(0)]),
                torch.stack([x.float().reshape(()) for x in _together(self.waiting)] or [torch.empty(0)]),
                torch.cat([x.reshape(-1) for x in _together(list(self._rows.values()))] or [torch.empty(0)]),
            ]
            flat = torch.cat(_together([g.reshape(-1) for g in groups])).cpu().numpy().astype(np.float64)
        ends = np.cumsum([g.numel() for g in groups])
        rows, bins, numbers, bits, waited, raw = np.split(flat, ends[:-1])
        self.brought, self.waiting = waited.tolist(), []
        part = Part(self.numel, scalars=dict(zip(self._scalars, numbers.tolist(), strict=True)), sharded=self.sharded)
        part.moments = dict(zip(self._moments, rows.reshape(-1, len(FIELDS)), strict=True))
        part.bins = dict(zip(self._elements, bins.reshape(-1, BINS + 2), strict=True))
        at = 0
        for site, (tensors, examples) in self._masks.items():
            pieces = []
            for t in tensors:
                pieces.append(bits[at : at + t.numel()] > 0.5)
                at += t.numel()
            part.silence[site] = Silence(pieces[0], examples, pieces[1] if len(pieces) > 1 else None)
        at = 0
        for name, values in self._rows.items():
            part.rows[name] = raw[at : at + values.numel()].reshape(values.shape)
            at += values.numel()
        return part


def _together(values: list[Tensor]) -> list[Tensor]:
    """Return the tensors on one device, that of most of them."""
    devices = [v.device for v in values if v.numel()]
    if not devices:
        return values
    home = max(set(devices), key=devices.count)
    return [v if v.device == home else v.to(home) for v in values]
