"""How a refused value is told."""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches


def unknown(what: str, got: object, allowed: Iterable[str]) -> ValueError:
    """Return the error for a name that is not allowed, with the nearest one that is."""
    names = list(allowed)
    near = get_close_matches(str(got).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{what} {got!r} is none of {', '.join(names)}{hint}")


def check_positive(what: str, value: object) -> None:
    """Raise if a value is no finite number above 0.

    Raises:
        TypeError: no number.
        ValueError: not above 0, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be a number above 0, got {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{what} must be a finite number above 0, got {value!r}")
