"""Count, mean, spread, extremes and covariance of data that comes in batches and on several ranks."""

from __future__ import annotations

from typing import Any, Final, Literal

import torch
from torch import Tensor
from torchmetrics import Metric

Level = Literal["all", "channel", "element"]
WIDEST: Final = 4096  # features of a covariance: 128 MiB in float64
LEVELS: Final = ("all", "channel", "element")


class Moments:
    """Statistics of each feature, all of shape (features,), float64.

    A plain class: torchmetrics takes dataclasses apart and makes scalars of what has one element.

    Args:
        count: values that are not missing (NaN).
        mean: their mean; 0 where there is none.
        squares: sum of squared deviations from the mean.
        low: smallest value; inf where there is none.
        high: largest value; -inf where there is none.
        products: sum of products of deviations, shape (features, features); of no features if not asked for.
    """

    __slots__ = ("count", "high", "low", "mean", "products", "squares")

    def __init__(
        self, count: Tensor, mean: Tensor, squares: Tensor, low: Tensor, high: Tensor, products: Tensor
    ) -> None:
        self.count, self.mean, self.squares = count, mean, squares
        self.low, self.high, self.products = low, high, products

    @property
    def std(self) -> Tensor:
        """The population standard deviation, shape (features,)."""
        return (self.squares / self.count.clamp_min(1)).sqrt()

    @property
    def covariance(self) -> Tensor:
        """The population covariance, shape (features, features)."""
        return self.products / self.count[0].clamp_min(1)


def moments_of(rows: Tensor, covariance: bool = False) -> Moments:
    """Return the moments of rows of features, shape (rows, features).

    With ``covariance`` rows with a missing value are left out as a whole; without, only the value is.

    Example:
        >>> m = moments_of(torch.tensor([[1.0], [3.0], [float("nan")]]))
        >>> m.count.tolist(), m.mean.tolist(), m.std.tolist()
        ([2.0], [2.0], [1.0])
    """
    x = rows.double()
    there = ~torch.isnan(x)
    if covariance:
        x = x[there.all(1)]
        there = torch.ones_like(x, dtype=torch.bool)
    if not x.shape[0]:
        zero = x.new_zeros(x.shape[1])
        products = x.new_zeros(x.shape[1], x.shape[1]) if covariance else x.new_zeros(0, 0)
        return Moments(zero, zero, zero, zero + torch.inf, zero - torch.inf, products)
    count = there.sum(0).double()
    filled = torch.where(there, x, 0.0)
    mean = filled.sum(0) / count.clamp_min(1)
    centred = torch.where(there, filled - mean, 0.0)
    low, high = torch.where(there, x, torch.inf).amin(0), torch.where(there, x, -torch.inf).amax(0)
    products = centred.T @ centred if covariance else x.new_zeros(0, 0)
    return Moments(count, mean, centred.square().sum(0), low, high, products)


def merged(a: Moments, b: Moments) -> Moments:
    """Return the moments of the union of two disjoint parts (Chan, Golub and LeVeque 1983)."""
    count = a.count + b.count
    share = b.count / count.clamp_min(1)
    delta = b.mean - a.mean
    squares = a.squares + b.squares + delta.square() * a.count * share
    products = a.products
    if a.products.numel():
        products = a.products + b.products + torch.outer(delta, delta) * (a.count[0] * share[0])
    low, high = torch.minimum(a.low, b.low), torch.maximum(a.high, b.high)
    return Moments(count, a.mean + delta * share, squares, low, high, products)


class StreamingMoments(Metric):
    """Takes batches, holds their moments, and merges them over the ranks of a distributed run.

    Args:
        level: "all" (one feature: every number), "channel" (one for each index of an axis), "element" (one for each
            place of a sample).
        channel_axis: the axis of the channels.
        covariance: whether products of features are summed; level "element".
    """

    full_state_update = False
    count: Tensor
    mean: Tensor
    squares: Tensor
    low: Tensor
    high: Tensor
    products: Tensor

    def __init__(self, level: Level, channel_axis: int = 1, covariance: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.level, self.channel_axis, self.covariance = level, channel_axis, covariance
        self.shape: tuple[int, ...] | None = None  # of the statistics, to be broadcast against a batch
        self.missing = 0
        for name in ("count", "mean", "squares", "low", "high"):
            self.add_state(name, torch.zeros(0, dtype=torch.float64), dist_reduce_fx=None)
        self.add_state("products", torch.zeros(0, 0, dtype=torch.float64), dist_reduce_fx=None)

    def update(self, batch: Tensor) -> None:
        """Add a batch, shape (samples, ...).

        Raises:
            ValueError: a batch of another shape than those before it, an infinite value, or too many features for a
                covariance.
        """
        rows, shape = self._rows(batch.detach())
        if self.shape is not None and shape != self.shape:
            raise ValueError(f"a batch with features of shape {shape} came after batches of {self.shape}")
        if self.covariance and rows.shape[1] > WIDEST:
            raise ValueError(
                f"whitening {rows.shape[1]} features needs a covariance of {rows.shape[1] ** 2 * 8 / 2**20:.0f} MiB; "
                f"at most {WIDEST} features are taken: use 'channel' or 'feature', or smaller inputs"
            )
        if bool(torch.isinf(rows).any()):
            raise ValueError(f"the data holds infinite values ({int(torch.isinf(rows).sum())} in one batch)")
        self.shape = shape
        self.missing += int(torch.isnan(rows).sum())
        new = moments_of(rows, self.covariance)
        self._hold(new if not self.count.numel() else merged(self._held(), new))

    def compute(self) -> Moments:
        """Return the moments of everything seen, on all ranks.

        Raises:
            ValueError: nothing was seen.
        """
        if not self.count.numel():
            raise ValueError("no data was seen: the loader gave no batch")
        parts = self.count.shape[0] if self.count.dim() == 2 else 0
        if not parts:
            return self._held()
        names = ("count", "mean", "squares", "low", "high", "products")
        each = [Moments(*(getattr(self, name)[i] for name in names)) for i in range(parts)]
        total = each[0]
        for part in each[1:]:
            total = merged(total, part)
        return total

    def _rows(self, batch: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        if self.level == "all" or batch.dim() < 2:
            shape = (1,) * max(batch.dim() - 1, 0) if self.level == "channel" else ()
            return batch.reshape(-1, 1), shape
        if self.level == "element":
            return batch.reshape(batch.shape[0], -1), tuple(batch.shape[1:])
        axis = self.channel_axis % batch.dim()
        shape = tuple(n if i == axis else 1 for i, n in enumerate(batch.shape))[1:]
        return batch.movedim(axis, -1).reshape(-1, batch.shape[axis]), shape

    def _held(self) -> Moments:
        return Moments(self.count, self.mean, self.squares, self.low, self.high, self.products)

    def _hold(self, m: Moments) -> None:
        self.count, self.mean, self.squares, self.low, self.high = m.count, m.mean, m.squares, m.low, m.high
        self.products = m.products
