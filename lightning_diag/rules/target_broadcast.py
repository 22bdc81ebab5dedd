"""H006 target-broadcast."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.calls import SQUARED_LIKE, differences, first_step, last_step, learned_calls
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.seen import loss_calls, target_of_data

_SHAPE = Prescription("Give both the same shape: target = target.view_as(prediction), or prediction.squeeze(-1).")
_CHECK = Prescription("Keep it so: assert prediction.shape == target.shape right before the loss.")
_ELEMENTWISE: Final = (*SQUARED_LIKE, "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "soft_margin_loss")

Shape = tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True)
class TargetBroadcast:
    """Prediction and target have different shapes and are broadcast against each other.

    What it finds:
        A loss call, or a difference or product written by hand, gets a prediction and a target of as many samples but a
        different number of axes, (N, 1) and (N,), so that broadcasting makes more numbers, (N, N), than either has:
        each prediction is compared with the targets of all samples. Of a loss call also one output for several
        targets, (N, 1) and (N, C), as info.

    Why it matters:
        Every prediction is pulled to the mean of all targets. The loss falls to their variance and stays there.

    When it is silent:
        Equal shapes; broadcasting that makes nothing new, as (N, C) with (C,) or (N, Q) with (N, 1); axes of length 1
        put on both sides on purpose, as (N, 1, D) with (1, M, D); batches of one sample.

    What to do:
        Give the target the shape of the prediction, or squeeze the prediction.

    Source:
        PyTorch documentation, Broadcasting semantics, and the warning of torch.nn.functional.mse_loss on sizes that
        differ; Schoop, Huang, Hartmann, UMLAUT: Debugging Deep Learning Programs using Program Structure and Model
        Behavior (2021).
    """

    code: ClassVar[str] = "H006"
    name: ClassVar[str] = "target-broadcast"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the first loss call or difference where it is so."""
        by_hand = list(history.run.get("differences") or ())
        if not by_hand and not loss_calls(history) and not history.run.get("products"):
            raise Unmeasured("no call of a loss function and no difference of prediction and batch was seen")
        seen = 0
        for call in learned_calls(history) if loss_calls(history) else ():
            seen += call.loss in _ELEMENTWISE
            shapes = call.shape("prediction"), call.shape("target")
            if call.loss in _ELEMENTWISE and crosses_samples(*shapes):
                yield self._finding(history, call.named, shapes, Severity.ERROR)
                return
            if call.loss in SQUARED_LIKE and call.reduction != "none" and _one_for_many(*shapes):
                yield self._one(history, call.loss, shapes)
                return
        logged_only = not differences(history)  # the loss is a call: the difference can only be a metric
        for fact in by_hand:
            shapes = _shapes(fact)
            if crosses_samples(*shapes):
                pairs = len(shapes[0]) == 3 and shapes[0][1] == 1 < shapes[0][2]  # may be meant: all pairs of vectors
                level = Severity.INFO if logged_only or pairs else Severity.ERROR
                yield self._finding(history, "A difference written by hand", shapes, level)
                return
        for fact in history.run.get("products") or ():
            if self._is_target(history, str(fact.get("target"))) and not any(
                c.get("learns", True) for c in loss_calls(history)
            ):
                yield self._finding(history, "A product written by hand", _shapes(fact), Severity.ERROR)
                return
        if not seen and not by_hand:
            raise Unmeasured("no loss that compares element by element")

    @staticmethod
    def _is_target(history: History, path: str) -> bool:
        """Tell whether a tensor of the batch is the target; where nothing says which it is, the last one is taken."""
        return path == (target_of_data(history) or next(reversed(history.run.get("batch") or {}), ""))

    def _finding(self, history: History, what: str, shapes: tuple[Shape, Shape], level: Severity) -> Finding:
        first, last, n = first_step(history), last_step(history), shapes[0][0]
        message = (
            f"{what} gets a prediction of shape {_text(shapes[0])} and a target of shape {_text(shapes[1])} (from step "
            f"{first} on); broadcasting makes {_text(broadcast(*shapes))} of it. Each prediction is compared with the "
            f"targets of all {n} samples, so the best it can do is their mean."
        )
        value, limit = float(math.prod(broadcast(*shapes))), float(max(map(math.prod, shapes)))
        return Finding(self.code, self.name, level, "", first, value, limit, message, last, "", (_SHAPE, _CHECK))

    def _one(self, history: History, loss: str, shapes: tuple[Shape, Shape]) -> Finding:
        first, last = first_step(history), last_step(history)
        message = (
            f"F.{loss} gets a prediction of shape {_text(shapes[0])} and a target of shape {_text(shapes[1])} (from "
            f"step {first} on). One output is compared with {shapes[1][1]} targets of the sample and learns their mean."
        )
        wide = Prescription(f"Give the last layer {shapes[1][1]} outputs, or choose the target column that is meant.")
        value, limit = float(shapes[1][1]), 1.0
        return Finding(self.code, self.name, Severity.INFO, "", first, value, limit, message, last, "", (wide,))


def _shapes(fact: Mapping[str, Any]) -> tuple[Shape, Shape]:
    return tuple(fact.get("prediction_shape") or ()), tuple(fact.get("target_shape") or ())


def broadcast(a: Shape, b: Shape) -> Shape:
    """Return the shape that broadcasting makes, () where the shapes do not fit.

    Example:
        >>> broadcast((8, 1), (8,)), broadcast((8, 3), (3,)), broadcast((8, 3), (8,))
        ((8, 8), (8, 3), ())
    """
    n = max(len(a), len(b))
    pairs = list(zip((1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b, strict=True))
    return tuple(max(x, y) for x, y in pairs) if all(x == y or 1 in (x, y) for x, y in pairs) else ()


def crosses_samples(prediction: Shape, target: Shape) -> bool:
    """Tell whether broadcasting compares samples with each other that only lack an axis.

    Example:
        >>> crosses_samples((8, 1), (8,)), crosses_samples((8, 3), (3,)), crosses_samples((8, 1), (8, 1))
        (True, False, False)
    """
    if not prediction or not target or prediction[0] != target[0] or len(prediction) == len(target):
        return False
    made = broadcast(prediction, target)
    return bool(made) and math.prod(made) > max(math.prod(prediction), math.prod(target))


def _one_for_many(prediction: Shape, target: Shape) -> bool:
    return len(prediction) == len(target) == 2 and prediction[0] == target[0] and prediction[1] == 1 < target[1]


def _text(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
