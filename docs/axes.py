"""Where a value stands on an axis of a picture, and which values are written beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_DECADES = 2.0  # from here on a logarithmic axis says more
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """Maps values to places.

    Attributes:
        low: value at ``start``.
        high: value at ``end``.
        start: where the axis begins, in pixels.
        end: where it ends.
        log: logarithmic; values of 0 stand at ``start`` then.
        zero: whether there are such values.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    zero: bool = False

    @classmethod
    def over(cls, values: Floats, start: float, end: float, *, log: bool = False, tight: bool = False) -> Axis:
        """Return an axis that holds all values.

        Args:
            values: finite ones; none at all gives an axis from 0 to 1.
            start: place of the lowest.
            end: place of the highest.
            log: make it logarithmic where no value is negative and the positive ones span two decades or more.
            tight: from the lowest value to the highest, without a margin.
        """
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        positive = values[values > 0]
        if log and low >= 0 and len(positive) and high / float(positive.min()) >= 10**_DECADES:
            least = max(-300, math.floor(math.log10(float(positive.min())))) - (low == 0)
            return cls(10.0**least, 10.0 ** math.ceil(math.log10(high)), start, end, True, low == 0)
        if tight:
            return cls(low, high if high > low else low + 1, start, end)
        if 0 < low < 0.4 * high:
            low = 0.0
        margin = 0.06 * (high / 2 - low / 2) * 2 or 0.1 * abs(high) or 0.5
        return cls(low - margin * (low != 0 or high == 0), high + margin, start, end)

    def place(self, value: float) -> float:
        """Return where a value stands, in pixels."""
        return float(self.places(np.array([value]))[0])

    def places(self, values: Floats) -> Floats:
        """Return where values stand, shape (n,), in pixels; NaN stays NaN."""
        if self.log:
            with np.errstate(invalid="ignore"):
                logs = np.log10(np.maximum(values, self.low))
            share = (logs - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        else:
            share = (values / 2 - self.low / 2) / (self.high / 2 - self.low / 2)  # halves: their span cannot overflow
        return np.asarray(self.start + share * (self.end - self.start))

    def ticks(self, *, whole: bool = False) -> list[float]:
        """Return about four round values within the axis, whole numbers only where asked."""
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            every = math.ceil((last - first) / 5)
            return [10.0**k for k in range(first, last + 1, every)]
        span = (self.high / 2 - self.low / 2) * 2
        power = 10.0 ** math.floor(math.log10(span / 4))
        step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= 5)
        step = max(1.0, step) if whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]

    def text(self, tick: float) -> str:
        """Return how a tick is written."""
        return "0" if self.zero and tick == self.low else tick_text(tick)


def tick_text(tick: float) -> str:
    """Return a round number as readers write it.

    Example:
        >>> tick_text(0.001), tick_text(2500.0), tick_text(1e-07), tick_text(2e6), tick_text(0.30000000000000004)
        ('0.001', '2500', '10⁻⁷', '2·10⁶', '0.3')
    """
    if tick == 0 or 1e-3 <= abs(tick) < 1e5:
        return f"{tick:.6g}".replace("-", "−")
    factor, power = f"{tick:.3e}".split("e")
    factor = f"{float(factor):g}".replace("-", "−")
    raised = "10" + str(int(power)).translate(_SUPERSCRIPTS)
    return raised if factor == "1" else f"−{raised}" if factor == "−1" else f"{factor}·{raised}"
