"""Rates that fall: factors of the base rate as pure functions of t = 0, 1, 2, ...

t counts optimizer steps, or epochs, whichever the caller counts. What has an end stays there after it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence


def constant(step: float) -> float:
    """Return 1.

    Formula: a_t = a_0.
    Source: lecture "Optimization", what to choose: "try a constant learning rate first".
    """
    return 1.0


def step_decay(step: float, *, every: int, factor: float = 0.1) -> float:
    """Return the factor after a division at fixed intervals.

    Formula: a_t = a_0 factor^floor(t / every).

    Args:
        step: t, from 0.
        every: length of an interval, at least 1.
        factor: what the rate is multiplied by; the lectures divide by 2, 5 or 10.

    Example:
        >>> [step_decay(t, every=2, factor=0.5) for t in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]

    Source: lecture "Optimization", step decay (ResNet: divide by 10).
    """
    _positive("every", every)
    return float(factor ** (step // every))


def milestones(step: float, *, milestones: Sequence[float], factor: float = 0.1) -> float:
    """Return the factor after a division at each milestone.

    Formula: a_t = a_0 factor^(number of milestones <= t).

    Args:
        step: t, from 0.
        milestones: when the rate is multiplied, increasing.
        factor: by what.

    Example:
        >>> [milestones(t, milestones=(2, 3), factor=0.5) for t in range(5)]
        [1.0, 1.0, 0.5, 0.25, 0.25]

    Source: lecture "Optimization", step decay at chosen points.
    """
    return float(factor ** bisect_right(milestones, step))


def exponential(step: float, *, gamma: float = 0.95) -> float:
    """Return gamma^t.

    Formula: a_t = a_0 gamma^t.
    Source: lecture "Optimization", exponential decay with 0.95.
    """
    return float(gamma**step)


def natural_exponential(step: float, *, k: float) -> float:
    """Return e^(-k t).

    Formula: a_t = a_0 e^(-k t).
    Source: lecture "Optimization", exponential decay with k.
    """
    return math.exp(-k * step)


def linear(step: float, *, total_steps: float, final: float = 0.0) -> float:
    """Return the factor on the straight line from 1 to ``final``.

    Formula: a_t = a_0 (1 - t/T); with a floor (1 - x) + x final, x = min(t/T, 1). It stays at its end.

    Args:
        step: t, from 0.
        total_steps: T, above 0.
        final: factor at the end, in [0, 1].

    Example:
        >>> [linear(t, total_steps=4) for t in (0, 1, 4, 9)]
        [1.0, 0.75, 0.0, 0.0]

    Source: lecture "Optimization", linear decay.
    """
    x = _share(step, total_steps)
    return (1 - x) + x * final


def linear_to_floor(step: float, *, tau: float, final: float = 0.01) -> float:
    """Return the factor on the straight line from 1 to ``final`` at ``tau``, and ``final`` from there on.

    Formula: eps_k = (1 - a) eps_0 + a eps_tau, a = min(k / tau, 1); eps_tau is 1 % of eps_0.
    Source: lecture "Training neural networks", learning rate schedule.
    """
    return linear(step, total_steps=tau, final=final)


def cosine(step: float, *, total_steps: float, final: float = 0.0) -> float:
    """Return the factor on half a cosine from 1 to ``final``.

    Formula: a_t = a_0 0.5 (1 + cos(pi t/T)). It stays at its end; torch's CosineAnnealingLR climbs again after T.

    Args:
        step: t, from 0.
        total_steps: T, above 0.
        final: factor at the end, in [0, 1].

    Example:
        >>> [round(cosine(t, total_steps=4), 3) for t in (0, 1, 2, 4, 9)]
        [1.0, 0.854, 0.5, 0.0, 0.0]

    Source: lecture "Optimization", cosine decay.
    """
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * _share(step, total_steps)))


def inverse_sqrt(step: float, *, w: float = 1) -> float:
    """Return 1 until ``w``, then the inverse square root.

    Formula: sqrt(w / max(t, w)), w >= 1; the slide's 1 / sqrt(t) is w = 1, without its pole at 0.

    Raises:
        ValueError: w below 1.

    Example:
        >>> [inverse_sqrt(t, w=4) for t in (0, 4, 16)]
        [1.0, 1.0, 0.5]

    Source: lecture "Optimization", inverse square root decay.
    """
    if not w >= 1:
        raise ValueError(f"w must be at least 1, got {w!r}")
    return math.sqrt(w / max(step, w))


def inverse_time(step: float, *, k: float) -> float:
    """Return 1 / (1 + k t).

    Formula: a_t = a_0 / (1 + k t).
    Source: lecture "Optimization", 1/t decay; the one that Robbins and Monro's conditions hold for.
    """
    return 1.0 / (1.0 + k * step)


def polynomial(step: float, *, total_steps: float, power: float = 2.0, final: float = 0.0) -> float:
    """Return a power of the share of steps that is left.

    Formula: final + (1 - final) (1 - min(t/T, 1))^power.
    Source: generalizes the lectures' linear decay; torch's PolynomialLR.
    """
    return final + (1 - final) * float((1 - _share(step, total_steps)) ** power)


def warmup_stable_decay(step: float, *, total_steps: float, decay: float = 0.1, final: float = 0.0) -> float:
    """Return 1, and a straight line to ``final`` over the last share ``decay`` of the steps.

    Formula: 1 for t < (1 - decay) T, then linear to final at T; the warmup comes before it, as before any schedule.
    Source: Hu et al. 2024, MiniCPM (arXiv:2404.06395), section 4.
    """
    start = (1 - decay) * total_steps
    return 1.0 if step < start else linear(step - start, total_steps=total_steps - start, final=final)


def _share(step: float, total_steps: float) -> float:
    """Return how much of the way is gone, in [0, 1]."""
    _positive("total_steps", total_steps)
    return min(step / total_steps, 1.0)


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0, got {value!r}")
