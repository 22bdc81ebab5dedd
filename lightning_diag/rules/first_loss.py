"""The loss before the first step against that of a prediction that knows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_diag.records import History
from lightning_diag.rules.seen import loss_calls


@dataclass(frozen=True)
class FirstLoss:
    """What a loss call gave at the first step, and what equal probabilities, or an output of zero, would have given."""

    loss: str
    step: int
    value: float
    expected: float
    meaning: str

    @property
    def ratio(self) -> float:
        """How many times higher than expected."""
        return self.value / self.expected


def first_loss(history: History) -> FirstLoss | None:
    """Return the first loss of the only loss call that learns, None where nobody knows what to expect.

    Equal probabilities give log(classes) whatever the class weights, label smoothing or ignored targets (which a mean
    leaves out); a sum is divided by the number of its parts.
    """
    calls = [c for c in loss_calls(history) if c.get("learns", True)]
    table = history.table("loss_call/value")
    if len(calls) != 1 or calls[0].get("site") not in table.sites or not len(table) or history.run.get("continues"):
        return None
    call, site = calls[0], str(calls[0]["site"])
    expected, meaning = _expected(history, call, site)
    value, step = float(table.matrix[0, table.sites.index(site)]), int(table.steps[0])
    if call.get("reduction") == "sum":
        shape = list(call.get("target_shape") or ())
        value /= max(1.0, float(np.prod(shape)))
    if step != 0 or not np.isfinite(value) or not expected > 0:
        return None
    return FirstLoss(str(call.get("loss")), step, value, expected, meaning)


def _expected(history: History, call: dict[str, Any], site: str) -> tuple[float, str]:
    kind, made = str(call.get("loss", "")), str(call.get("made_by", ""))
    shape: list[int] = list(call.get("prediction_shape") or ())
    indices = "int" in str(call.get("target_dtype"))
    if indices and len(shape) > 1 and shape[1] > 1 and (
        (kind == "cross_entropy" and made not in ("softmax", "log_softmax", "sigmoid"))
        or (kind == "nll_loss" and made == "log_softmax")
    ):  # fmt: skip
        return float(np.log(shape[1])), f"log({shape[1]}), that of equal probabilities"
    if not call.get("weighted") and (
        (kind == "binary_cross_entropy" and made == "sigmoid")
        or (kind == "binary_cross_entropy_with_logits" and made not in ("softmax", "sigmoid"))
    ):
        return float(np.log(2.0)), "log(2), that of a probability of one half"
    if kind == "mse_loss":
        target = history.table("target/rms")
        if site in target.sites and len(target):
            return float(
                target.matrix[0, target.sites.index(site)]
            ) ** 2, "the mean square of the targets, that of zero"
    return float("nan"), ""
