"""Moments and extremes of a tensor in a few cheap passes, mergeable."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_diag.statistics.views import flat

_FEW = 8192
FIELDS: Final = ("mean", "std", "min", "max", "nonfinite", "nan")


def moments(x: Tensor) -> Tensor:
    """Return (mean, std, min, max, nonfinite, nan) of a plain tensor, shape (6,), float32, on its device.

    ``std`` is the population standard deviation. Mean, std and extremes are those of the finite elements, and NaN where
    there is none. ``nonfinite`` counts NaN and Inf, ``nan`` NaN alone. Accumulated in float32 or wider. On a CPU
    the rare cases (non-finite elements, overflow, cancellation) cost another pass; elsewhere nothing waits for the
    device.

    Example:
        >>> moments(torch.tensor([1.0, 3.0, float("inf")])).tolist()
        [2.0, 1.0, 1.0, 3.0, 1.0, 0.0]
    """
    v = flat(x)
    if v.device.type != "cpu":
        return _moments_masked(v)
    if v.dtype in (torch.float16, torch.bfloat16):
        v = v.float()
    n = v.numel()
    low, high, total, squares = _sums_of_few(v) if n <= _FEW else _sums(v)
    mean = total / n
    var = squares / n - mean * mean
    if not (math.isfinite(squares) and math.isfinite(total)):
        return _moments_finite(v)
    if squares < 1e-30 or var < 1e-3 * mean * mean:
        return _moments_centred(v)
    return torch.tensor([mean, max(var, 0.0) ** 0.5, low, high, 0.0, 0.0], dtype=torch.float32)


def _sums(v: Tensor) -> tuple[float, float, float, float]:
    low, high = torch.aminmax(v)
    return float(low), float(high), float(v.sum()), float(torch.dot(v, v))


def _sums_of_few(v: Tensor) -> tuple[float, float, float, float]:
    """The same by numpy, whose calls cost a third of torch's."""
    a = v.numpy()
    with np.errstate(all="ignore"):
        return float(a.min()), float(a.max()), float(a.sum()), float(np.dot(a, a))


def _moments_finite(v: Tensor) -> Tensor:
    """The same on a CPU for a vector that holds NaN, Inf or numbers whose squares overflow."""
    finite = v[torch.isfinite(v)]
    result = torch.full((6,), torch.nan, dtype=torch.float32)
    if len(finite):
        result = _moments_centred(finite)
    result[4] = len(v) - len(finite)
    result[5] = torch.isnan(v).sum()
    return result


def _moments_centred(v: Tensor) -> Tensor:
    """The same on a CPU for finite elements, centred before squaring, in float64."""
    d = v.double()
    low, high = torch.aminmax(d)
    mean = d.sum() / len(d)
    centred = d.sub_(mean) if v.dtype != torch.float64 else d - mean
    zero = mean.new_zeros(())
    return torch.stack([mean, (torch.dot(centred, centred) / len(d)).sqrt(), low, high, zero, zero]).float()


def _moments_masked(v: Tensor) -> Tensor:
    """The same without a branch on values, in the precision of ``v`` (at least float32)."""
    v = v.float() if v.dtype in (torch.float16, torch.bfloat16) else v
    finite = torch.isfinite(v)
    n = finite.sum()
    inf = torch.tensor(torch.inf, dtype=v.dtype, device=v.device)
    scale = torch.where(finite, v.abs(), torch.zeros_like(inf)).amax().clamp_min(torch.finfo(v.dtype).tiny)
    y = torch.where(finite, v / scale, torch.zeros_like(inf))
    mean = y.sum() / n
    var = torch.where(finite, (y - mean).square(), torch.zeros_like(inf)).sum() / n
    low, high = torch.where(finite, v, inf).amin(), torch.where(finite, v, -inf).amax()
    none = torch.where(n > 0, 0.0, torch.nan).to(v.dtype)
    parts = [mean * scale + none, var.sqrt() * scale, low + none, high + none]
    counts = [(v.numel() - n).to(v.dtype), torch.isnan(v).sum().to(v.dtype)]
    return torch.stack(parts + counts).float()


def merge(parts: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Merge moments of disjoint parts into those of their union (Chan et al. 1983).

    Args:
        parts: shape (parts, sites, 6), rows of :func:`moments`.
        counts: elements of each part, shape (parts, sites); 0 where a part lacks the site.

    Returns:
        Shape (sites, 6), NaN where no part has finite elements.
    """
    with np.errstate(all="ignore"):
        finite = np.where(counts > 0, counts - np.nan_to_num(parts[..., 4]), 0.0)
        weight = np.where(finite > 0, finite, 0.0)
        n = weight.sum(0)
        use = weight > 0
        mean = np.where(use, parts[..., 0] * weight, 0.0).sum(0) / n
        inner = np.where(use, np.square(parts[..., 1]) * weight, 0.0).sum(0)
        between = np.where(use, weight * np.square(parts[..., 0] - mean), 0.0).sum(0)
        low = np.where(use, parts[..., 2], np.inf).min(0)
        high = np.where(use, parts[..., 3], -np.inf).max(0)
        seen = counts.sum(0) > 0
        bad = [np.where(seen, np.where(counts > 0, parts[..., k], 0.0).sum(0), np.nan) for k in (4, 5)]
        some = np.where(n > 0, 0.0, np.nan)
        return np.stack([mean, np.sqrt((inner + between) / n), low + some, high + some, *bad], axis=-1)
