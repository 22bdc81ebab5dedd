"""How gradients run over depth: shared by vanishing-gradients and exploding-gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lightning_diag.records import Floats, History, Ints
from lightning_diag.rules.phase import Bools, is_matrix, is_running, matrices, pick, steps_seen
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.trends import medians

LOWEST = -30.0  # decades; stands for a gradient that is exactly zero


@dataclass(frozen=True)
class Depth:
    """Gradient over weight (RMS over RMS) of the early and the late third of the weight matrices, in decades.

    ``steps`` (n,), ``early`` and ``late`` (n,), ``names`` in order of execution. A ratio is used because both
    scale alike when a layer is rescaled, so that layers of other sizes and initializations compare.
    """

    names: tuple[str, ...]
    steps: Ints
    early: Floats
    late: Floats

    def lasts(self, difference: Floats, limit: float, last_samples: int) -> bool:
        """Tell whether a difference exceeds a limit in the median and three quarters of the last samples."""
        recent = difference[-last_samples:]
        return bool(np.median(recent) > limit and np.mean(recent > limit) >= 0.75)


def gradient_depth(history: History, *, min_layers: int = 3, min_samples: int = 5) -> Depth:
    """Return the gradients over depth, the first step left out.

    Raises:
        Unmeasured: too few weight matrices, samples or steps.
    """
    if not history.layers:
        raise Unmeasured("the order of the layers is not known")
    steps = history.table("gradient/rms").steps
    steps = steps[steps > 0]
    enough = 100 if is_running(history) else 20
    if len(steps) < min_samples or steps_seen(history) < enough:
        raise Unmeasured(f"{len(steps)} samples of {steps_seen(history)} steps; {min_samples} of {enough} are needed")
    names, ratio = log_ratio(history, "gradient/rms", steps)
    if len(names) < min_layers:
        raise Unmeasured(f"{len(names)} weight matrices with gradients; depth is judged from {min_layers} on")
    third = max(1, len(names) // 3)
    return Depth(names, steps, *(medians(r) for r in (ratio[:, :third], ratio[:, -third:])))


def log_ratio(history: History, statistic: str, steps: Ints) -> tuple[tuple[str, ...], Floats]:
    """Return (names, decades of statistic over parameter RMS) of the matrices measured at every given step."""
    names = matrices(history)
    top, weight = (pick(history, s, names, steps) for s in (statistic, "parameter/rms"))
    with np.errstate(all="ignore"):
        ratio = np.log10(top / weight)
    ratio = np.where((top == 0) & (weight > 0), LOWEST, ratio)
    good: Bools = np.atleast_1d(np.isfinite(ratio).all(axis=0))
    return tuple(n for n, g in zip(names, good, strict=True) if g), ratio[:, good]


def signal_depth(history: History) -> tuple[tuple[str, ...], Ints, Floats, Floats]:
    """Return (sites with a weight matrix, steps, forward, backward), the latter two in decades from first to last.

    Forward is the standard deviation of the outputs, of hidden layers only, because the output soon shows its bias
    alone; backward is the RMS of the gradient with respect to the outputs. 0 where fewer than 3 sites are known.
    """
    sites = tuple(x.site for x in history.layers if any(is_matrix(x, p) for p in x.parameters))
    hidden = tuple(x.site for x in history.layers if x.role == "hidden" and x.site in set(sites))
    steps = history.table("activation_gradient/rms").steps
    forward = _decades(pick(history, "activation/std", hidden, steps))
    return sites, steps, forward, _decades(pick(history, "activation_gradient/rms", sites, steps))


def start_growth(history: History, step: int) -> tuple[str, float]:
    """Return (the last hidden site with weights, its standard deviation at a step over the largest of the batch).

    Growth is NaN where the batch holds no numbers but indices, or where either was not measured.
    """
    sites = tuple(x.site for x in history.layers if x.role == "hidden" and any(is_matrix(x, p) for p in x.parameters))
    batch = history.run.get("batch") or {}
    inputs = tuple(str(k) for k, v in batch.items() if isinstance(v, dict) and "float" in str(v.get("dtype")))
    at = np.array([step], dtype=np.int64)
    came, went = pick(history, "batch/std", inputs, at)[0], pick(history, "activation/std", sites[-1:], at)[0]
    came = came[np.isfinite(came) & (came > 0)]
    return (sites[-1], float(went[0] / came.max())) if len(came) and len(went) else ("", float("nan"))


class OverTime(NamedTuple):
    """How a recurrent layer feels its early inputs against its late ones, in decades, and over which samples."""

    site: str
    decades: float
    first: int
    last: int


def over_time(history: History, *, min_travel: float = 0.2) -> list[OverTime]:
    """Return the recurrent layers, and the cells called in a loop, whose weights were really trained.

    That is, whose steps add up to ``min_travel`` of the weights: a layer that hardly moves fails for another reason.
    """
    table = history.table("activation/gradient_over_time")
    parameters = {x.site: x.parameters for x in history.layers}
    found = []
    for j, site in enumerate(table.sites):
        there = np.isfinite(table.matrix[:, j])
        names = tuple(p for p in parameters.get(site, ()) if "weight" in p.rsplit(".", 1)[-1])
        ratio = pick(history, "update/ratio", names, history.steps)
        travel = float(np.nanmedian(ratio)) * steps_seen(history) if np.isfinite(ratio).any() else 0.0
        if there.sum() >= 2 and travel >= min_travel:
            steps = table.steps[there]
            found.append(OverTime(site, float(np.median(table.matrix[there, j])), int(steps[0]), int(steps[-1])))
    return found


def _decades(matrix: Floats) -> Floats:
    """Return how many decades the last measured site lies above the first, shape (samples,), 0 if unknown."""
    matrix = matrix[:, np.isfinite(matrix).any(axis=0)]
    if matrix.shape[1] < 3:
        return np.zeros(len(matrix))
    with np.errstate(all="ignore"):
        logs = np.maximum(np.log10(matrix), LOWEST)
    return np.asarray(np.nan_to_num(logs[:, -1] - logs[:, 0], nan=0.0), dtype=np.float64)
