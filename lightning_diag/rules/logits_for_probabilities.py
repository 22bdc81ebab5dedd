"""H003 logits-for-probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.calls import Call, first_step, learned_calls, maker

_LOG = Prescription("Give the loss log-probabilities: F.log_softmax(outputs, dim=1).")
_WHOLE = Prescription("Or call F.cross_entropy with the raw outputs; it applies log-softmax itself.")
_TARGET = Prescription(
    "Give probabilities as target: targets.softmax(dim=1), or log-probabilities and log_target=True."
)
_SIGMOID = Prescription("Call F.binary_cross_entropy_with_logits with the raw outputs instead of clamping them.")
_ABOVE = 1e-3  # a rounded log-probability of 0 is not above this


@final
@dataclass(frozen=True, kw_only=True)
class LogitsForProbabilities:
    """A loss that expects (log-)probabilities gets something else.

    What it finds:
        nll_loss, kl_div or ctc_loss are called with predictions above 0 (raw outputs), or with rows that sum to 1
        or come from a softmax (probabilities without their logarithm); kl_div with a target that is none;
        cross_entropy with computed soft targets that are negative; binary_cross_entropy with raw outputs that were
        clamped into [0, 1].

    Why it matters:
        A log-probability is never above 0. With raw outputs the loss has no lower bound: it falls by making numbers
        larger, not by getting classes right. With probabilities it is linear where it should be steepest.

    When it is silent:
        All predictions are at most 0 and no distribution. Loss calls that only log a number. Losses written by hand
        that are none of the usual ones are not seen: unmeasured.

    What to do:
        F.log_softmax before nll_loss, kl_div and ctc_loss, or F.cross_entropy on the raw outputs.

    Source:
        PyTorch documentation of torch.nn.NLLLoss, KLDivLoss, CTCLoss and BCELoss (what each expects as input).
    """

    code: ClassVar[str] = "H003"
    name: ClassVar[str] = "logits-for-probabilities"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the first loss call where it is so."""
        calls = learned_calls(history, "nll_loss", "kl_div", "ctc_loss", "cross_entropy", "binary_cross_entropy")
        for call in calls:
            if call.loss == "cross_entropy":
                found = self._soft_targets(call)
            elif call.loss == "binary_cross_entropy":
                found = self._clamped(call)
            else:
                found = self._prediction(call) or self._target(call)
            if found is not None:
                yield found
                return

    def _prediction(self, call: Call) -> Finding | None:
        most, least = call.stat("prediction/max"), call.stat("prediction/min")
        if not len(most):
            return None
        probable = call.made_by == "softmax" or call.sums_to_one or (call.made_by == "sigmoid" and call.within(0, 1))
        if not probable and not (np.nanmax(most) > _ABOVE):
            return None
        bad = call.steps[least >= 0] if probable else call.steps[most > _ABOVE]
        if not len(bad):
            return None
        what = "probabilities" if probable else "raw outputs (logits)"
        message = (
            f"{call.named} gets values from {np.nanmin(least):.3g} to {np.nanmax(most):.3g} (steps {bad[0]} to "
            f"{bad[-1]}), but expects log-probabilities, which are never above 0: these are {what}. "
            + (
                "The loss is then minus the mean probability, which hardly punishes a confident mistake."
                if probable
                else "The loss has no lower bound and falls by making all outputs larger."
            )
        )
        kind = call.made_by if probable else ""
        return self._finding(call, kind, bad, float(np.nanmax(most)), message, (_LOG, _WHOLE))

    def _target(self, call: Call) -> Finding | None:
        least, most = call.stat("target/min"), call.stat("target/max")
        if call.loss != "kl_div" or not np.isfinite(least).any():
            return None
        logs = bool(call.facts.get("log_target"))
        wrong = most > _ABOVE if logs else least < -_ABOVE
        if not wrong.any():
            return None
        expected = "log-probabilities (log_target=True), never above 0" if logs else "probabilities, never below 0"
        message = (
            f"F.kl_div gets targets from {np.nanmin(least):.3g} to {np.nanmax(most):.3g} in {int(wrong.sum())} of "
            f"{len(wrong)} samples, but expects {expected}. The divergence from something that is no distribution "
            "has no meaning."
        )
        return self._finding(call, "", call.steps[wrong], float(np.nanmin(least)), message, (_TARGET,))

    def _soft_targets(self, call: Call) -> Finding | None:
        least = call.stat("target/min")
        if not call.float_target or call.target or call.classes < 2 or call.shape("target") != call.shape("prediction"):
            return None
        wrong = least < -_ABOVE
        if not wrong.any():
            return None
        message = (
            f"F.cross_entropy gets computed soft targets down to {np.nanmin(least):.3g} in {int(wrong.sum())} of "
            f"{len(wrong)} samples, but expects probabilities. Negative targets reward a wrong class without limit."
        )
        return self._finding(call, "", call.steps[wrong], float(np.nanmin(least)), message, (_TARGET,))

    def _clamped(self, call: Call) -> Finding | None:
        """Raw outputs spread around 0 from the start; what a sigmoid put out is near 0.5 there, never at an end."""
        least, zeros = call.stat("prediction/min"), call.stat("prediction/zero_fraction")
        if call.made_by not in ("clamp", "hardtanh") or not len(least) or maker(call.history, "sigmoid") is not None:
            return None
        at_end = (least <= 1e-3) & (np.nan_to_num(zeros) > 0.05 if np.isclose(least[0], 0) else least <= least.min())
        if maker(call.history, "softmax") is not None or not at_end[:3].all():
            return None
        message = (
            f"F.binary_cross_entropy gets raw outputs clamped into [0, 1] (steps {call.steps[0]} to {call.steps[-1]}; "
            f"at the lower end from the start). It expects probabilities; what is clamped gets no gradient at all."
        )
        return self._finding(call, "clamp", call.steps, float(least[0]), message, (_SIGMOID,))

    def _finding(
        self, call: Call, kind: str, steps: np.typing.NDArray[np.int64], value: float, message: str,
        advice: tuple[Prescription, ...],
    ) -> Finding:  # fmt: skip
        layer = maker(call.history, kind) if kind else None
        outputs = [x.site for x in call.history.layers if x.role == "output"]
        site = layer.site if layer is not None else outputs[-1] if outputs else ""
        first = int(steps[0]) if len(steps) else first_step(call.history)
        last = int(steps[-1]) if len(steps) else first
        return Finding(self.code, self.name, self.severity, site, first, value, 0.0, message, last, "", advice)
