"""L002 loss-not-decreasing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.metrics import already_good, is_improving
from lightning_diag.rules.phase import loss_breaks, loss_descent, rates_rise
from lightning_diag.rules.rule import Unmeasured, check_range
from lightning_diag.rules.trivial import is_stuck_at, trivial_loss, validates_loss
from lightning_diag.trends import Descent

_RATE_UP = Prescription(
    "Try learning rates 10 times higher and lower (Tuner(trainer).lr_find(model)).", {"lr": "search"}
)
_RATE_DOWN = Prescription("Lower the learning rate by a factor of 10.", {"lr": "x0.1"})
_OVERFIT = Prescription(
    "Train on one batch: Trainer(overfit_batches=1). If the loss does not fall there either, the fault is in the "
    "model, the loss or the labels, not in the data's difficulty."
)
_LOSS = Prescription("Check that the loss gets what it expects (logits or probabilities, target type) and its sign.")
_INPUT = Prescription("Standardize the input, and check that inputs and labels belong together.", {"standardize": True})


@final
@dataclass(frozen=True, kw_only=True)
class LossNotDecreasing:
    """The training loss does not fall.

    What it finds:
        The last fifth of all losses is not below the first ones by more than their noise. Flat is a warning, info
        where the model may have started trained; rising beyond all noise is an error. It claims flatness only
        where a fall of one standard deviation of a single loss (or of 1 % of its level), and of ``max_undetected``
        of its level, would have been seen. Or the loss came down, but only to where a predictor that ignores its
        input is, and stays there: log(classes) for cross entropy, the variance of the targets for squared errors,
        the entropy of the mean target for binary cross entropy.

    Why it matters:
        The loss is the one thing that training minimizes. If it stays, nothing was learned.

    When it is silent:
        The loss fell at any time and stayed low: a plateau after a fall is convergence. A logged metric improves.
        Several optimizers (losses of opponents need not fall), a loss that crosses zero (policy gradients), a
        learning rate still being warmed up, less than one pass over the data, or too few or too noisy points:
        unmeasured. The level of a loss is judged only where that of a constant prediction is known.

    What to do:
        Look for a finding that explains it. Without one: overfit a single batch, search the learning rate, check
        loss function, targets and input.

    Source:
        Noise from the median absolute difference (Rousseeuw and Croux, 1993); overfitting one
        batch: Karpathy, A Recipe for Training Neural Networks (2019).
    """

    code: ClassVar[str] = "L002"
    name: ClassVar[str] = "loss-not-decreasing"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    min_steps: int = 20
    max_undetected: float = 0.1

    def __post_init__(self) -> None:
        check_range(self, "min_steps", 12, 10**9)
        check_range(self, "max_undetected", 0.0, 1.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the whole run."""
        loss = loss_descent(history)
        if loss_breaks(history):
            raise Unmeasured("the loss is not finite (non-finite-loss)")
        if loss.n < self.min_steps:
            raise Unmeasured(f"{loss.n} losses; {self.min_steps} are needed")
        trivial = trivial_loss(history)
        stuck = is_stuck_at(history, trivial)
        better = is_improving(history) and not (stuck and validates_loss(history))
        if better or (loss.kind == "falling" and not stuck):
            return
        self._refuse(history, loss, stuck=stuck)
        small = loss.kind == "slight" and not stuck
        if small and loss.relative >= 0.01:
            return
        info = small or self._may_be_trained(history)
        yield self._finding(history, loss, info=info, trivial=trivial if stuck else float("nan"))

    def _refuse(self, history: History, loss: Descent, *, stuck: bool) -> None:
        """Raise Unmeasured where a loss that does not fall says nothing."""
        values = history.series("loss").values
        good = values[np.isfinite(values)]
        if len(history.run.get("optimizers") or ()) > 1:
            raise Unmeasured("several optimizers: losses of opponents need not fall; log a metric that should improve")
        if min((good > 0).mean(), (good < 0).mean()) > 0.02:
            raise Unmeasured("the loss crosses zero, its level says nothing; log a metric that should improve")
        if rates_rise(history):
            raise Unmeasured("the learning rate is still being warmed up")
        size, batch = history.run.get("dataset_size"), history.run.get("batch_size")
        batch = (batch or 0) * (history.run.get("accumulate_grad_batches") or 1) * (history.run.get("world_size") or 1)
        if size and batch and loss.n < 1000 and loss.n * batch < size:
            raise Unmeasured(f"{loss.n} steps are less than one pass over {size} examples")
        if stuck:
            return
        level = float(np.median(np.abs(good)))
        floor = 0.01 * level if loss.n >= 100 else 1e-3 * level
        allowed = min(max(loss.noise, floor), self.max_undetected * level)
        if loss.kind != "rising" and loss.detectable > allowed > 0:
            raise Unmeasured(
                f"the loss is too noisy for {loss.n} steps: only a fall of {loss.detectable:.2g} would show (level "
                f"{level:.3g}); train for more steps or use larger batches"
            )

    @staticmethod
    def _may_be_trained(history: History) -> bool:
        return bool(history.run.get("continues") or history.run.get("frozen") or already_good(history))

    def _finding(self, history: History, loss: Descent, *, info: bool, trivial: float) -> Finding:
        steps = history.series("loss").steps
        first, last = int(steps[0]), int(steps[-1])
        rising = loss.kind == "rising"
        verb = "rose" if rising else "went"
        message = (
            f"The loss {verb} from {loss.begin:.4g} to {loss.end:.4g} in {loss.n} steps ({first} to {last}); its noise "
            f"is {loss.noise:.2g} a step, a fall of {loss.detectable:.2g} would have shown. "
            + ("Training makes the model worse." if rising else "The model has learned about nothing.")
        )
        if np.isfinite(trivial):
            message = (
                f"The loss went from {loss.begin:.4g} to {loss.end:.4g} in {loss.n} steps ({first} to {last}) and "
                f"stays there; a predictor that ignores its input has a loss of {trivial:.4g}. The model has learned "
                "nothing about how targets depend on inputs."
            )
        severity = Severity.INFO if info and not rising else Severity.ERROR if rising else Severity.WARNING
        advice = (_RATE_DOWN, _LOSS, _OVERFIT) if rising else (_OVERFIT, _RATE_UP, _LOSS, _INPUT)
        fall = loss.begin - loss.end
        return Finding(self.code, self.name, severity, "", first, fall, loss.detectable, message, last, "", advice)
