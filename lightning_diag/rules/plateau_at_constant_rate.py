"""L008 plateau-at-constant-rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.curve import crosses_zero, finite_loss
from lightning_diag.rules.metrics import already_good
from lightning_diag.rules.phase import is_running, loss_descent
from lightning_diag.rules.rule import Unmeasured, between
from lightning_diag.rules.seen import rates
from lightning_diag.trends import is_plateau, noise

_DECAY = Prescription(
    "Decay the learning rate over the run: CosineAnnealingLR(optimizer, T_max=steps).", {"schedule": "cosine"}
)


@final
@dataclass(frozen=True, kw_only=True)
class PlateauAtConstantRate:
    """The loss rests at its noise while the learning rate never changes.

    What it finds:
        No fall in the second half of the run, a noise of ``min_noise`` of the level or more from step to
        step, a learning
        rate that is the same throughout, and no score that is good already. An info: it prescribes decay.

    Why it matters:
        At a constant rate SGD ends in a cloud around the minimum whose size is proportional to the rate.
        Decaying it lets the weights settle.

    When it is silent:
        A schedule; a loss that still falls, or that is as good as 0; a converged run.

    What to do:
        Decay the rate: cosine over the run, or by 10 when the loss rests (ReduceLROnPlateau).

    Source:
        Bottou, Curtis, Nocedal, Optimization Methods for Large-Scale Machine Learning (2018), theorem 4.6.
    """

    code: ClassVar[str] = "L008"
    name: ClassVar[str] = "plateau-at-constant-rate"
    severity: ClassVar[Severity] = Severity.INFO
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    min_noise: float = 0.05
    min_steps: int = 100

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        values = finite_loss(history)
        if len(values) < self.min_steps or is_running(history) or crosses_zero(values):
            raise Unmeasured(f"judged at the end of {self.min_steps} steps or more, of a loss of one sign")
        constant = all(np.ptp(s.values) <= 1e-6 * np.max(s.values) for s in rates(history).values() if len(s))
        half = values[len(values) // 2 :]
        level, spread = float(np.median(half)), noise(half)
        still = is_plateau(values) and loss_descent(history).kind == "falling"
        if (
            not rates(history)
            or not constant
            or not still
            or spread < self.min_noise * abs(level)
            or already_good(history)
        ):
            return
        steps = history.series("loss").steps
        first, last = int(steps[len(steps) // 2]), int(steps[-1])
        message = (
            f"The loss rests at {level:.4g} with a noise of {spread:.2g} a step "
            f"{between(first, last)} while the learning rate "
            "never changes. A smaller rate would let the weights settle."
        )
        value = spread / abs(level) if level else spread
        yield Finding(
            self.code, self.name, self.severity, "", first, value, self.min_noise, message, last, "", (_DECAY,)
        )
