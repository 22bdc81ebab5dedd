"""How much worse validation is than training at the end, by what both measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightning_diag.records import History
from lightning_diag.rules.metrics import aligned, direction, pairs, words
from lightning_diag.trends import noise


@dataclass(frozen=True)
class Deficit:
    """One metric in training and in validation, medians of the last validation runs; the spread of the latter."""

    name: str
    train: float
    validate: float
    spread: float
    step: int


def deficit(history: History, *, factor: float = 1.5, points: float = 0.1, last: int = 4) -> Deficit | None:
    """Return the metric in which validation is far worse than training, None where it is not or nobody knows.

    Far worse is a loss (or another metric where lower is better, and that is not negative) that is ``factor`` times
    as high, or a score that is ``points`` lower; by more than the noise of training.
    """
    for train, validate in pairs(history):
        steps, t, v = aligned(history.series(train), history.series(validate, "validate"))
        if not len(v):
            continue
        end_t, end_v = float(np.median(t[-last:])), float(np.median(v[-last:]))
        spread = float(noise(v)) if len(v) > 2 else 0.0
        wobble = float(noise(t)) if len(t) > 2 else 0.0
        lower = direction(history, validate) == "lower"
        worse = end_v > factor * end_t >= 0 if lower else end_t - end_v > points
        if worse and abs(end_v - end_t) > 3 * wobble:
            return Deficit(validate.removeprefix("metric/"), end_t, end_v, spread, int(steps[0]))
    return None


def loss_deficit(history: History, *, factor: float = 5.0, last: int = 4) -> Deficit | None:
    """Return a validated loss that is ``factor`` times the training loss, whatever its name; None without one."""
    loss = history.series("loss")
    good = loss.values[np.isfinite(loss.values)]
    names = [n for n in history.series_names("validate") if direction(history, n) == "lower" and "loss" in words(n)]
    if len(good) < 8 or not names:
        return None
    train = float(np.median(good[-max(8, len(good) // 20) :]))
    v = history.series(names[0], "validate")
    end = float(np.nanmedian(v.values[-last:])) if np.isfinite(v.values[-last:]).any() else float("nan")
    if not end > factor * train > 0:
        return None
    return Deficit(names[0].removeprefix("metric/"), train, end, 0.0, int(v.steps[0]))


def jumping(history: History, *, share: float = 0.2) -> Deficit | None:
    """Return a loss whose validation jumps by ``share`` of its level, and training by less than half."""
    for train, validate in pairs(history):
        steps, t, v = aligned(history.series(train), history.series(validate, "validate"))
        if len(v) < 5 or direction(history, validate) != "lower":
            continue
        spread, level = float(noise(v)), float(np.median(v))
        if level > 0 and spread > share * level and float(noise(t)) < 0.5 * spread:
            name = validate.removeprefix("metric/")
            return Deficit(name, float(np.median(t[-4:])), float(np.median(v[-4:])), spread, int(steps[0]))
    return None
