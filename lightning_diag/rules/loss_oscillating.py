"""L004 loss-oscillating."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.curve import crosses_zero, finite_loss, several_optimizers, swings
from lightning_diag.rules.rule import Unmeasured

_RATE = Prescription("Lower the learning rate by a factor of 3 to 10, or the momentum to 0.9.", {"lr": "x0.3"})
_BATCH = Prescription("Use larger batches, or accumulate_grad_batches=4.", {"batch_size": "x4"})
_SHUFFLE = Prescription("Check that the loader shuffles.", {"shuffle": True})


@final
@dataclass(frozen=True, kw_only=True)
class LossOscillating:
    """The loss gives back again and again what it had gained.

    What it finds:
        The loss, smoothed over a fortieth of the run, rises by more than half of all that it had gained until then,
        ``min_swings`` times or more, far beyond its noise.

    Why it matters:
        Steps overshoot, or each part of the data pulls its own way; what is learned at one moment is lost at
        the next.

    When it is silent:
        Noise from batch to batch, however large; single spikes; a loss that rests; warm restarts that cost less
        than half of the gain; several optimizers or a loss that crosses zero (unmeasured). Info: a loss that arrives
        at ``arrived`` of its start all the same.

    What to do:
        Lower the learning rate or the momentum, enlarge batches, shuffle.

    Source:
        AUTOTRAINER (Zhang et al., ICSE 2021) on oscillating losses; LeCun et al., Efficient BackProp (1998), 4.6.
    """

    code: ClassVar[str] = "L004"
    name: ClassVar[str] = "loss-oscillating"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    min_swings: int = 3
    arrived: float = 0.05
    min_steps: int = 40

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        values = finite_loss(history)
        if several_optimizers(history) or crosses_zero(values):
            raise Unmeasured("losses of several optimizers, or a loss that crosses zero, need not fall")
        if len(values) < self.min_steps:
            raise Unmeasured(f"{len(values)} losses; {self.min_steps} are needed")
        n = swings(values)
        if n < self.min_swings:
            return
        steps = history.series("loss").steps
        arrived = float(np.median(values[-10:])) < self.arrived * float(np.median(values[:3]))
        message = (
            f"{n} times in {len(values)} steps the smoothed loss rose by more than half of all that it had gained "
            f"(start {values[0]:.4g}, lowest {values.min():.4g}, end "
            f"{np.median(values[-5:]):.4g}). What is learned at one "
            "moment is lost at the next."
        )
        first, last = int(steps[0]), int(steps[-1])
        advice = (_RATE, _BATCH, _SHUFFLE)
        severity = Severity.INFO if arrived else self.severity
        yield Finding(self.code, self.name, severity, "", first, n, self.min_swings, message, last, "", advice)
