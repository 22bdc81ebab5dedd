"""What a predictor that ignores its input would lose: the level at which a loss says that nothing was learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lightning_diag.records import History
from lightning_diag.rules.metrics import direction, words
from lightning_diag.trends import descent, is_plateau, noise


def trivial_loss(history: History) -> float:
    """Return the loss of the best constant that is known from the outside, NaN where there is none.

    Cross entropy: log of the number of classes, that of equal probabilities, with any label smoothing. Binary cross
    entropy: the entropy of the mean target. Squared error: the variance of the targets (the mean
    of theirs where a sample has several). Only for a single call of
    an unweighted mean: of a sum of several terms nobody knows which is which.
    """
    calls: list[dict[str, Any]] = list(history.run.get("losses") or ())
    if len(calls) != 1 or calls[0].get("reduction") != "mean" or calls[0].get("weighted"):
        return float("nan")
    call, kind = calls[0], str(calls[0].get("loss", ""))
    shape: list[int] = list(call.get("prediction_shape") or ())
    if kind in ("cross_entropy", "nll_loss"):
        classes = int(shape[1]) if len(shape) > 1 else 0
        return float(np.log(classes)) if classes > 1 and "int" in str(call.get("target_dtype")) else float("nan")
    mean, square = (_average(history, f"target/{s}", str(call.get("site")), power=p) for s, p in _MOMENTS)
    if kind == "mse_loss":
        return _of_features(history, call) or square - mean**2
    if kind in ("binary_cross_entropy", "binary_cross_entropy_with_logits") and 0 < mean < 1:
        return float(-mean * np.log(mean) - (1 - mean) * np.log(1 - mean))
    return float("nan")


def _of_features(history: History, call: Mapping[str, Any]) -> float:
    """Return the mean variance of several targets, each of which a constant can know the mean of; 0.0 if unknown."""
    facts = ((history.run.get("data") or {}).get("train") or {}).get(str(call.get("target") or "")) or {}
    deviations = np.array(facts.get("std") or (), dtype=np.float64)
    whole = len(deviations) > 1 and len(deviations) == math.prod((call.get("target_shape") or (0,))[1:])
    return float(np.mean(deviations**2)) if whole else 0.0


_MOMENTS = (("mean", 1), ("rms", 2))


def _average(history: History, statistic: str, site: str, *, power: int) -> float:
    table = history.table(statistic)
    values = table.matrix[:, table.sites.index(site)] if site in table.sites else np.zeros(0)
    values = values[np.isfinite(values)]
    return float(np.mean(values**power)) if len(values) else float("nan")


def is_stuck_at(history: History, trivial: float, *, tolerance: float = 0.02, min_losses: int = 100) -> bool:
    """Tell whether the loss stays for the second half of the run where a predictor that ignores its input is.

    It must be known to ``tolerance`` of that level, and validation must not have come below either.
    """
    values = history.series("loss").values
    values = values[np.isfinite(values)]
    if not trivial > 0 or len(values) < min_losses or not is_plateau(values):
        return False
    half = values[len(values) // 2 :]
    level, error = float(np.median(half)), 1.2533 * noise(half) / float(np.sqrt(len(half)))
    near = 3 * error < tolerance * trivial and -3 * error < level - trivial < tolerance * trivial
    return bool(near and descent(half).kind in ("flat", "rising") and not _validates_below(history, trivial, tolerance))


def _validates_below(history: History, trivial: float, tolerance: float) -> bool:
    for name in history.series_names("validate"):
        if "loss" in words(name) and direction(history, name) == "lower":
            v = history.series(name, "validate").values
            if len(v) and np.nanmedian(v[-3:]) < (1 - tolerance) * trivial:
                return True
    return False


def validates_loss(history: History) -> bool:
    """Tell whether a validation loss is logged."""
    return any("loss" in words(name) for name in history.series_names("validate"))
