"""G006 noisy-gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.phase import is_learning, matrices, pick
from lightning_diag.rules.rule import Unmeasured, check_range, percent
from lightning_diag.trends import medians

_BATCH = Prescription("Use larger batches, or accumulate: Trainer(accumulate_grad_batches=4).", {"batch_size": "x4"})
_AVERAGE = Prescription("Average the weights over the last part of training, or decay the learning rate.")


@final
@dataclass(frozen=True, kw_only=True)
class NoisyGradient:
    """Gradients point somewhere else at every step: next to nothing of them stays in their mean.

    What it finds:
        Of Adam's own averages: the squared running mean over the running mean square. Independent gradients without
        a common part give (1 - beta1) / (1 + beta1), 0.053 for beta1 0.9. Where the median over weight matrices stays
        within ``max_excess`` times of that after the start, and the loss does not fall. Always an info.

    Why it matters:
        Steps then are a random walk; what is learned comes from many of them together. Larger batches help up to
        where noise and signal are about equal.

    When it is silent:
        The loss falls: noise alone is no fault, and all gradients become noise near a minimum. Optimizers that keep
        no averages: unmeasured.

    What to do:
        Larger batches, accumulation, a lower learning rate late in training.

    Source:
        McCandlish, Kaplan, Amodei, An Empirical Model of Large-Batch Training (2018); Kingma and Ba, Adam (2015), 2.1,
        on the signal-to-noise ratio.
    """

    code: ClassVar[str] = "G006"
    name: ClassVar[str] = "noisy-gradient"
    severity: ClassVar[Severity] = Severity.INFO
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    max_excess: float = 1.5
    after_step: int = 50

    def __post_init__(self) -> None:
        check_range(self, "max_excess", 1.0, 100.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the whole model."""
        table = history.table("gradient/signal_share")
        names = tuple(n for n in matrices(history) if n in table.sites)
        steps = table.steps[table.steps >= self.after_step]
        beta = self._beta(history)
        if not names or len(steps) < 3 or not 0 < beta < 1:
            raise Unmeasured(
                "the share of signal is read from Adam's averages, after the first 50 steps; none were seen"
            )
        share = pick(history, "gradient/signal_share", names, steps)
        share = share[np.isfinite(share).any(axis=1)]
        if len(share) < 3:
            raise Unmeasured(f"{len(share)} samples of Adam's averages; 3 are needed")
        level, floor = float(np.median(medians(share))), (1 - beta) / (1 + beta)
        limit = self.max_excess * floor
        if level > limit or is_learning(history):
            return
        message = (
            f"Of the mean square of the gradients {percent(level)} stays in their running mean (median of {len(names)} "
            f"weight matrices, steps {int(steps[0])} to {int(steps[-1])}); without any common part it would be "
            f"{percent(floor)}. The steps are about a random walk, and the loss does not fall."
        )
        first, last = int(steps[0]), int(steps[-1])
        advice = (_BATCH, _AVERAGE)
        yield Finding(self.code, self.name, self.severity, "", first, level, limit, message, last, "", advice)

    @staticmethod
    def _beta(history: History) -> float:
        """Return beta1 of the first optimizer that states betas, 0 where none does."""
        for optimizer in history.run.get("optimizers") or ():
            for group in optimizer.get("groups", ()):
                if betas := group.get("betas"):
                    return float(betas[0])
        return 0.0
