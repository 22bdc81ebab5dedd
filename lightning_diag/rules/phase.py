"""What the rules ask about a run as a whole: does it learn, which weights are matrices, is the scaler at work."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lightning_diag.records import Floats, History, Ints, Layer
from lightning_diag.rules.trivial import trivial_loss
from lightning_diag.trends import Descent, descent

Bools: TypeAlias = npt.NDArray[np.bool_]

# Their weights scale channels or are looked up row by row: neither is a matrix that mixes units.
_NOT_MATRICES = ("norm", "embedding", "prelu", "scale")


def loss_descent(history: History) -> Descent:
    """Return how the training loss went over the whole run."""
    return descent(history.series("loss").values)


_NOTHING = 0.98  # of the loss of a guess: above it a fall was only the unlearning of a bad start


def is_learning(history: History) -> bool:
    """Tell whether the loss clearly fell, below that of a guess where that is known, and is a number at the end."""
    descent, guess = loss_descent(history), trivial_loss(history)
    return descent.kind == "falling" and not loss_breaks(history) and not descent.end > _NOTHING * guess


def loss_breaks(history: History) -> bool:
    """Tell whether the loss ends non-finite."""
    v = history.series("loss").values
    return len(v) > 0 and not np.isfinite(v[-1])


def first_break(history: History) -> int:
    """Return the first step with a loss that is not finite; the step after the last loss if there is none."""
    loss = history.series("loss")
    bad = loss.steps[~np.isfinite(loss.values)]
    return int(bad[0]) if len(bad) else steps_seen(history)


def is_running(history: History) -> bool:
    """Tell whether the run goes on, so that a judgement can wait."""
    return str(history.run.get("status", "finished")) == "running"


def steps_seen(history: History) -> int:
    """Return the number of optimizer steps seen."""
    last = [int(s[-1]) + 1 for s in (history.steps, history.series("loss").steps) if len(s)]
    return max(last, default=0)


def is_matrix(layer: Layer, parameter: str) -> bool:
    """Tell whether a parameter is a weight matrix or kernel, by its own name and the type of its layer.

    A History holds no shapes. Biases, norm scales, embeddings and free parameters are told by name, because
    their gradients relate to their size in other ways than those of a matrix.
    """
    if any(x in layer.type.lower() for x in _NOT_MATRICES):
        return False
    name = parameter.removeprefix(layer.site.split("#")[0]).strip(".")
    last = name.rsplit(".", 1)[-1].lower()
    if "parametrizations" in name or last.endswith(("_g", "original0")):
        return last in ("original", "original1")
    return "weight" in last or last in ("w", "kernel")


def matrices(history: History) -> tuple[str, ...]:
    """Return the weight matrices in order of execution, each once."""
    names = [p for layer in history.layers for p in layer.parameters if is_matrix(layer, p)]
    return tuple(dict.fromkeys(names))


def execution_order(history: History, sites: tuple[str, ...]) -> Ints:
    """Return the indices of sites in order of execution (sites that are no known layer last, as they come)."""
    place = {layer.site: i for i, layer in enumerate(history.layers)}
    keys = np.array([place.get(s, len(place)) for s in sites], dtype=np.int64)
    return np.argsort(keys, kind="stable")


def pick(history: History, statistic: str, names: tuple[str, ...], steps: Ints) -> Floats:
    """Return a statistic at given steps (rows) and sites (columns), NaN where absent."""
    table = history.table(statistic)
    column = {s: j for j, s in enumerate(table.sites)}
    out = np.full((len(steps), len(names)), np.nan)
    i = _places(table.steps, steps)
    j = np.array([column.get(s, -1) for s in names], dtype=np.int64)
    ok_i, ok_j = i >= 0, j >= 0
    if ok_i.any() and ok_j.any():
        out[np.ix_(ok_i, ok_j)] = table.matrix[np.ix_(i[ok_i], j[ok_j])]
    return out


def _places(known: Ints, steps: Ints) -> Ints:
    """Return where steps stand among known ones (the last place of a step taken twice), -1 for unknown ones."""
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known[order], steps, side="right") - 1
    if not len(known):
        return np.full(len(steps), -1, dtype=np.int64)
    found = order[np.maximum(place, 0)]
    return np.where((place >= 0) & (known[found] == steps), found, -1)


def skips_bad_steps(history: History) -> bool:
    """Tell whether a gradient scaler skips steps with non-finite gradients and does recover from them.

    It has failed to recover when the last 5 sampled steps all have non-finite gradients, or when the scale fell
    below 1: then it no longer scales up but hides the fault.
    """
    if not history.run.get("scaler"):
        return False
    bad = history.table("gradient/nonfinite")
    if len(bad) >= 5 and (np.nan_to_num(bad.matrix[-5:]).sum(axis=1) > 0).all():
        return False
    scale = history.table("total/gradient_scale").matrix
    return not (scale.size and np.isfinite(scale[-1, 0]) and scale[-1, 0] < 1)


def at_steps(history: History, name: str, steps: Ints) -> Floats:
    """Return a per-step series at given steps, NaN where it has no point (and where it is NaN)."""
    series = history.series(name)
    out = np.full(len(steps), np.nan)
    if len(series):
        i = np.minimum(np.searchsorted(series.steps, steps), len(series) - 1)
        there = series.steps[i] == steps
        out[there] = series.values[i[there]]
    return out


def at_step(history: History, name: str, step: int) -> float:
    """Return the value of a per-step series at a step, NaN if it has none there."""
    return float(at_steps(history, name, np.array([step]))[0])


def _rates(history: History) -> tuple[Ints, Floats]:
    """Return (steps, the highest learning rate of all groups at each); empty if none was recorded."""
    names = [n for n in history.series_names("train") if n.startswith("learning_rate/")]
    if not names:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    steps = history.series(names[0]).steps
    return steps, np.nan_to_num(np.array([at_steps(history, n, steps) for n in names])).max(axis=0)


def idle_since(history: History, share: float) -> int:
    """Return the step since which the learning rate stays below a share of its highest; steps_seen if it does not."""
    known, rates = _rates(history)
    if not len(rates) or rates.max() <= 0:
        return steps_seen(history)
    high = known[rates >= share * rates.max()]
    return min(int(high[-1]) + 1, steps_seen(history))


def rate_share(history: History, steps: Ints) -> Floats:
    """Return the learning rate at given steps as a share of its highest; 1 where it is not known or always 0."""
    known, rates = _rates(history)
    if not len(rates) or rates.max() <= 0:
        return np.ones(len(steps))
    i = np.clip(np.searchsorted(known, steps, side="right") - 1, 0, len(known) - 1)
    return np.asarray(rates[i] / rates.max(), dtype=np.float64)


def rates_rise(history: History) -> bool:
    """Tell whether the learning rate is still being warmed up: highest at the end, and higher than shortly before."""
    _, rates = _rates(history)
    return len(rates) >= 4 and rates[-1] >= rates.max() and bool(rates[-1] > 1.02 * rates[int(0.8 * len(rates))])
