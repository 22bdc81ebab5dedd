"""How well a run fits in the end, and which parameters its optimizers hold: for rules about wiring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from lightning_diag.records import Floats, History, Ints
from lightning_diag.rules.metrics import already_good, direction, words
from lightning_diag.rules.phase import loss_breaks, pick
from lightning_diag.rules.seen import wiring
from lightning_diag.rules.trivial import trivial_loss

Fitness: TypeAlias = Literal["good", "poor", "unknown"]

_GOOD, _POOR, _POOR_SCORE = 0.1, 0.3, 0.75
_SCORES = {"acc", "accuracy", "top1", "f1", "auc", "auroc", "r2"}


def fitness(history: History) -> Fitness:
    """Return "good" or "poor" where the end of a run says so.

    Good: a score of 0.9 or more, or a loss below a tenth of what a predictor that ignores its input has. Poor: a loss
    that is no number, more than 0.3 of that, or a score below 0.75. Else nobody knows.
    """
    if loss_breaks(history):
        return "poor"
    if already_good(history):
        return "good"
    trivial, values = trivial_loss(history), history.series("loss").values
    values = values[np.isfinite(values)]
    if trivial > 0 and len(values) >= 10:
        share = float(np.median(values[-max(5, len(values) // 10) :])) / trivial
        if share <= _GOOD:
            return "good"
        if share > _POOR:
            return "poor"
    for name in history.series_names("validate"):
        if direction(history, name) == "higher" and _SCORES & set(words(name)):
            v = history.series(name, "validate").values
            if len(v) and np.nanmedian(v[-3:]) < _POOR_SCORE:
                return "poor"
    return "unknown"


@dataclass(frozen=True)
class Held:
    """A trainable parameter that an optimizer holds: its module, number of elements, and the samples of a gradient.

    ``absent`` and ``zero`` tell at which of ``steps`` it had no gradient, and one of exact zeros.
    """

    name: str
    module: str
    shape: tuple[int, ...]
    steps: Ints
    absent: Floats
    zero: Floats

    @property
    def elements(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape)) if self.shape else 1

    @property
    def starved(self) -> bool:
        """Whether no gradient but absent ones and zeros ever came."""
        return bool(((self.absent > 0) | (self.zero > 0)).all())


def shapes(history: History) -> dict[str, tuple[tuple[int, ...], bool, int]]:
    """Return parameter -> (shape, trainable, number of its optimizer or -1)."""
    known = wiring(history).get("parameters") or {}
    return {n: (tuple(int(k) for k in s or ()), bool(t), int(o)) for n, (s, t, o) in known.items()}


def module_of(parameter: str) -> str:
    """Return the module that owns a parameter, "" for the root."""
    return parameter.rpartition(".")[0]


def held(history: History) -> list[Held]:
    """Return the trainable parameters that an optimizer has and that were seen when it stepped."""
    known = shapes(history)
    names = tuple(n for n, (_, trainable, owner) in known.items() if trainable and owner >= 0)
    steps = history.table("parameter/rms").steps
    value, low, high, bad = (
        pick(history, s, names, steps) for s in ("parameter/rms", "gradient/min", "gradient/max", "gradient/nonfinite")
    )
    found = []
    for j, name in enumerate(names):
        seen = np.isfinite(value[:, j])
        if not seen.any():
            continue
        gone = ~np.isfinite(bad[seen, j])
        zero = (low[seen, j] == 0) & (high[seen, j] == 0) & (bad[seen, j] == 0)
        found.append(
            Held(name, module_of(name), known[name][0], steps[seen], gone.astype(np.float64), zero.astype(np.float64))
        )
    return found


def execution_place(history: History) -> dict[str, int]:
    """Return parameter -> place in the order of execution of the layer that first uses it; unused ones are left out."""
    place: dict[str, int] = {}
    for i, layer in enumerate(history.layers):
        for name in layer.parameters:
            place.setdefault(name, i)
    return place


def column(history: History, statistic: str, site: str) -> tuple[Ints, Floats]:
    """Return (steps, values) of one site, those that are absent left out; empty if it is not known."""
    table = history.table(statistic)
    if site not in table.sites:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    values = table.matrix[:, table.sites.index(site)]
    there = np.isfinite(values)
    return table.steps[there], values[there]
