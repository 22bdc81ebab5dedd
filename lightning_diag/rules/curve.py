"""The course of a loss over a whole run: how it swings, how fast it still falls, how good it got."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lightning_diag.records import Floats, History
from lightning_diag.rules.metrics import direction, signed, words
from lightning_diag.rules.trivial import trivial_loss
from lightning_diag.trends import block_medians, noise, smooth


class Curve(NamedTuple):
    """A loss as means over ``blocks`` equal parts of the run, and the standard error of such a mean."""

    level: Floats
    error: float


def finite_loss(history: History) -> Floats:
    """Return the finite values of the training loss."""
    values = history.series("loss").values
    return np.asarray(values[np.isfinite(values)])


def blocks(values: Floats, n: int = 16) -> Curve:
    """Return medians over ``n`` equal parts (fewer for short series) and the standard error of one."""
    n = max(1, min(n, len(values) // 4))
    parts = np.array_split(values, n)
    level = np.array([np.median(p) for p in parts])
    return Curve(level, 1.2533 * noise(values) / float(np.sqrt(max(1, len(values) // n))))


def crosses_zero(values: Floats) -> bool:
    """Tell whether a loss is positive and negative at times, so that its level says nothing."""
    return bool(len(values)) and min(float((values > 0).mean()), float((values < 0).mean())) > 0.02


def several_optimizers(history: History) -> bool:
    """Tell whether losses are those of opponents or parts, which need not fall."""
    return len(history.run.get("optimizers") or ()) > 1


def pace(values: Floats) -> float:
    """Return the pace of a fall at its end against its average pace: 1 for a line, about 0 where it has come to rest.

    The slope over the last third against that from the first to the last block. NaN where it does not fall.
    """
    curve = blocks(values, 12)
    level = curve.level
    if len(level) < 4:
        return float("nan")
    whole = (level[0] - level[-1]) / (len(level) - 1)
    if whole * (len(level) - 1) <= 4 * curve.error:
        return float("nan")
    third = max(2, len(level) // 3)
    late = level[-third - 1 :]
    x = np.arange(len(late)) - (len(late) - 1) / 2
    slope = -float((x * late).sum() / (x * x).sum())
    error = curve.error / float(np.sqrt((x * x).sum()))
    return max(0.0, slope - 2 * error) / float(whole)


def unexplained(history: History) -> float:
    """Return the training loss at the end as a share of that of the best constant prediction, NaN if unknown."""
    trivial, values = trivial_loss(history), finite_loss(history)
    if not np.isfinite(trivial) or trivial <= 0 or not len(values):
        return float("nan")
    return float(np.median(values[-max(5, len(values) // 10) :]) / trivial)


def validation_loss(history: History) -> tuple[str, Floats, Floats]:
    """Return (name, steps, values) of the logged validation loss with the most points; ("", ...) without one."""
    names = [
        n for n in history.series_names("validate") if "loss" in words(n) or (words(n) and words(n)[-1] in _LOSSES)
    ]
    if not names:
        return "", np.zeros(0), np.zeros(0)
    name = max(names, key=lambda n: len(history.series(n, "validate")))
    series = history.series(name, "validate")
    good = np.isfinite(series.values)
    return name, series.steps[good].astype(np.float64), signed(history, name, series)[good]


_PARTS = 8  # of a run, each with a noise of its own
_MOST = 2000  # points that are enough to see swings
_LOSSES = ("mse", "mae", "rmse", "nll", "ce", "bce", "crossentropy")


def best_scores(history: History) -> list[tuple[str, Floats]]:
    """Return (name, values) of logged validation scores that are better when higher."""
    names = [n for n in history.series_names("validate") if direction(history, n) == "higher"]
    return [(n, history.series(n, "validate").values) for n in names]


def swings(values: Floats) -> int:
    """Return how often a smoothed loss gave back half of what it had gained until then, by more than its noise then."""
    if len(values) < 40:
        return 0
    if len(values) > _MOST:
        values = block_medians(values, _MOST)
    window = max(3, len(values) // 40) | 1
    s = smooth(values, window)
    start = float(np.median(values[:3]))
    parts = np.array_split(values, _PARTS)  # noise mostly falls with the loss
    noisy = np.concatenate([np.full(len(p), max(noise(p), noise(values))) for p in parts])
    errors = 1.2533 * noisy / float(np.sqrt(window))
    count, low, up = 0, float("inf"), False
    for x, error in zip(s, errors[len(errors) - len(s) :], strict=True):
        if not up:
            low = min(low, float(x))
            gain = start - low
            if gain > 8 * error and x > low + 0.5 * gain:
                count, up = count + 1, True
        elif x < low + 0.25 * (start - low):
            up = False
    return count
