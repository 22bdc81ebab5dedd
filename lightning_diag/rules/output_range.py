"""H004 output-range."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.calls import (
    BINARY,
    SQUARED_LIKE,
    Call,
    beyond_limit,
    differences,
    first_step,
    last_step,
    learned_calls,
    maker,
    seen_at,
    square_bounds,
)
from lightning_diag.rules.curve import unexplained
from lightning_diag.rules.metrics import already_good
from lightning_diag.rules.phase import at_steps
from lightning_diag.rules.rule import Unmeasured, check_range, percent
from lightning_diag.rules.seen import floats, target_of_data

_LINEAR = Prescription("Remove the {kind} behind the last layer.")
_SCALE = Prescription(
    "Or bring the targets into {low:g} to {high:g}, and scale predictions back.", {"standardize_target": "minmax"}
)
_INF: Final = float("inf")
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "relu": (0, _INF), "abs": (0, _INF), "softplus": (0, _INF), "exp": (0, _INF), "sigmoid": (0, 1),
    "hardsigmoid": (0, 1), "softmax": (0, 1), "tanh": (-1, 1), "logsigmoid": (-_INF, 0), "log_softmax": (-_INF, 0),
    "elu": (-1, _INF), "gelu": (-0.17, _INF), "silu": (-0.2785, _INF),
}  # fmt: skip
_PINNED: Final = ("clamp", "hardtanh")  # their limits are told from the extremes


class Reach(NamedTuple):
    """What outputs can be, and how much of the targets lies beyond."""

    kind: str
    low: float
    high: float
    lost: float  # share of the targets' variance that cannot be explained (inf: more than all)
    targets: tuple[float, float]


@final
@dataclass(frozen=True, kw_only=True)
class OutputRange:
    """The output activation cannot reach the targets.

    What it finds:
        The prediction comes out of a ReLU, sigmoid, tanh, softmax, softplus, clamp, ... and what of the targets of a
        squared, absolute or Huber error (or of a difference written by hand) lies beyond its range makes up more than
        ``max_lost`` of their variance (per feature, for a normal distribution with their mean and spread, cut at the
        extremes that batches show). Of bounded logits: the least loss that they allow is more than ``max_lost`` of
        that of equal probabilities. Of logits behind a ReLU: more than ``min_left`` of that loss is left at the end.

    Why it matters:
        No weights make up for a range: the output sticks to its end, where a ReLU has no gradient at all, and the
        error of these targets stays.

    When it is silent:
        All targets can be reached, but for rare ones or by a hair; the loss came below that; scaled or linear outputs.

    What to do:
        Remove the activation behind the last layer of a regression, or scale the targets into its range.

    Source:
        Bishop, Pattern Recognition and Machine Learning (2006), 5.2, output units and error functions; Cao et al.,
        DeepFD: Automated Fault Diagnosis and Localization for Deep Learning Programs (2022), wrong activation.
    """

    code: ClassVar[str] = "H004"
    name: ClassVar[str] = "output-range"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()
    max_lost: float = 0.05
    min_left: float = 0.2

    def __post_init__(self) -> None:
        check_range(self, "max_lost", 0.0, 1.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the first loss call or difference where it is so."""
        by_hand = differences(history)
        if by_hand:
            last = by_hand[-1]
            reach = self._by_hand(history, last)
            if reach is not None and reach.lost > self.max_lost:
                yield self._regression(history, reach, "The loss, written by hand,")
            return
        for call in learned_calls(history, *SQUARED_LIKE, *BINARY, "cross_entropy"):
            if call.loss in SQUARED_LIKE:
                reach = self._reach(call)
                if reach is not None and reach.lost > self.max_lost:
                    yield self._regression(history, reach, call.named)
                    return
            elif (found := self._logits(call) or self._rectified(call)) is not None:
                yield found
                return

    def _reach(self, call: Call) -> Reach | None:
        least, most = call.stat("prediction/min"), call.stat("prediction/max")
        limits = _limits(call.made_by, least, most)
        if limits is None:
            return None
        extremes = _extremes(call.history, "target", call.site)
        known = _features(call.history, call.target, call.shape("target"))
        means, squares = call.stat("target/mean"), call.stat("target/rms")
        if not np.isfinite(means).any():
            return None
        mean = float(np.nanmean(means))
        spread = math.sqrt(max(float(np.nanmean(squares**2)) - mean**2, 0.0))
        m, s, lo, hi = known or (np.array([mean]), np.array([spread]), np.array([-_INF]), np.array([_INF]))
        reach = _lost(call.made_by, limits, (m, s), (np.maximum(lo, extremes[0]), np.minimum(hi, extremes[1])))
        values = call.stat("loss_call/value")
        late = values[len(values) // 2 :]
        plain = call.loss == "mse_loss" and call.reduction == "mean" and np.isfinite(late).any()
        if plain and float(np.nanmedian(late)) < 0.5 * reach.lost * float(np.mean(s**2)):
            return None  # the targets are not as reckoned: the loss came below
        return reach

    @staticmethod
    def _by_hand(history: History, fact: Mapping[str, Any]) -> Reach | None:
        kind, path = str(fact.get("made_by") or ""), str(fact.get("target") or "")
        known, layer = _features(history, path, tuple(fact.get("target_shape") or ())), maker(history, kind)
        if known is None or (layer is None and kind in _PINNED) or not _is_loss(history, fact):
            return None
        site = layer.site if layer is not None else ""
        least, most = (seen_at(history, f"activation/{s}", site)[1] for s in ("min", "max"))
        limits = _limits(kind, least, most)
        if limits is None:
            return None
        extremes, (m, s, lo, hi) = _extremes(history, "batch", path), known
        return _lost(kind, limits, (m, s), (np.maximum(lo, extremes[0]), np.minimum(hi, extremes[1])))

    def _logits(self, call: Call) -> Finding | None:
        """Bounded logits: the least loss that they allow, as a share of that of equal probabilities."""
        least, most, targets = (call.stat(s) for s in ("prediction/min", "prediction/max", "target/mean"))
        limits = _limits(call.made_by, least, most)
        taken = ("sigmoid", "softmax", "logsigmoid", "log_softmax")  # softmax-before-..., sigmoid-before-...
        if limits is None or call.made_by in taken or call.loss == "binary_cross_entropy":
            return None
        low, high = limits
        if call.loss == "cross_entropy":
            classes = max(call.classes, 2)
            floor, equal = math.log1p((classes - 1) * math.exp(-(high - low))), math.log(classes)
        else:
            share = float(np.nanmean(targets)) if np.isfinite(targets).any() else 0.5
            floor = share * math.log1p(math.exp(-high)) + (1 - share) * math.log1p(math.exp(low))
            equal = math.log(2)
        if not floor > self.max_lost * equal:
            return None
        first, last = first_step(call.history), last_step(call.history)
        message = (
            f"{call.named} gets logits made by {call.made_by}, which lie between {low:g} and {high:g} (steps {first} "
            f"to {last}: {np.nanmin(least):.3g} to {np.nanmax(most):.3g}). Even a model that is always right has a "
            f"loss of {floor:.3g} then, {percent(floor / equal)} of that of guessing ({equal:.3g})."
        )
        return self._found(call.history, call.made_by, floor / equal, message, ())

    def _rectified(self, call: Call) -> Finding | None:
        """Logits behind a ReLU: a class whose score is negative gets no gradient, and none can be ruled out."""
        left = unexplained(call.history)
        zeros = call.stat("prediction/zero_fraction")[-8:]
        if call.made_by != "relu" or call.loss != "cross_entropy" or not np.isfinite(zeros).any():
            return None
        if already_good(call.history) or (np.isfinite(left) and left < self.min_left):
            return None
        cut = float(np.nanmedian(zeros))
        message = (
            f"F.cross_entropy gets logits made by a ReLU: {percent(cut)} of them are cut off at 0 in the last samples "
            f"(steps {first_step(call.history)} to {last_step(call.history)}). A class that is cut off gets no "
            "gradient and can hardly come back, and none can be told to be unlikely."
        )
        return self._found(call.history, "relu", cut, message, ())

    def _regression(self, history: History, reach: Reach, loss: str) -> Finding:
        first, last = first_step(history), last_step(history)
        both = math.isfinite(reach.high - reach.low)
        ends = f"above {reach.low:g}" if math.isfinite(reach.low) else "below 0"
        ends = f"between {reach.low:g} and {reach.high:g}" if both else ends
        much = f"About {percent(reach.lost)}" if reach.lost < 1 else "All"
        message = (
            f"{loss} compares what a {reach.kind} put out, {ends}, with targets from {reach.targets[0]:.3g} to "
            f"{reach.targets[1]:.3g} (steps {first} to {last}). {much} of the targets' variance lies where no weights "
            "bring the output."
        )
        scale = (Prescription(_SCALE.text.format(low=reach.low, high=reach.high), _SCALE.changes),) if both else ()
        return self._found(history, reach.kind, min(reach.lost, 1e6), message, scale)

    def _found(
        self, history: History, kind: str, value: float, message: str, more: tuple[Prescription, ...]
    ) -> Finding:
        layer = maker(history, kind)
        site = layer.site if layer is not None else ""
        advice = (Prescription(_LINEAR.text.format(kind=kind)), *more)
        told = (first_step(history), value, self.max_lost, message, last_step(history), "", advice)
        return Finding(self.code, self.name, self.severity, site, *told)


def _is_loss(history: History, fact: Mapping[str, Any]) -> bool:
    """Tell whether a difference is the loss's error: with the target, or as large as the loss (not an output x - f)."""
    if fact.get("target") == target_of_data(history):
        return True
    steps, least, most = square_bounds(history, fact)
    loss = at_steps(history, "loss", steps)
    return len(steps) >= 4 and bool(((loss >= 0.99 * least) & (loss <= 1.01 * most)).all())


def _limits(kind: str, least: Floats, most: Floats) -> tuple[float, float] | None:
    """Return the range of an activation; of a clamp the ends that most samples touch; None if there is none."""
    if kind in _RANGES:
        low, high = _RANGES[kind]
        inside = not len(least) or (np.nanmin(least) >= low - 1e-3 and np.nanmax(most) <= high + 1e-3)
        return (low, high) if inside else None
    least, most = least[np.isfinite(least)], most[np.isfinite(most)]
    if kind not in _PINNED or len(least) < 4:
        return None
    low = float(least.min()) if float((least == least.min()).mean()) > 0.5 else -_INF
    high = float(most.max()) if float((most == most.max()).mean()) > 0.5 else _INF
    return (low, high) if math.isfinite(low) or math.isfinite(high) else None


def _extremes(history: History, family: str, site: str) -> tuple[float, float]:
    """Return the extremes of a typical batch: of one in two."""
    ends = [seen_at(history, f"{family}/{s}", site)[1] for s in ("min", "max")]
    if not all(len(x) for x in ends):
        raise Unmeasured("no finite target was seen")
    return float(np.median(ends[0])), float(np.median(ends[1]))


def _features(history: History, path: str, shape: tuple[int, ...]) -> tuple[Floats, Floats, Floats, Floats] | None:
    """Return mean, standard deviation, least and largest of each feature of a tensor of the batch, if used whole."""
    facts = ((history.run.get("data") or {}).get("train") or {}).get(path) or {}
    mean, std, low, high = (floats(facts, name) for name in ("mean", "std", "min", "max"))
    known = path and len(mean) and len(mean) == len(std) == len(low) == len(high)
    return (mean, std, low, high) if known and len(mean) == min(128, math.prod(shape[1:])) else None


def _lost(kind: str, limits: tuple[float, float], moments: tuple[Floats, Floats], ends: tuple[Floats, Floats]) -> Reach:
    """Return the mean square of what of the targets lies beyond the limits, as a share of their variance."""
    low, high = limits
    beyond = total = 0.0
    for m, s, a, b in zip(*moments, *np.broadcast_arrays(*ends, moments[0])[:2], strict=True):
        beyond += beyond_limit(m, s, low, a) + beyond_limit(-m, s, -high, -b)
        total += s * s
    lost = (
        0.0
        if beyond <= 1e-6 * (float(np.mean(np.square(moments[0]))) + total)
        else beyond / total
        if total > 0
        else _INF
    )
    return Reach(kind, low, high, lost, (float(np.min(ends[0])), float(np.max(ends[1]))))
