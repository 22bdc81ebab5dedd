"""V003 validation-better-than-training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.metrics import aligned, pairs, words
from lightning_diag.rules.rule import Unmeasured, percent

_COMPARE = Prescription("Evaluate the training set in eval mode (trainer.validate(model, train_loader)) and compare.")


@final
@dataclass(frozen=True, kw_only=True)
class ValidationBetterThanTraining:
    """The validation loss is lower than the training loss.

    What it finds:
        In the last validation runs the validation loss lies ``min_gap`` or more below the training loss around it, each
        time. An info, with the most probable reason that can be seen: dropout, a training loss that is an average over
        the epoch, a penalty.

    Why it matters:
        Mostly harmless: dropout, augmentation and penalties act in training only. Without these, the validation set
        may be easier, or hold what was trained on.

    When it is silent:
        Fewer than ``min_runs`` validation runs; a difference within noise.

    What to do:
        Evaluate the training set in eval mode once and compare. If the gap stays, look at the split.

    Source:
        Geron, "Why is my validation loss lower than my training loss?" (2019).
    """

    code: ClassVar[str] = "V003"
    name: ClassVar[str] = "validation-better-than-training"
    severity: ClassVar[Severity] = Severity.INFO
    needs: ClassVar[tuple[str, ...]] = ()
    min_gap: float = 0.1
    min_runs: int = 4

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        found = [(t, v) for t, v in pairs(history) if "loss" in words(v)]
        if not found:
            raise Unmeasured("no training and validation loss of the same name were logged")
        train, validate = found[0]
        steps, low, high = aligned(history.series(train), history.series(validate, "validate"))
        if len(steps) < self.min_runs:
            raise Unmeasured(f"{len(steps)} validation runs; {self.min_runs} are needed")
        t, v = low[-self.min_runs :], high[-self.min_runs :]
        if not ((t > 0).all() and (v < (1 - self.min_gap) * t).all()):
            return
        gap = float(np.median(1 - v / t))
        reason = "dropout acts in training only" if history.run.get("dropout") else "without dropout, look at the split"
        message = (
            f"In the last {self.min_runs} validation runs {validate.removeprefix('metric/')} "
            f"({v[-1]:.4g}) is {percent(gap)} "
            f"lower than the training loss around it ({t[-1]:.4g}); {reason}."
        )
        first, last = int(steps[-self.min_runs]), int(steps[-1])
        yield Finding(self.code, self.name, self.severity, "", first, gap, self.min_gap, message, last, "", (_COMPARE,))
