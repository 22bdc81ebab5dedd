"""The numbers of one sampled step: collected on the device, brought over in one transfer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_diag.statistics.histogram import BINS, bit_counts, fold
from lightning_diag.statistics.moments import FIELDS, moments
from lightning_diag.statistics.sampling import sample
from lightning_diag.statistics.views import plain

Row = npt.NDArray[np.float64]


@contextmanager
def measuring() -> Iterator[None]:
    """Run statistics without gradients and without autocast (which would sum in half precision)."""
    kinds = [k for k in ("cpu", "cuda", "xpu") if torch.is_autocast_enabled(k)]
    with torch.no_grad():
        if not kinds:
            yield
        else:
            with ExitStack() as stack:
                for kind in kinds:
                    stack.enter_context(torch.autocast(kind, enabled=False))
                yield


@dataclass(frozen=True)
class BinCounts:
    """A histogram on the fixed grid of statistics/histogram.py, with the moments TensorBoard wants beside it."""

    counts: Row
    top: int
    minimum: float
    maximum: float
    total: float
    sum: float
    sum_squares: float


@dataclass
class Fetched:
    """What one sampled step came to, on the host.

    family -> sites; statistic -> row; and by family and site the histogram and the number of elements.
    """

    sites: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, Row] = field(default_factory=dict)
    histograms: dict[str, dict[str, BinCounts]] = field(default_factory=dict)
    numel: dict[str, dict[str, int]] = field(default_factory=dict)


class Readings:
    """Collects statistics of tensors by family and site.

    Args:
        histograms: whether bin counts are taken beside the moments.
    """

    def __init__(self, *, histograms: bool = True) -> None:
        self.histograms = histograms
        self._sites: dict[str, dict[str, int]] = {}  # family -> site -> numel
        self._moments: dict[tuple[str, str], Tensor] = {}
        self._tables: dict[tuple[str, str], Tensor] = {}
        self._scalars: dict[tuple[str, str], Tensor] = {}  # (statistic, site)

    def site(self, family: str, name: str, numel: int = 0) -> None:
        """State a site, in order; its statistics are absent until added."""
        self._sites.setdefault(family, {})[name] = numel

    def tensor(self, family: str, name: str, value: Tensor, *, bins: bool = True) -> bool:
        """Take the moments and, if ``bins``, the bin counts of a tensor; False where it cannot be read."""
        x = plain(value)
        self.site(family, name, 0 if x is None else x.numel())
        if x is None:
            return False
        self._moments[family, name] = moments(x)
        if bins:
            self._tables[family, name] = bit_counts(sample(x))
        return True

    def scalar(self, statistic: str, name: str, value: Tensor) -> None:
        """Add one number, a zero-dimensional tensor, to a site stated before."""
        self._scalars[statistic, name] = value

    def fetch(self) -> Fetched:
        """Bring everything to the host in one transfer."""
        with measuring():
            tables = list(self._tables.values())
            parts = [torch.stack(_together(list(self._moments.values()))).view(-1)] if self._moments else []
            parts += [fold(torch.stack(_together(tables))).view(-1)] if tables else []
            parts += (
                [torch.stack([x.float() for x in _together(list(self._scalars.values()))])] if self._scalars else []
            )
            flat = torch.cat(_together(parts)).cpu().numpy().astype(np.float64) if parts else np.empty(0)
        a, b = len(self._moments) * len(FIELDS), len(tables) * (BINS + 2)
        return self._arrange(flat[:a].reshape(-1, len(FIELDS)), flat[a : a + b].reshape(-1, BINS + 2), flat[a + b :])

    def _arrange(self, rows: Row, bins: Row, numbers: Row) -> Fetched:
        out = Fetched(sites={family: list(sites) for family, sites in self._sites.items()}, numel=self._sites)
        where = {f: {s: i for i, s in enumerate(sites)} for f, sites in self._sites.items()}
        for family, sites in self._sites.items():
            table = np.full((len(sites), len(FIELDS)), np.nan)
            picked = [(where[f][s], i) for i, (f, s) in enumerate(self._moments) if f == family]
            if picked:
                to, source = np.array(picked).T
                table[to] = rows[source]
                out.values |= {f"{family}/{name}": table[:, k] for k, name in enumerate(FIELDS)}
                out.values[f"{family}/rms"] = np.hypot(table[:, 0], table[:, 1])
        for i, (family, site) in enumerate(self._tables):
            zeros = out.values.setdefault(f"{family}/zero_fraction", np.full(len(where[family]), np.nan))
            zeros[where[family][site]] = bins[i, 0]
            if self.histograms:
                out.histograms.setdefault(family, {})[site] = self._bins(out, family, site, bins[i])
        for (statistic, site), number in zip(self._scalars, numbers, strict=True):
            family = statistic.split("/", 1)[0]
            row = out.values.setdefault(statistic, np.full(len(where[family]), np.nan))
            row[where[family][site]] = number
        return out

    def _bins(self, out: Fetched, family: str, site: str, row: Row) -> BinCounts:
        i, n = out.sites[family].index(site), float(self._sites[family][site])
        low, high, mean, rms = (float(out.values[f"{family}/{k}"][i]) for k in ("min", "max", "mean", "rms"))
        return BinCounts(row[2:], int(row[1]), low, high, n, mean * n, rms * rms * n)


def _together(values: list[Tensor]) -> list[Tensor]:
    """Return the tensors on one device, that of most of them."""
    devices = [v.device for v in values]
    if not values:
        return values
    home = max(set(devices), key=devices.count)
    return [v if v.device == home else v.to(home) for v in values]
