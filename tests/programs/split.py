"""The two halves of the programs: limits are set on one, what is reported is measured on the other."""

from __future__ import annotations

import hashlib
from typing import Literal

from .program import Program

Half = Literal["tuning", "reporting"]


def half(program: Program | str) -> Half:
    """Return the half that a program (or its name) belongs to; a twin goes with its sick program.

    A hash of the name decides, so that nobody chooses, and a new program never moves another one.

    Example:
        >>> half("dead-by-bias") == half("dead-by-bias-mended")
        True
    """
    name = program if isinstance(program, str) else program.name
    first = hashlib.sha256(name.removesuffix("-mended").encode()).digest()[0]
    return "tuning" if first < 128 else "reporting"
