"""O011 loss-scale-collapse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.rule import Unmeasured, check_range

_BF16 = Prescription(
    'Train in bfloat16, which needs no scaler: Trainer(precision="bf16-mixed").', {"precision": "bf16"}
)
_ANOMALY = Prescription("Find the operation that overflows: Trainer(detect_anomaly=True), precision 32 for that part.")
_RATE = Prescription("Lower the learning rate by a factor of 10, or clip.", {"lr": "x0.1"})


@final
@dataclass(frozen=True, kw_only=True)
class LossScaleCollapse:
    """The gradient scaler of half precision has given up: it halves its scale again and again.

    What it finds:
        The loss scale falls below ``min_scale`` (1: the scaler now shrinks what it is there to enlarge), or all of
        the last ``last_samples`` sampled steps were skipped for non-finite gradients. An error.

    Why it matters:
        The scaler halves its scale and skips the step whenever a gradient is not finite. A few times at the start
        are how it finds its scale. If no scale is small enough, the fault is not the scale: every step is skipped,
        or gradients vanish to zero in half precision.

    When it is silent:
        The scale falls at the start and then stays or grows; precision without a scaler (32, bf16).

    What to do:
        Train in bfloat16, or find what makes gradients non-finite.

    Source:
        Micikevicius et al., Mixed Precision Training (2018); PyTorch documentation, torch.amp.GradScaler.
    """

    code: ClassVar[str] = "O011"
    name: ClassVar[str] = "loss-scale-collapse"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()
    min_scale: float = 1.0
    last_samples: int = 5

    def __post_init__(self) -> None:
        check_range(self, "min_scale", 0.0, 1e9)
        check_range(self, "last_samples", 2, 10**6)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the whole run."""
        table = history.table("total/gradient_scale")
        scale = table.matrix[:, 0] if table.matrix.size else np.zeros(0)
        known = np.isfinite(scale)
        steps, scale = table.steps[known], scale[known]
        if not history.run.get("scaler") or not len(scale):
            raise Unmeasured("no gradient scaler is at work (it is with precision 16-mixed only)")
        bad = history.table("gradient/nonfinite")
        skipped = np.nansum(bad.matrix, axis=1) > 0 if bad.matrix.size else np.zeros(0, dtype=bool)
        low = scale < self.min_scale
        stuck = len(skipped) >= self.last_samples and bool(skipped[-self.last_samples :].all())
        if not low[-1] and not stuck:
            return
        runs = np.flatnonzero(~(low if low[-1] else skipped))
        where = steps if low[-1] else bad.steps
        first = int(where[runs[-1] + 1]) if len(runs) else int(where[0])
        message = (
            f"The loss scale went from {scale[0]:.3g} to {scale[-1]:.3g} in steps {int(steps[0])} to {int(steps[-1])}, "
            f"and {int(skipped.sum())} of {len(skipped)} sampled steps were skipped for non-finite gradients. No scale "
            "is small enough: what is not finite does not come from the scaling, and no step is taken."
        )
        advice = (_BF16, _ANOMALY, _RATE)
        yield Finding(
            self.code, self.name, self.severity, "", first, float(scale[-1]), self.min_scale, message, int(steps[-1]),
            prescriptions=advice,
        )  # fmt: skip
