"""Rates that rise and fall again, as pure functions of t = 0, 1, 2, ...; the base rate is their highest."""

from __future__ import annotations

import math


def triangular(step: float, *, half_period: float, low: float = 0.1) -> float:
    """Return the factor on a triangle between ``low`` and 1.

    Formula: low + (1 - low) max(0, 1 - |t/h - 2c + 1|), c = floor(1 + t / (2h)).

    Args:
        step: t, from 0.
        half_period: h, steps from the lowest to the highest rate, above 0.
        low: lowest factor, in [0, 1).

    Example:
        >>> [triangular(t, half_period=2, low=0.0) for t in range(6)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]

    Source: Smith 2017, Cyclical Learning Rates (arXiv:1506.01186); the lectures' "cyclic variants".
    """
    return low + (1 - low) * _height(step, half_period)


def triangular2(step: float, *, half_period: float, low: float = 0.1) -> float:
    """Return the factor on triangles whose height halves from cycle to cycle.

    Formula: as triangular, with (1 - low) / 2^(c - 1).
    Source: Smith 2017, Cyclical Learning Rates (arXiv:1506.01186).
    """
    cycle = math.floor(1 + step / (2 * half_period))
    return low + (1 - low) * _height(step, half_period) * 0.5 ** (cycle - 1)


def exp_range(step: float, *, half_period: float, low: float = 0.1, gamma: float = 0.999) -> float:
    """Return the factor on triangles whose height falls as gamma^t.

    Formula: as triangular, with (1 - low) gamma^t.
    Source: Smith 2017, Cyclical Learning Rates (arXiv:1506.01186).
    """
    return low + (1 - low) * _height(step, half_period) * float(gamma**step)


def cosine_restarts(step: float, *, period: float, growth: float = 2, final: float = 0.0) -> float:
    """Return the factor on half cosines that start again at 1, each ``growth`` times as long as the one before.

    Formula: final + (1 - final) 0.5 (1 + cos(pi t_i/T_i)), T_(i+1) = growth T_i.

    Args:
        step: t, from 0.
        period: T_0, length of the first, above 0.
        growth: at least 1.
        final: factor at the end of each, in [0, 1].

    Example:
        >>> [round(cosine_restarts(t, period=2), 2) for t in range(7)]
        [1.0, 0.5, 1.0, 0.85, 0.5, 0.15, 1.0]

    Source: Loshchilov and Hutter 2017, SGDR (arXiv:1608.03983).
    """
    if not period > 0 or not growth >= 1:
        raise ValueError(f"period must be above 0 and growth at least 1, got {period!r} and {growth!r}")
    if growth == 1:
        inside, length = step % period, period
    else:
        cycle = math.floor(math.log(step / period * (growth - 1) + 1, growth) + 1e-12)
        length = period * growth**cycle
        inside = step - period * (growth**cycle - 1) / (growth - 1)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * inside / length))


def one_cycle(
    step: float, *, total_steps: float, rise: float = 0.3, start: float = 1 / 25, final: float = 4e-6
) -> float:
    """Return the factor of one rise from ``start`` to 1 and one fall to ``final``, both half cosines.

    Formula: rises until t = rise T - 1, falls until t = T - 1 (as torch's OneCycleLR), and stays there.

    Args:
        step: t, from 0.
        total_steps: T, at least 1.
        rise: share of the steps spent rising, in (0, 1).
        start: factor at the start.
        final: factor at the end.

    Example:
        >>> [round(one_cycle(t, total_steps=10, rise=0.5, start=0.0, final=0.0), 2) for t in (0, 2, 4, 9)]
        [0.0, 0.5, 1.0, 0.0]

    Source: Smith and Topin 2018, Super-Convergence (arXiv:1708.07120).
    """
    if not total_steps >= 1:
        raise ValueError(f"total_steps must be at least 1, got {total_steps!r}")
    top, end = max(rise * total_steps - 1, 0.0), total_steps - 1
    if step < top:
        return _between(start, 1.0, step / top)
    return _between(1.0, final, min((step - top) / (end - top), 1.0) if end > top else 1.0)


def _height(step: float, half_period: float) -> float:
    """Return where on the triangle t is, 0 at its foot and 1 at its top."""
    if not half_period > 0:
        raise ValueError(f"half_period must be above 0, got {half_period!r}")
    cycle = math.floor(1 + step / (2 * half_period))
    return max(0.0, 1 - abs(step / half_period - 2 * cycle + 1))


def _between(a: float, b: float, share: float) -> float:
    """Return the point on the half cosine from ``a`` to ``b``."""
    return b + (a - b) * 0.5 * (1 + math.cos(math.pi * share))
