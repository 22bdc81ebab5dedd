"""What a rule is, and how it says that it could not judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

import numpy as np

from lightning_diag.findings import Finding, Severity
from lightning_diag.records import History

HEADINGS = ("What it finds", "Why it matters", "When it is silent", "What to do", "Source")


class Unmeasured(Exception):  # noqa: N818 - an outcome, not an error
    """Raised by a rule that saw too little; the message says what is missing and how to get it measured."""


class Rule(Protocol):
    """A judgement of a history: fields are its parameters, ``check`` yields what it found.

    Attributes:
        code: letter and three digits; the letter says where the fault shows (A activations, G gradients,
            W weights, L loss, V validation).
        name: the fault, in kebab case.
        severity: the worst severity it can give.
        needs: statistics or per-step series without which it is unmeasured.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    severity: ClassVar[Severity]
    needs: ClassVar[tuple[str, ...]]

    def check(self, history: History) -> Iterator[Finding]:
        """Yield what is wrong; raise :class:`Unmeasured` where it cannot be told."""
        ...


def check_range(rule: Rule, name: str, low: float, high: float) -> None:
    """Refuse a parameter of a rule outside of its range.

    Raises:
        ValueError: the parameter is not within [low, high].
    """
    value: Any = getattr(rule, name)
    if not low <= value <= high:
        raise ValueError(f"{rule.name}: {name} is {value!r}, must be between {low} and {high}")


def percent(fraction: float) -> str:
    """Return a fraction as readers write it, "97 %" or "0.07 %"; never 100 % or 0 % unless it is exactly that.

    Example:
        >>> percent(0.973), percent(0.0007), percent(0.9999), percent(1.0), percent(0.0)
        ('97 %', '0.07 %', '99.9 %', '100 %', '0 %')
    """
    x = 100 * float(fraction)
    if not np.isfinite(x) or x in (0.0, 100.0):
        return f"{x:.0f} %"
    if 99 < x < 100:
        return f"{np.floor(10 * x) / 10:.1f} %"
    return f"{x:.0f} %" if x >= 1 else f"{x:.2g} %"


def between(first: int, last: int) -> str:
    """Return "at step 3" or "in steps 3 to 9"."""
    return f"at step {first}" if first == last else f"in steps {first} to {last}"
