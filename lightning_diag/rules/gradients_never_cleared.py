"""O003 gradients-never-cleared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Ints
from lightning_diag.rules.fitness import column, fitness, held, shapes
from lightning_diag.rules.phase import Bools, pick
from lightning_diag.rules.rule import Unmeasured, between, percent

_CLEAR = Prescription(
    "Call optimizer.zero_grad() before each backward pass (manual optimization), or after each step()."
)
_HOOK = Prescription("If optimizer_zero_grad() or on_before_zero_grad() is overridden, let it clear the gradients.")


@final
@dataclass(frozen=True, kw_only=True)
class GradientsNeverCleared:
    """Gradients of earlier steps are still there when the next ones are added.

    What it finds:
        At ``min_share`` of the sampled steps or more the gradients of the step before were not cleared when the
        backward pass began, although an optimizer had stepped with them already. The first and the last weight matrix
        are looked at; in a batch in which both are stepped, one of them that keeps its gradient is enough.

    Why it matters:
        PyTorch adds to gradients. Without zero_grad() each step follows the sum of all gradients since the start: an
        undamped memory that overshoots, swings and often diverges.

    When it is silent:
        Accumulation over batches, where no optimizer stepped in between; gradients that another optimizer's loss
        left and that are cleared before use. A good fit makes it a warning.

    What to do:
        optimizer.zero_grad() between step() and the next backward().

    Source:
        PyTorch documentation, Optimizer.zero_grad; Lightning documentation, Manual Optimization.
    """

    code: ClassVar[str] = "O003"
    name: ClassVar[str] = "gradients-never-cleared"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()
    min_samples: int = 3
    min_share: float = 0.4

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the whole run."""
        steps, left = column(history, "total/gradients_left", "")
        ones, part = column(history, "total/gradients_left_in_part", "")
        if len(ones) and len(ones) == len(steps):
            left = np.where(_all_stepped(history, ones), part, left)
        pulled = _pulled(history, steps)  # a gradient of zeros leaves nothing that could be seen
        steps, left = steps[pulled], left[pulled]
        if len(left) < self.min_samples:
            raise Unmeasured(
                f"{len(left)} samples of a backward pass right after an optimizer step; {self.min_samples} are needed"
            )
        share = float((left > 0).mean())
        if share < self.min_share:
            return
        bad = steps[left > 0]
        first, last = int(bad[0]), int(bad[-1])
        text = (
            f"When the backward pass began, the gradients of the step before had not been cleared: at {percent(share)} "
            f"of {len(left)} sampled steps, {between(first, last)}. Each step then follows the sum of old and new "
            "gradients, as momentum without any damping."
        )
        severity = Severity.WARNING if fitness(history) == "good" else Severity.ERROR
        yield Finding(self.code, self.name, severity, "", first, share, self.min_share, text, last, "", (_CLEAR, _HOOK))


def _all_stepped(history: History, steps: Ints) -> Bools:
    """Return at which steps optimizers stepped with both the first and the last trained matrix.

    Then neither keeps a gradient on purpose. Where optimizers take turns, the backward pass of one leaves gradients in
    what the others step in other batches.
    """
    known = [(n, owner) for n, (shape, trainable, owner) in shapes(history).items() if trainable and len(shape) > 1]
    if not known or min(known[0][1], known[-1][1]) < 0:
        return np.zeros(len(steps), dtype=np.bool_)
    seen = np.isfinite(pick(history, "gradient/rms", (known[0][0], known[-1][0]), steps))
    found: Bools = np.atleast_1d(seen.all(axis=1))
    return found


def _pulled(history: History, steps: Ints) -> Bools:
    """Return at which steps the first and the last weight, which are looked at, have a gradient that is not zero."""
    names = tuple(p.name for p in held(history) if len(p.shape) > 1)
    if not names:
        return np.ones(len(steps), dtype=np.bool_)
    pull = pick(history, "gradient/rms", (names[0], names[-1]), steps)
    found: Bools = np.atleast_1d((np.isnan(pull) | (pull > 0)).all(axis=1))
    return found
