"""How a refused value is told: what was got, what is allowed, what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(what: str, got: object, allowed: Iterable[str]) -> ValueError:
    """Return the error for a name that is none of ``allowed``, with the nearest match."""
    names = list(allowed)
    lower = {name.lower(): name for name in reversed(names)}
    near = get_close_matches(str(got).lower(), lower, n=1, cutoff=0.5)
    hint = f"; did you mean {lower[near[0]]!r}?" if near else ""
    return ValueError(f"{what} {got!r} is none of {', '.join(names)}{hint}")
