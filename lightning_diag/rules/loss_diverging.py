"""L003 loss-diverging."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.curve import crosses_zero, finite_loss, several_optimizers
from lightning_diag.rules.phase import loss_descent
from lightning_diag.rules.rule import Unmeasured, between
from lightning_diag.trends import smooth

_RATE = Prescription("Lower the learning rate by a factor of 10.", {"lr": "x0.1"})
_CLIP = Prescription("Clip gradients by norm: Trainer(gradient_clip_val=1.0).", {"gradient_clip_val": 1.0})
_SIGN = Prescription("Check the sign of the loss: it must get smaller when predictions get better.")


@final
@dataclass(frozen=True, kw_only=True)
class LossDiverging:
    """The loss grows.

    What it finds:
        The last fifth of the losses lies above the first ones beyond all noise and by half or more; or, before it
        became NaN or Inf, the loss had grown to ``max_growth`` times its lowest value.

    Why it matters:
        Training makes the model worse; what follows is overflow.

    When it is silent:
        A spike from which the loss comes back; losses that cross zero or belong to several optimizers (unmeasured).

    What to do:
        Lower the learning rate by 10, warm it up, clip gradients; check the sign of the loss.

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), 11.4; PaLM (2022), 5.1, on spikes.
    """

    code: ClassVar[str] = "L003"
    name: ClassVar[str] = "loss-diverging"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    max_growth: float = 10.0
    min_steps: int = 12

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        series = history.series("loss")
        values = finite_loss(history)
        if several_optimizers(history) or crosses_zero(values):
            raise Unmeasured("losses of several optimizers, or a loss that crosses zero, need not fall")
        broke = len(values) < len(series.values) and not np.isfinite(series.values[-1])
        if len(values) < (2 if broke else self.min_steps):
            raise Unmeasured(f"{len(values)} losses; {self.min_steps} are needed")
        loss = loss_descent(history)
        low = float(np.min(smooth(values, 5))) if len(values) > 8 else float(np.min(values))
        tail = float(np.median(values[-max(1, min(3, len(values) // 4)) :]))
        usual = float(np.median(np.abs(values)))
        grew = (
            broke
            and tail > self.max_growth * max(abs(low), 1e-12)
            and tail > max(values[0], 3 * usual * (len(values) > 8))
        )
        grew = grew and (len(values) < 3 or float(values[-2:].min()) > 2 * abs(values[0]))
        rising = loss.kind == "rising" and loss.end - loss.begin > 0.5 * abs(loss.begin)
        if not (grew or rising):
            return
        end = float(values[-1]) if grew else loss.end
        start = int(series.steps[np.nanargmin(np.where(np.isfinite(series.values), series.values, np.inf))])
        message = (
            f"The loss grew from {values[0]:.4g} (lowest {low:.4g}) to {end:.4g} "
            f"{between(start, int(series.steps[-1]))}"
            + (", then it was no number any more." if broke else ".")
            + " Each step makes the model worse."
        )
        value, last = float(end / max(abs(low), 1e-12)), int(series.steps[-1])
        yield Finding(
            self.code,
            self.name,
            self.severity,
            "",
            start,
            value,
            self.max_growth,
            message,
            last,
            "",
            (_RATE, _CLIP, _SIGN),
        )
