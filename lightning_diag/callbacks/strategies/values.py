"""What callbacks ask of the values they are given and of the length of a run."""

from __future__ import annotations

import difflib
import hashlib
import math
from typing import Any

import torch


def natural(name: str, value: Any, *, least: int = 1) -> int:
    """Return an integer; refuse anything else, and what is below ``least``.

    Raises:
        TypeError: it is no integer.
        ValueError: it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more, got {value}")
    return value


def number(name: str, value: Any, *, least: float = 0.0) -> float:
    """Return a finite number of at least ``least``.

    Raises:
        TypeError: it is no number.
        ValueError: it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value) or value < least:
        raise ValueError(f"{name} must be a finite number of {least:g} or more, got {value}")
    return float(value)


def fraction(name: str, value: Any, *, below_one: bool = False, above_zero: bool = False) -> float:
    """Return a number in [0, 1], or without its ends.

    Raises:
        TypeError: it is no number.
        ValueError: it is out of range.
    """
    inside = number(name, value)
    if inside > 1 or (below_one and inside == 1) or (above_zero and inside == 0):
        allowed = f"{'(' if above_zero else '['}0, 1{')' if below_one else ']'}"
        raise ValueError(f"{name} must be in {allowed}, got {value}")
    return inside


def planned_steps(trainer: Any, otherwise: str) -> int:
    """Return the number of optimizer steps of the whole run.

    Args:
        trainer: the Trainer, training.
        otherwise: what to give instead where the length of the run is unknown, for the message.

    Raises:
        ValueError: the length is unknown, because neither epochs nor steps are limited or a loader has no length.
    """
    steps = trainer.estimated_stepping_batches
    if not math.isfinite(steps) or steps < 1:
        raise ValueError(
            "the number of optimizer steps of this run is unknown (no max_epochs, or a loader without a length): "
            f"give the Trainer max_steps, or {otherwise}"
        )
    return int(steps)


def seed_of_step(trainer: Any, batch_idx: int) -> int:
    """Return a seed that depends on the run's seed, the optimizer step, the batch and the rank only."""
    parts = (torch.initial_seed(), trainer.global_step, batch_idx, trainer.global_rank)
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "little")


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """Return a value that is one of those allowed.

    Raises:
        ValueError: it is none of them.
    """
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, 1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{meant}")
    return value
