"""H002 sigmoid-before-bce-with-logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.calls import Call, first_step, last_step, learned_calls, maker, twice

_REMOVE = Prescription("Remove the {kind} in front of the loss: F.{loss} takes the raw outputs (logits).")
_OR = Prescription("Or keep it and call F.binary_cross_entropy, which takes probabilities (less precise).")
_LOGITS = ("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss", "soft_margin_loss")
_SQUASHED = ("sigmoid", "hardsigmoid", "softmax", "logsigmoid", "log_softmax")


@final
@dataclass(frozen=True, kw_only=True)
class SigmoidBeforeBceWithLogits:
    """Probabilities are given to a binary loss that applies the sigmoid itself.

    What it finds:
        binary_cross_entropy_with_logits (or a margin loss of scores) is called with what a sigmoid, softmax or
        log-sigmoid put out; this is told from the autograd graph. Where that does not say: all values of all samples
        lie within [0, 1] and in most samples reach to both ends. Or binary_cross_entropy gets a sigmoid of a sigmoid.

    Why it matters:
        The sigmoid of numbers between 0 and 1 lies between 0.5 and 0.73: a negative sample can never be told with
        confidence, the loss of it never falls below log 2, and gradients pass two small derivatives.

    When it is silent:
        The prediction is made by a linear layer, or values lie outside of [0, 1]. Loss calls that only log a number.
        A softmax over one unit (collapsed-output). Losses by hand that are none of the usual ones: unmeasured.

    What to do:
        Remove the sigmoid; apply it only where probabilities are shown.

    Source:
        PyTorch documentation of torch.nn.BCEWithLogitsLoss ("combines a Sigmoid layer and the BCELoss");
        Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems (2020).
    """

    code: ClassVar[str] = "H002"
    name: ClassVar[str] = "sigmoid-before-bce-with-logits"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()
    min_samples: int = 8

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the first loss call where it is so."""
        for call in learned_calls(history, *_LOGITS, "binary_cross_entropy"):
            kind = self._kind(call)
            if kind:
                yield self._finding(call, kind)
                return

    def _kind(self, call: Call) -> str:
        """Return what was applied before the sigmoid of the loss, "" if nothing was."""
        if call.loss == "binary_cross_entropy":
            last = maker(call.history, "sigmoid")
            doubled = twice(call.history, ("sigmoid", "softmax"), ("sigmoid",))
            return next((a.activation for a, b in doubled if b == last and call.made_by in ("sigmoid", "clamp")), "")
        if call.made_by in _SQUASHED:
            logs = call.made_by.startswith("log")
            one = call.within(1, 1)  # a softmax over one unit
            return call.made_by if not one and call.within(*((-np.inf, 0) if logs else (0, 1))) else ""
        if call.made_by not in ("", "clamp") or not call.within(0, 1) or len(call.steps) < self.min_samples:
            return ""
        squashed = [
            k
            for k in ("sigmoid", "softmax")
            if (m := maker(call.history, k)) is not None and self._last(call, k, m.site)
        ]
        ends = (call.stat("prediction/min") < 0.05) & (call.stat("prediction/max") > 0.95)
        if call.made_by == "clamp":
            return squashed[0] if squashed else ""
        return "sigmoid" if float(ends.mean()) > 0.5 else ""

    @staticmethod
    def _last(call: Call, kind: str, site: str) -> bool:
        """Tell whether an activation is the last layer of the model."""
        return bool(call.history.layers) and call.history.layers[-1].site == site

    def _finding(self, call: Call, kind: str) -> Finding:
        layer = maker(call.history, kind)
        first, last = first_step(call.history), last_step(call.history)
        low, high = float(np.nanmin(call.stat("prediction/min"))), float(np.nanmax(call.stat("prediction/max")))
        least = 1 / (1 + np.exp(-max(low, 0.0)))
        if kind.startswith("log"):
            meaning = "Log-probabilities are never positive: no sample can be called more likely than not"
        else:
            meaning = (
                f"So the probability that counts never falls below {max(least, 0.5):.2f}: negatives cannot be told"
            )
        message = (
            f"{call.named} gets what a {kind} put out (values from {low:.3g} to {high:.3g}, steps {first} to {last}) "
            f"and a sigmoid is applied again. {meaning}, and gradients are weak."
        )
        advice = (Prescription(_REMOVE.text.format(kind=kind, loss=call.loss)), _OR)
        site = layer.site if layer is not None else ""
        return Finding(self.code, self.name, self.severity, site, first, low, 0.0, message, last, "", advice)
