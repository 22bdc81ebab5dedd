"""Intervals of numbers, and the check that a value lies in one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """The numbers that a field may hold: an interval with open or closed ends, whole numbers only if so said."""

    text: str
    whole: bool = False

    def __contains__(self, x: float) -> bool:
        low, high = (float(end) for end in self.text[1:-1].split(","))
        above = x >= low if self.text[0] == "[" else x > low
        return above and (x <= high if self.text[-1] == "]" else x < high)

    def __str__(self) -> str:
        return f"{'a whole number' if self.whole else 'a number'} in {self.text}"


POSITIVE, COUNT = Range("(0, inf)"), Range("[1, inf)", whole=True)


def check_number(what: str, value: object, allowed: Range) -> None:
    """Raise if ``value`` is no number, or not in ``allowed``.

    Raises:
        TypeError: no number (a bool or a string, say), or no whole one where one is needed.
        ValueError: not in the range; NaN is in none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be {allowed}, got {value!r}")
    if allowed.whole and not isinstance(value, int):
        raise TypeError(f"{what} must be {allowed}, got {value!r}")
    if value not in allowed:
        raise ValueError(f"{what} must be {allowed}, got {value!r}")
