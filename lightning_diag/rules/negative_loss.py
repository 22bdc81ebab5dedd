"""L005 negative-loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History, Ints
from lightning_diag.rules.calls import BINARY, NEVER_NEGATIVE, differences, learned_calls, output_layer, seen_at
from lightning_diag.rules.phase import at_steps, pick
from lightning_diag.rules.rule import Unmeasured

_TARGETS = Prescription("Give F.{loss} targets from 0 to 1 (labels 0 and 1; pixels divided by 255).")
_INPUT = Prescription("Give F.{loss} what it expects: log-probabilities (F.log_softmax(outputs, dim=1)).")
_WEIGHTS = Prescription("Check the targets and class weights given to F.{loss}: none may be negative.")
_SQUARE = Prescription("Square the difference, ((prediction - target) ** 2).mean(), or call F.mse_loss.")
_ZERO = 1e-5  # what rounding leaves below 0, relative to the level of the loss


@final
@dataclass(frozen=True, kw_only=True)
class NegativeLoss:
    """A loss that cannot be negative is negative.

    What it finds:
        The value that a loss call returned, one of those whose terms are never negative (cross entropies, squared and
        absolute errors, divergences, margins), is below 0; or a loss written by hand is the plain mean of the
        difference of prediction and target, without a square or absolute value.

    Why it matters:
        Such a loss is negative only when its inputs are not what it is made for. It has then no least value, and
        training drives the outputs to infinity.

    When it is silent:
        Gaussian likelihoods, policy gradients, evidence bounds, negative similarities and all losses that may be
        negative; a loss call that is subtracted (wrong-sign); the training loss where its terms are not known.

    What to do:
        Look at targets (0 to 1 for binary cross entropy) and predictions (log-probabilities for nll_loss).

    Source:
        Cao et al., DeepFD (2022), and Zhang et al., AUTOTRAINER (2024), on negative losses; PyTorch documentation of
        torch.nn.BCELoss (targets between 0 and 1) and torch.nn.NLLLoss.
    """

    code: ClassVar[str] = "L005"
    name: ClassVar[str] = "negative-loss"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    min_samples: int = 2

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the first loss call where it is so."""
        by_hand = differences(history)
        if by_hand:
            yield from self._signed(history, by_hand[-1])
            return
        for call in learned_calls(history, *NEVER_NEGATIVE):
            if call.loss == "kl_div" and call.facts.get("log_target") is None:
                continue
            steps, values = seen_at(history, "loss_call/value", call.site)
            below = values < -_ZERO * max(float(np.median(np.abs(values))) if len(values) else 0.0, 1e-2)
            if below.sum() >= self.min_samples:
                advice = _TARGETS if call.loss in BINARY else _INPUT if call.loss in _LOGS else _WEIGHTS
                yield self._finding(call.named, call.loss, steps[below], values[below], len(values), advice)
                return

    def _signed(self, history: History, fact: Any) -> Iterator[Finding]:
        """The training loss equals the mean prediction minus the mean target, or the other way round."""
        layer, path = output_layer(history, str(fact.get("made_by") or "")), str(fact.get("target") or "")
        steps, target = seen_at(history, "batch/mean", path)
        if layer is None or len(steps) < 4:
            raise Unmeasured("the loss is written by hand; what it is made of was not seen")
        apart = pick(history, "activation/mean", (layer.site,), steps)[:, 0] - target
        loss = at_steps(history, "loss", steps)
        known = np.isfinite(loss) & np.isfinite(apart)
        scale = np.abs(target) + np.abs(apart)
        close = [np.abs(loss - s * apart)[known] < 1e-3 * scale[known] for s in (1, -1)]
        below = known & (loss < 0)
        if known.sum() >= 4 and any(c.mean() > 0.9 for c in close) and below.sum() >= self.min_samples:
            what = "The mean of a plain difference, without a square,"
            yield self._finding(what, "", steps[below], loss[below], int(known.sum()), _SQUARE)

    def _finding(
        self, what: str, loss: str, steps: Ints, values: Floats, samples: int, advice: Prescription
    ) -> Finding:
        first, last, worst = int(steps[0]), int(steps[-1]), float(values.min())
        message = (
            f"{what} gave {worst:.4g} and is below 0 in {len(steps)} of {samples} samples (steps {first} to {last}). "
            "An error cannot be negative when it gets what it is made for; it now falls without limit."
        )
        told = Prescription(advice.text.format(loss=loss) if loss else advice.text)
        return Finding(self.code, self.name, self.severity, "", first, worst, 0.0, message, last, "", (told,))


_LOGS = ("nll_loss", "kl_div", "ctc_loss")
