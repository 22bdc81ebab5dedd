"""Loss calls with what was measured of their predictions and targets; which layer made a prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from lightning_diag.records import Floats, History, Ints, Layer
from lightning_diag.rules.phase import at_steps, pick
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.seen import loss_calls

SQUARED_LIKE: Final = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
BINARY: Final = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
# Losses that are sums of terms none of which can be negative, as long as they get what they are made for.
NEVER_NEGATIVE: Final = (
    *SQUARED_LIKE, *BINARY, "cross_entropy", "nll_loss", "kl_div", "soft_margin_loss", "multilabel_soft_margin_loss",
    "multi_margin_loss", "multilabel_margin_loss", "margin_ranking_loss", "triplet_margin_loss", "ctc_loss",
)  # fmt: skip
_TOLERANCE: Final = 1e-3  # of sums of rounded numbers


@dataclass(frozen=True)
class Call:
    """One call of a loss, as it was in the first sampled step, and its statistics over all samples."""

    history: History
    facts: Mapping[str, Any]

    @property
    def site(self) -> str:
        """What statistics of its prediction and target are found under."""
        return str(self.facts.get("site", ""))

    @property
    def loss(self) -> str:
        """The function, "cross_entropy"."""
        return str(self.facts.get("loss", ""))

    @property
    def named(self) -> str:
        """The function as it is called, "F.cross_entropy"; of one written by hand that it is."""
        return f"{self.loss} (written by hand)" if self.facts.get("by_hand") else f"F.{self.loss}"

    @property
    def reduction(self) -> str:
        """``"mean"``, ``"sum"`` or ``"none"``."""
        return str(self.facts.get("reduction", "mean"))

    @property
    def made_by(self) -> str:
        """What made the prediction, "" if it is not known."""
        return str(self.facts.get("made_by") or "")

    @property
    def target(self) -> str:
        """Path of the target in the batch, "" if it was computed in the step."""
        return str(self.facts.get("target") or "")

    def shape(self, of: str) -> tuple[int, ...]:
        """Return the shape of the "prediction" or "target"; () if it is not known."""
        return tuple(int(n) for n in self.facts.get(f"{of}_shape") or ())

    @property
    def classes(self) -> int:
        """Length of the class axis, 0 without one."""
        shape = self.shape("prediction")
        return shape[1] if len(shape) > 1 else 0

    @property
    def float_target(self) -> bool:
        """Whether the target is a tensor of real numbers."""
        return "float" in str(self.facts.get("target_dtype", ""))

    @property
    def steps(self) -> Ints:
        """The sampled steps at which it was seen."""
        return seen_at(self.history, "prediction/min", self.site)[0]

    def stat(self, name: str) -> Floats:
        """Return a statistic, "prediction/max", at :attr:`steps`; NaN where it is absent."""
        return pick(self.history, name, (self.site,), self.steps)[:, 0]

    def within(self, low: float, high: float) -> bool:
        """Tell whether all predictions of all samples lay within [low, high]; False where none was seen."""
        least, most = self.stat("prediction/min"), self.stat("prediction/max")
        return bool(len(least)) and bool(np.nanmin(least) >= low - 1e-5) and bool(np.nanmax(most) <= high + 1e-5)

    @property
    def sums_to_one(self) -> bool:
        """Whether all rows of all samples are distributions over at least two classes."""
        sums = np.concatenate([self.stat("prediction/row_sum_min"), self.stat("prediction/row_sum_max")])
        sums = sums[np.isfinite(sums)]
        near = self.loss != "ctc_loss" and len(sums) >= 4 and bool((np.abs(sums - 1) < _TOLERANCE).all())
        return self.classes > 1 and near and self.within(0, 1)


def seen_at(history: History, statistic: str, site: str) -> tuple[Ints, Floats]:
    """Return (steps, values) of a statistic at a site where it is finite."""
    table = history.table(statistic)
    if site not in table.sites:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    values = table.matrix[:, table.sites.index(site)]
    known = np.isfinite(values)
    return table.steps[known], values[known]


def learned_calls(history: History, *losses: str) -> list[Call]:
    """Return the loss calls that the training loss is made of: gradients pass, and the loss is not without them.

    Args:
        history: what was measured.
        losses: only these functions; without any, all.

    Raises:
        Unmeasured: no call of a loss function, or none of these, was seen.
    """
    every = [Call(history, c) for c in loss_calls(history) if c.get("learns", True)]
    if not every:
        raise Unmeasured("no call of a loss of torch.nn or torch.nn.functional was seen in training_step")
    idle = _idle(history, every)
    found = [c for c in every if (not losses or c.loss in losses) and c.site not in idle]
    if not found:
        raise Unmeasured(f"the loss is not made of {', '.join(losses)}")
    return found


def _idle(history: History, calls: list[Call]) -> set[str]:
    """Return the sites of calls that are only logged: the loss is exactly the sum of some of the others."""
    if not 1 < len(calls) <= 4:
        return set()
    steps = history.table("loss_call/value").steps
    total = at_steps(history, "loss", steps)
    values = pick(history, "loss_call/value", tuple(c.site for c in calls), steps)
    for n in range(1, len(calls)):
        for chosen in combinations(range(len(calls)), n):
            apart = np.abs(values[:, chosen].sum(axis=1) - total) / np.maximum(np.abs(total), 1e-12)
            known = apart[np.isfinite(apart)]
            if len(known) >= 4 and bool((known < _TOLERANCE).all()):
                return {c.site for i, c in enumerate(calls) if i not in chosen}
    return set()


def differences(history: History) -> list[Mapping[str, Any]]:
    """Return the differences of prediction and batch of a loss written by hand: none where a loss is called."""
    if any(c.get("learns", True) for c in loss_calls(history)):
        return []
    return list(history.run.get("differences") or ())


def maker(history: History, kind: str) -> Layer | None:
    """Return the last layer of a kind ("softmax", "relu"), an output where one is known; None if there is none."""
    found = [x for x in history.layers if x.activation == kind]
    return next((x for x in reversed(found) if x.role == "output"), found[-1] if found else None)


def output_layer(history: History, kind: str) -> Layer | None:
    """Return the layer that made a prediction of a kind, as :func:`maker`; "linear": the last affine layer."""
    if kind != "linear":
        return maker(history, kind) if kind else None
    found = [x for x in history.layers if x.parameters and not x.activation and "norm" not in x.type.lower()]
    return next((x for x in reversed(found) if x.role == "output"), found[-1] if found else None)


def square_bounds(history: History, fact: Mapping[str, Any]) -> tuple[Ints, Floats, Floats]:
    """Return (steps, least, most) that the mean square of a difference can be, by the sizes of its two sides.

    Empty where the prediction's layer or the target is not known.
    """
    layer = output_layer(history, str(fact.get("made_by") or ""))
    steps, given = seen_at(history, "batch/rms", str(fact.get("target") or ""))
    if layer is None or not len(steps):
        return steps[:0], given[:0], given[:0]
    put_out = pick(history, "activation/rms", (layer.site,), steps)[:, 0]
    known = np.isfinite(put_out)
    a, b = put_out[known], given[known]
    return steps[known], np.square(a - b), np.square(a + b)


def twice(history: History, inner: tuple[str, ...], outer: tuple[str, ...]) -> Iterator[tuple[Layer, Layer]]:
    """Yield (inner, outer) where an activation gets what another one puts out, with nothing in between."""
    known = {x.site: x for x in history.layers}
    for layer in history.layers:
        before = known.get(layer.follows)
        if layer.activation in outer and before is not None and before.activation in inner:
            yield before, layer


def first_step(history: History) -> int:
    """Return the first sampled step, 0 if there is none."""
    return int(history.steps[0]) if len(history.steps) else 0


def last_step(history: History) -> int:
    """Return the last sampled step, 0 if there is none."""
    return int(history.steps[-1]) if len(history.steps) else 0


def beyond_limit(mean: float, std: float, low: float, least: float) -> float:
    """Return E[(low - y)^2, y < low] of a normal y; no target is below ``least``, which bounds it."""
    if not math.isfinite(low) or least >= low:
        return 0.0
    if std <= 0:
        return (low - mean) ** 2 if mean < low else 0.0
    t = (low - mean) / std
    share = 0.5 * math.erfc(-t / math.sqrt(2))
    density = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    return min(std * std * ((1 + t * t) * share + t * density), share * (low - least) ** 2)
