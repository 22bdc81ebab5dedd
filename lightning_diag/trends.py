"""Numbers from series, robust against outliers: slope, noise, level, descent, jumps, generalization gap.

Everything here is equivariant to the scale of the values (a loss times 1000 is the same training) and, but for
:attr:`Descent.relative`, to their offset (a negative loss is a loss like any other).
"""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Kind: TypeAlias = Literal["falling", "slight", "flat", "rising", "unknown"]

_MAD_TO_STD = 1.4826  # of a normal distribution
_MEDIAN_STD = 1.2533  # standard deviation of a median over that of a mean, sqrt(pi / 2)
_MOST_POINTS = 256  # more are thinned to block medians before pairs are formed


def slope(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the Theil-Sen slope, the median of the slopes between all pairs of points; NaN below 2 points.

    Up to 29 % of the points may be arbitrarily wrong. Longer series are thinned to 256 block medians.

    Source: Sen (1968), Estimates of the regression coefficient based on Kendall's tau.

    Example:
        >>> slope([0, 1, 2, 3, 4], [1.0, 3.0, 5.0, 7.0, 900.0])
        2.0
    """
    a, b = _pairs(x, y)
    if len(a) > _MOST_POINTS:
        a, b = block_medians(a, _MOST_POINTS), block_medians(b, _MOST_POINTS)
    i, j = np.triu_indices(len(a), k=1)
    apart = a[j] != a[i]
    return float(np.median((b[j] - b[i])[apart] / (a[j] - a[i])[apart])) if apart.any() else float("nan")


def block_medians(v: Floats, blocks: int) -> Floats:
    """Return the medians of so many blocks of nearly equal length, the longer ones first, shape (blocks,).

    Example:
        >>> block_medians(np.array([1.0, 2.0, 9.0, 4.0, 5.0]), 2).tolist()
        [2.0, 4.5]
    """
    size, longer = divmod(len(v), blocks)
    cut = longer * (size + 1)
    parts = v[:cut].reshape(longer, size + 1), v[cut:].reshape(-1, size)
    return np.concatenate([np.median(p, axis=1) for p in parts if p.size])


def medians(rows: Floats) -> Floats:
    """Return the median of every row without its NaN, NaN where a row has nothing else, shape (rows,).

    What ``numpy.nanmedian`` returns; that imports ``numpy.ma``, which takes as long as a whole judgement.

    Example:
        >>> medians(np.array([[3.0, 1.0, np.nan, 2.0], [np.nan] * 4])).tolist()
        [2.0, nan]
    """
    if not rows.size:
        return np.full(len(rows), np.nan)
    ascending, n = np.sort(rows, axis=1), (~np.isnan(rows)).sum(axis=1)  # NaN stands last
    i = np.arange(len(rows))
    with np.errstate(invalid="ignore"):  # both infinities
        middle = np.stack([ascending[i, np.maximum(n - 1, 0) // 2], ascending[i, n // 2]])
        return np.where(n > 0, middle.mean(axis=0), np.nan)


def noise(values: npt.ArrayLike) -> float:
    """Return the standard deviation of the point-to-point noise; NaN below 3 points.

    Median absolute second difference over sqrt 6: a trend, its curvature, a jump or a few outliers are no noise.
    """
    v = _finite(values)
    if len(v) < 3:
        return float("nan")
    return float(_MAD_TO_STD * np.median(np.abs(np.diff(v, n=2))) / np.sqrt(6))


def smooth(values: npt.ArrayLike, window: int) -> Floats:
    """Return the centered running median over ``window`` points (odd; narrower at the ends), shape as given.

    Raises:
        ValueError: the window is not an odd number of at least 1.
    """
    v = np.asarray(values, dtype=np.float64)
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window is {window}, must be an odd number >= 1")
    half, n = window // 2, len(v)
    if n <= window:
        return np.array([np.median(v[max(0, i - half) : i + half + 1]) for i in range(n)])
    inner = np.median(np.lib.stride_tricks.sliding_window_view(v, window), axis=1)
    head = [np.median(v[: i + half + 1]) for i in range(half)]
    tail = [np.median(v[i - half :]) for i in range(n - half, n)]
    return np.concatenate([head, inner, tail])


def is_plateau(values: npt.ArrayLike) -> bool:
    """Tell whether the second half of a series shows no fall beyond its noise; False below 8 points."""
    v = _finite(values)
    if len(v) < 8:
        return False
    half = v[len(v) // 2 :]
    return descent(half, min_points=4).kind not in ("falling", "slight")


def concordance(values: npt.ArrayLike) -> float:
    """Return Kendall's tau of a series with time: 1 if it always rises, -1 if it always falls; 0 below 2 points.

    Example:
        >>> concordance([1, 2, 3, 4]), concordance([3, 3, 3])
        (1.0, 0.0)
    """
    v = _finite(values)
    if len(v) > _MOST_POINTS:
        v = block_medians(v, _MOST_POINTS)
    i, j = np.triu_indices(len(v), k=1)
    return float(np.mean(np.sign(v[j] - v[i]))) if len(i) else 0.0


def falls(values: npt.ArrayLike, *, z: float = 3.0) -> bool:
    """Tell whether a series as a whole goes down: Kendall's tau lies ``z`` standard errors below 0.

    Example:
        >>> falls(range(20, 0, -1)), falls([1, 2] * 10)
        (True, False)
    """
    n = min(len(_finite(values)), _MOST_POINTS)
    return n >= 5 and concordance(values) < -z * float(np.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))))


@dataclass(frozen=True)
class Descent:
    """How a series went from its beginning to its end.

    Attributes:
        kind: "falling" beyond doubt and by an amount that matters, "slight" (beyond doubt, but by less than half
            the noise of one point and less than 5 % of the level), "flat", "rising" or "unknown" (too few points).
        begin: level of the first points.
        end: level of the last points.
        noise: standard deviation of a single point.
        detectable: smallest fall that would have been told from noise.
        n: number of finite points.
    """

    kind: Kind
    begin: float
    end: float
    noise: float
    detectable: float
    n: int

    @property
    def relative(self) -> float:
        """The fall as a share of the level at the beginning (negative for a rise; 0 where the level is 0)."""
        return (self.begin - self.end) / abs(self.begin) if self.begin else 0.0

    @property
    def in_noise(self) -> float:
        """The fall in standard deviations of a point."""
        fall = self.begin - self.end
        return fall / self.noise if self.noise > 0 else float(np.sign(fall) * np.inf) if fall else 0.0


def descent(values: npt.ArrayLike, *, min_points: int = 12, z: float = 4.0) -> Descent:
    """Return how far a series fell from its beginning to its end, in relation to its noise.

    The last fifth is compared with beginnings of several lengths, because a loss may fall within its first few
    steps and then stay: any of them suffices for a fall. A rise must show against all of them.

    Args:
        values: the series; non-finite points are left out.
        min_points: below it the kind is "unknown".
        z: standard errors between noise and a change.
    """
    v = _finite(values)
    n = len(v)
    if n < max(3, min_points):
        return Descent("unknown", *(float(np.median(v)) if n else np.nan,) * 2, np.nan, np.inf, n)
    sigma = max(noise(v), 1e-9 * float(np.median(np.abs(v))))
    last = max(3, n // 5)
    end = float(np.median(v[-last:]))
    lengths = sorted({k for k in (3, 8, 20, 50, n // 10, n // 4) if 3 <= k <= n // 2})
    begins = np.array([np.median(v[:k]) for k in lengths])
    error = sigma * _MEDIAN_STD * np.sqrt(1 / np.array(lengths) + 1 / last)
    falls = (begins - end) / np.maximum(error, 1e-300)
    best = int(np.argmax(falls))
    begin, detectable = float(begins[best]), float(z * error[-1])
    fall = begin - end
    if falls[best] > z:
        matters = fall > 0.5 * sigma and (fall > 0.5 * abs(begin) or fall > 3 * sigma or fall > 0.05 * abs(begin))
        return Descent("falling" if matters else "slight", begin, end, sigma, detectable, n)
    rising = bool((falls < -z).all()) and end - begin > 3 * max(sigma, _spread(v[-last:]))
    return Descent("rising" if rising else "flat", begin, end, sigma, detectable, n)


def jumps(values: npt.ArrayLike, *, decades: float, warm_points: int) -> npt.NDArray[np.bool_]:
    """Return which points of a positive series lie ``decades`` above the median of all points before, shape (n,).

    The first ``warm_points`` are none, whatever they are; a non-finite or zero point is none either.
    """
    with np.errstate(all="ignore"):
        v = np.log10(np.asarray(values, dtype=np.float64))
    found = np.zeros(len(v), dtype=bool)
    before: list[float] = []  # the finite ones so far, sorted
    for i, x in enumerate(v.tolist()):
        finite = math.isfinite(x)
        if i >= max(1, warm_points) and before and finite:
            n = len(before)
            found[i] = x - (before[(n - 1) // 2] + before[n // 2]) / 2 > decades
        if finite:
            insort(before, x)
    return found


@dataclass(frozen=True)
class Gap:
    """How validation and training parted after validation was best; a metric where lower is better.

    Attributes:
        best: index of the validation point where the smoothed series was best.
        rise: how much worse the last points are than the best ones; negative if better.
        train_fall: how much the training metric improved since then.
        noise: standard deviation of one validation point.
        train_noise: standard deviation of one training point (medians between validation runs).
        worse_share: share of the points after the best that are worse than it by more than the noise.
        improvement: how much validation had improved until its best.
        train_improvement: how much training improved over the whole series.
        level: last level of (training, validation).
    """

    best: int
    rise: float
    train_fall: float
    noise: float
    train_noise: float
    worse_share: float
    improvement: float
    train_improvement: float
    level: tuple[float, float]


def gap(train: npt.ArrayLike, validate: npt.ArrayLike) -> Gap:
    """Return how two paired series of equal length parted.

    Only trends enter, never the absolute difference: a training loss seen through dropout, augmentation or with
    penalties added is offset from the validation loss, and the offset is no overfitting.
    """
    t, v = np.asarray(train, dtype=np.float64), np.asarray(validate, dtype=np.float64)
    if t.shape != v.shape or len(v) < 4:
        raise ValueError(f"a gap needs two series of equal length >= 4, got {len(t)} and {len(v)}")
    sv, st = smooth(v, 3), smooth(t, 3)
    best = int(np.argmin(sv))
    tail = max(2, (len(v) - best) // 3)
    end_v, end_t = float(np.median(v[-tail:])), float(np.median(t[-tail:]))
    sigma = noise(v)
    after = v[best + 1 :]
    return Gap(
        best=best,
        rise=end_v - float(sv[best]),
        train_fall=float(st[best]) - end_t,
        noise=sigma,
        train_noise=noise(t),
        worse_share=float(np.mean(after > sv[best] + sigma)) if len(after) else 0.0,
        improvement=float(v[0] - sv[best]),
        train_improvement=float(t[0]) - end_t,
        level=(end_t, end_v),
    )


def _finite(values: npt.ArrayLike) -> Floats:
    v = np.asarray(values, dtype=np.float64).ravel()
    return v[np.isfinite(v)]


def _spread(v: Floats) -> float:
    """Return the robust standard deviation of the values themselves."""
    return float(_MAD_TO_STD * np.median(np.abs(v - np.median(v))))


def _pairs(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(x, dtype=np.float64).ravel(), np.asarray(y, dtype=np.float64).ravel()
    if a.shape != b.shape:
        raise ValueError(f"x and y must have equal lengths, got {len(a)} and {len(b)}")
    good = np.isfinite(a) & np.isfinite(b)
    return a[good], b[good]
