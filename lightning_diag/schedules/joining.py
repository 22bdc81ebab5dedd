"""Warmup, and one schedule after another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

Factor: TypeAlias = Callable[[float], float]


def linear_warmup(step: float, *, warmup_steps: int) -> float:
    """Return the factor on the straight line to 1; the first step is above 0.

    Formula: min((t + 1) / (w + 1), 1).

    Example:
        >>> [linear_warmup(t, warmup_steps=3) for t in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]

    Source: lecture "Optimization revisited", warmup; Goyal et al. 2017 (arXiv:1706.02677).
    """
    return min((step + 1) / (warmup_steps + 1), 1.0)


def exponential_warmup(step: float, *, warmup_steps: int, start: float = 0.01) -> float:
    """Return the factor that grows by the same ratio at every step, from ``start`` to 1.

    Formula: start^(1 - min(t / w, 1)).

    Example:
        >>> [round(exponential_warmup(t, warmup_steps=2), 3) for t in range(4)]
        [0.01, 0.1, 1.0, 1.0]

    Source: lecture "Optimization revisited", warmup ("e.g. linearly").
    """
    return 1.0 if step >= warmup_steps else float(start ** (1 - step / warmup_steps))


def join(schedules: Sequence[Factor], boundaries: Sequence[int]) -> Factor:
    """Return the schedules one after another; each counts its steps from its boundary.

    Args:
        schedules: n of them.
        boundaries: n - 1 steps, increasing, at which the next one begins.

    Returns:
        A function of the step that pickles if the schedules do.

    Raises:
        ValueError: their numbers do not fit, or the boundaries do not increase.

    Example:
        >>> from functools import partial
        >>> f = join([partial(linear_warmup, warmup_steps=2), lambda t: 0.5**t], [2])
        >>> [round(f(t), 2) for t in range(5)]
        [0.33, 0.67, 1.0, 0.5, 0.25]

    Source: torch's SequentialLR.
    """
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(f"{len(schedules)} schedules need {len(schedules) - 1} boundaries, got {len(boundaries)}")
    if list(boundaries) != sorted(set(boundaries)):
        raise ValueError(f"boundaries must increase, got {list(boundaries)}")
    return partial(_joined, schedules=tuple(schedules), boundaries=tuple(boundaries))


def _joined(step: float, schedules: Sequence[Factor], boundaries: Sequence[int]) -> float:
    i = bisect_right(boundaries, step)
    return schedules[i](step - (boundaries[i - 1] if i else 0))
