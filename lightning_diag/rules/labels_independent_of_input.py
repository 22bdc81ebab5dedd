"""D008 labels-independent-of-input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.capacity import is_bent, narrowest
from lightning_diag.rules.metrics import words
from lightning_diag.rules.phase import at_steps, is_running, steps_seen
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import data, inputs, seen_steps
from lightning_diag.rules.trivial import is_stuck_at, trivial_loss
from lightning_diag.trends import noise, smooth

_ROWS = 100
_MANY = 8  # validation losses of which a noise can be told
_MOVING = 1e-5  # median update-to-weight ratio
_LOOK = Prescription("Print ten inputs with their targets; check how they are joined, sorted and shuffled.")
_OVERFIT = Prescription("Train a small model on a hundred samples: it must fit them, and a second hundred from them.")


@final
@dataclass(frozen=True, kw_only=True)
class LabelsIndependentOfInput:
    """Targets that have nothing to do with their inputs.

    What it finds:
        The loss on validation data (on training data where there is none) never comes below that of a predictor that
        ignores its input, by more than its noise, although weights move and gradients flow, and no linear combination
        of the input features tells more of the target than chance would (R2 below twice features / distinct rows).

    Why it matters:
        There is nothing to learn: inputs and targets were shuffled apart, joined by the wrong key, or the labels are
        noise. A large network then learns them by heart.

    When it is silent:
        The validation loss comes below the trivial one; a linear relation shows; the weights hardly move; fewer
        than ``min_steps`` steps. Unmeasured where the loss of a constant is not known, or where the network has no
        nonlinearity or a layer of ``max_width`` units.

    What to do:
        Look at ten samples with their targets. Check joins, sorting, and that shuffling is applied to both alike.

    Source:
        Zhang et al., Understanding Deep Learning Requires Rethinking Generalization (2017), 2: random labels.
    """

    code: ClassVar[str] = "D008"
    name: ClassVar[str] = "labels-independent-of-input"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    min_steps: int = 100
    tolerance: float = 0.02
    max_width: int = 2

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        trivial = trivial_loss(history)
        if not np.isfinite(trivial) or trivial <= 0:
            raise Unmeasured("the loss of a constant prediction is not known for this loss")
        if steps_seen(history) < self.min_steps or is_running(history):
            raise Unmeasured(f"judged at the end of {self.min_steps} steps or more")
        narrow = narrowest(history)
        if history.layers and (not is_bent(history) or (narrow is not None and narrow.units <= self.max_width)):
            raise Unmeasured("so small a network may well miss what inputs tell of the targets")
        fit = data(history).get("fit") or {}
        seen = inputs(history)
        distinct = max((int(f.get("distinct") or 0) for f in seen.values()), default=0)
        if "linear_r2" not in fit or distinct < _ROWS or fit["features"] * 4 > distinct:
            raise Unmeasured("too few distinct rows for the number of features, or targets and features were not found")
        if "loss_call/value" in history.statistics:
            call = history.table("loss_call/value")
            own, whole = _middle(call.matrix[:3]), _middle(at_steps(history, "loss", call.steps[:3]))
            if not 0.5 < whole / own < 2:
                raise Unmeasured("the training loss is not the loss call's value: its trivial level is not known")
        chance = 2.0 * fit["features"] / distinct
        if fit["linear_r2"] > max(chance, 0.02) or not self._moves(history):
            return
        names = [n for n in history.series_names("validate") if "loss" in words(n)]
        if names:
            values = np.concatenate([history.series(n, "validate").values for n in names])
            values = values[np.isfinite(values)]
            if len(values) < 3:
                return
            best = float(smooth(values, 3).min())  # the best of many is better by chance
            if best < trivial - max(self.tolerance * trivial, 2 * noise(values) if len(values) >= _MANY else 0.0):
                return
        else:
            if not is_stuck_at(history, trivial, tolerance=self.tolerance):
                return
            best = float(np.nanmedian(history.series("loss").values[-50:]))
        message = (
            f"The best loss on data that was not trained on is {best:.4g}, that of a predictor that ignores its input "
            f"{trivial:.4g}, after {steps_seen(history)} steps in which weights moved; "
            f"{fit['features']} features explain "
            f"{percent(fit['linear_r2'])} of the targets linearly, as chance would. Targets and inputs seem unrelated."
        )
        step, last = seen_steps(history)
        limit, advice = trivial, (_LOOK, _OVERFIT)
        yield Finding(self.code, self.name, self.severity, "", step, best, limit, message, last, "", advice)

    @staticmethod
    def _moves(history: History) -> bool:
        """Tell whether the weights as a whole move by more than rounding."""
        if "update/ratio" not in history.statistics:
            return False
        ratio = history.table("update/ratio").matrix
        ratio = ratio[np.isfinite(ratio)]
        return bool(len(ratio) and np.median(ratio) > _MOVING)


def _middle(values: Floats) -> float:
    """Return the median of the finite values, NaN where there is none."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
