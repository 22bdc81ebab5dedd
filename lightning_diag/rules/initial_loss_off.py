"""I002 initial-loss-off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.first_loss import FirstLoss, first_loss
from lightning_diag.rules.phase import is_running, loss_descent
from lightning_diag.rules.rule import Unmeasured, check_range

_HEAD = Prescription(
    "Start the output layer small: nn.init.zeros_(head.weight), or divide its weights by ten.", {"output_init": "small"}
)
_PRIOR = Prescription("Start its bias at the prior: log of the class frequencies, or the mean of the targets.")
_LOSS = Prescription("Check that the loss gets what it expects: logits or probabilities, scaled targets, its sign.")


@final
@dataclass(frozen=True, kw_only=True)
class InitialLossOff:
    """The loss before the first step is far above that of a prediction that knows nothing.

    What it finds:
        The loss call of the first step against log(classes) for cross entropy, log(2) for binary cross entropy, the
        mean square of the targets for squared error: more than ``max_ratio`` times as high. An info; a warning where it
        is ``costly_ratio`` times as high and what is lost until it has come down to there is as much as in ``min_lost``
        steps at twice the expected loss, and takes ``min_part`` of the run.

    Why it matters:
        A network that has not learned should not be sure of anything. Where it is, the first part of training only
        unlearns what the initialization says, with large gradients.

    When it is silent:
        A loss below what is expected (trained before, or a bias at the prior); a sum of several losses, weighted
        binary cross entropy and unusual losses by hand, of which nobody knows what to expect: unmeasured.

    What to do:
        Start the output layer small, with its bias at the prior; else check what the loss is called with.

    Source:
        Karpathy, A Recipe for Training Neural Networks (2019), "verify loss at init" and "init well".
    """

    code: ClassVar[str] = "I002"
    name: ClassVar[str] = "initial-loss-off"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    max_ratio: float = 2.0
    costly_ratio: float = 2.5
    min_steps: int = 20
    min_lost: float = 10.0
    min_part: float = 0.02

    def __post_init__(self) -> None:
        check_range(self, "max_ratio", 1.0, 1e9)
        check_range(self, "costly_ratio", self.max_ratio, 1e9)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the first step."""
        first = first_loss(history)
        if first is None:
            raise Unmeasured(
                "no single loss call of step 0 of which it is known what to expect (cross_entropy, mse, bce)"
            )
        if first.ratio <= self.max_ratio:
            return
        late = self._late(history, first)
        costly = late > 0 and first.ratio > self.costly_ratio
        never = late >= int(history.series("loss").steps[-1])
        end = f" It {'did not come down to there in' if never else 'took'} {late} steps" if late else ""
        end += (". " if never else " to come down to there.") if late else ""
        message = (
            f"The loss ({first.loss}) is {first.value:.4g} at step {first.step}, {first.ratio:.3g} times "
            f"{first.expected:.4g} ({first.meaning}).{end} Before the first step a network should not be sure of "
            "anything; what it is sure of has to be unlearned."
        )
        severity = Severity.WARNING if costly else Severity.INFO
        advice, last = (_HEAD, _PRIOR, _LOSS), first.step + max(0, late - 1)
        value, limit = first.value, self.max_ratio * first.expected
        heads = [x.site for x in history.layers if x.role == "output" and x.parameters]
        site = heads[-1] if heads else ""
        yield Finding(self.code, self.name, severity, site, first.step, value, limit, message, last, "", advice)

    def _late(self, history: History, first: FirstLoss) -> int:
        """Return the steps until the loss is where it should have started; 0 where that is soon, or not its story."""
        series = history.series("loss")
        values = series.values[np.isfinite(series.values)]
        if is_running(history) or len(values) < 5 * self.min_steps or loss_descent(history).kind != "falling":
            return 0
        if not 0.5 < values[0] / first.value < 2:  # a sum, or a loss with other terms: its level is not known
            return 0
        below = np.flatnonzero(values <= first.expected)
        needed = int(below[0]) if len(below) else len(values)
        lost = float((values[:needed] / values[0] * first.ratio - 1).sum())  # in steps at twice the expected loss
        return needed if lost >= self.min_lost and needed >= self.min_part * len(values) else 0
