"""Rows of tables by name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any


def row_named(name: Any, rows: tuple[Any, ...], what: str) -> Any:
    """Return the row of a table that has a name.

    Raises:
        ValueError: if there is none, with the nearest one.
    """
    if name not in [row.name for row in rows]:
        names = [row.name for row in rows]
        near = get_close_matches(str(name), names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {what} {name!r}; there are {', '.join(map(repr, names))}{hint}")
    return next(row for row in rows if row.name == name)
