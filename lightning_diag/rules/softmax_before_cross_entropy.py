"""H001 softmax-before-cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.calls import Call, first_step, last_step, learned_calls, maker, twice

_REMOVE = Prescription("Remove the {kind} in front of the loss; F.cross_entropy takes the raw outputs (logits).")
_PREDICT = Prescription("Apply softmax only where probabilities are shown: probabilities = logits.softmax(dim=1).")


@final
@dataclass(frozen=True, kw_only=True)
class SoftmaxBeforeCrossEntropy:
    """Probabilities are given to a loss that applies softmax itself.

    What it finds:
        F.cross_entropy is called with what a softmax or sigmoid put out (told from the autograd graph; where that
        does not say, from rows that all sum to 1), or a softmax or log-softmax in front of a loss gets what another
        softmax or sigmoid put out. log-softmax before cross entropy is info: a second one changes nothing.

    Why it matters:
        The softmax of numbers between 0 and 1 is nearly uniform: of C classes the right one gets at most
        e / (e + C - 1), so that the loss cannot come near 0, and gradients are multiplied by two small derivatives.

    When it is silent:
        The prediction is made by a linear layer, or its values are no distribution. Loss calls that only log a
        number. One output unit (collapsed-output). Losses by hand that are none of the usual ones: unmeasured.

    What to do:
        Remove the softmax; apply it only where probabilities are shown.

    Source:
        PyTorch documentation of torch.nn.CrossEntropyLoss ("unnormalized logits"); Bridle, Probabilistic
        Interpretation of Feedforward Classification Network Outputs (1990); Humbatova et al., Taxonomy of Real
        Faults in Deep Learning Systems (2020).
    """

    code: ClassVar[str] = "H001"
    name: ClassVar[str] = "softmax-before-cross-entropy"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the first loss call where it is so."""
        for call in learned_calls(history, "cross_entropy", "nll_loss", "kl_div"):
            kind = self._kind(call)
            if kind:
                yield self._finding(call, kind)
                return

    @staticmethod
    def _kind(call: Call) -> str:
        """Return what was applied before the softmax of the loss, "" if nothing was."""
        if call.classes == 1:
            return ""
        if call.loss == "cross_entropy":
            if call.made_by in ("softmax", "sigmoid", "log_softmax"):
                return call.made_by if call.made_by == "log_softmax" or call.within(0, 1) else ""
            return "softmax" if call.sums_to_one else ""
        if call.made_by not in ("log_softmax", "log"):
            return ""
        last = maker(call.history, "softmax" if call.made_by == "log" else call.made_by)
        doubled = twice(call.history, ("softmax", "sigmoid"), ("softmax", "log_softmax"))
        return next((first.activation for first, second in doubled if second == last), "")

    def _finding(self, call: Call, kind: str) -> Finding:
        layer = maker(call.history, kind)
        site, classes = layer.site if layer is not None else "", max(call.classes, 2)
        first, last = first_step(call.history), last_step(call.history)
        if kind == "log_softmax":
            message = (
                f"{call.named} gets log-probabilities, made by log_softmax, from step {first} on. It applies "
                "log-softmax itself; a second one changes nothing but costs time and precision."
            )
            severity, floor = Severity.INFO, 0.0
        else:
            floor = float(np.log(np.e + classes - 1) - 1)
            low, high = (f(call.stat(s)) for f, s in ((np.nanmin, "prediction/min"), (np.nanmax, "prediction/max")))
            given = f"values from {low:.3g} to {high:.3g} in {len(call.steps)} samples" if len(call.steps) else "these"
            message = (
                f"{call.named} gets what a {kind} put out ({given}, steps {first} to {last}) and softmax is applied "
                f"again. Of {classes} classes the right one then gets at most {np.e / (np.e + classes - 1):.2f}, so "
                f"the loss of a prediction cannot fall below {floor:.3g} and gradients are weak."
            )
            severity = Severity.ERROR
        advice = (Prescription(_REMOVE.text.format(kind=kind)), _PREDICT)
        return Finding(self.code, self.name, severity, site, first, floor, 0.0, message, last, "", advice)
