"""L001 non-finite-loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Severity
from lightning_diag.records import History
from lightning_diag.rules.non_finite_origin import CHECK_DATA, CLIP, GUARD, LOWER_RATE, grew, interval
from lightning_diag.rules.phase import skips_bad_steps


@final
@dataclass(frozen=True, kw_only=True)
class NonFiniteLoss:
    """The training loss is NaN or infinite.

    What it finds:
        The first step at which the loss is no finite number. An error if it stays so, or if more than
        ``max_recovered_fraction`` of the steps are hit; a warning if the run got over it.

    Why it matters:
        A NaN spreads: the gradient of such a loss is NaN, and after the next step so are all weights. From then
        on nothing is learned, and checkpoints saved later are worthless.

    When it is silent:
        All losses are finite. Steps that a gradient scaler (fp16) skipped and recovered from are told as info.

    What to do:
        Look at the findings on activations and gradients: they name the first place. If the loss grew before,
        lower the learning rate and clip; if it broke at once, look at the input and at log, sqrt and divisions.

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), 4.1 Overflow and Underflow; Micikevicius et al.,
        Mixed Precision Training (2018), 3.2 on skipped steps.
    """

    code: ClassVar[str] = "L001"
    name: ClassVar[str] = "non-finite-loss"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    max_recovered_fraction: float = 0.01

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for the whole run."""
        loss = history.series("loss")
        bad = ~np.isfinite(loss.values)
        if not bad.any():
            return
        first, last = int(loss.steps[bad][0]), int(loss.steps[bad][-1])
        stays = bool(bad[-1]) or float(bad.mean()) > self.max_recovered_fraction
        severity = Severity.ERROR if stays else Severity.WARNING
        if not bad[-1] and skips_bad_steps(history):
            severity = Severity.INFO
        value = float(loss.values[bad][0])
        before = loss.values[: int(np.argmax(bad))]
        was = f" (it was {before[-1]:.4g} the step before)" if len(before) else " (the first loss of the run)"
        message = (
            f"The loss became {value} at step {first}{was} and was not finite in {int(bad.sum())} of "
            f"{len(bad)} steps up to step {last}. "
            + ("From then on the weights cannot learn." if bad[-1] else "The run got over it.")
            + interval(history, first)
        )
        advice = (GUARD, CHECK_DATA, LOWER_RATE, CLIP)
        if grew(history, first):  # a loss that grew first asks for smaller steps, one that broke at once does not
            advice = (LOWER_RATE, CLIP, GUARD, CHECK_DATA)
        yield Finding(self.code, self.name, severity, "", first, value, np.nan, message, last, "", advice)
