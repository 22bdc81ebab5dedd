"""V002 underfitting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.capacity import is_bent, narrowest
from lightning_diag.rules.curve import finite_loss, pace, unexplained
from lightning_diag.rules.metrics import already_good
from lightning_diag.rules.phase import is_running, steps_seen
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import loss_calls

_WIDEN = Prescription("Widen the narrowest hidden layer (64 units and more cost nothing), or add one.")
_BEND = Prescription("Put a nonlinearity (nn.ReLU()) behind each hidden layer.")
_RESTING = 0.3
_CLASSES = ("cross_entropy", "nll_loss")
_SHARE, _LONG = 4, 10  # outputs to a unit of the narrowest layer; epochs after which a run is no short one


@final
@dataclass(frozen=True, kw_only=True)
class Underfitting:
    """The model is bad on its own training data, and is too small for it.

    What it finds:
        The training loss rests, at more than ``max_unexplained`` of what a constant prediction loses; and
        the network is
        too narrow to do better: it has no nonlinearity at all, or its narrowest hidden layer has no more
        than ``max_width`` units (and fewer than its inputs); where that is a quarter of the classes or fewer, the loss
        of ten epochs or more may fall a little still. For classification;
        for regression only where a hidden layer is that narrow, because noise in targets looks the same.

    Why it matters:
        A model that cannot fit what it has seen will not fit what it has not. More data or regularization only make
        it worse.

    When it is silent:
        A loss that still falls (stopped-too-early); a good score; embeddings alone (unmeasured); wide networks: what
        keeps them from fitting is another fault, or noise.

    What to do:
        Widen the narrowest layer, add a nonlinearity or a layer.

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), 5.2 and 11.3.
    """

    code: ClassVar[str] = "V002"
    name: ClassVar[str] = "underfitting"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    max_unexplained: float = 0.35
    max_width: int = 2
    min_steps: int = 100

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        values = finite_loss(history)
        if len(values) < self.min_steps or is_running(history):
            raise Unmeasured(f"judged at the end of {self.min_steps} steps or more")
        left = unexplained(history)
        if not np.isfinite(left):
            raise Unmeasured("the loss of a constant prediction is not known for this loss")
        owners = [x for x in history.layers if x.parameters]
        if owners and all(x.type.startswith("Embedding") for x in owners):
            raise Unmeasured("embeddings alone, whose products are no affine map: what they fit is not known")
        narrow, bent = narrowest(history), is_bent(history)
        tight = narrow is not None and narrow.units <= self.max_width
        classes = any("cross_entropy" in str(c.get("loss")) or c.get("loss") == "nll_loss" for c in loss_calls(history))
        small = tight or (not bent and classes)
        long = len(history.epochs) > 0 and history.epochs[-1] + 1 >= _LONG and steps_seen(history) >= 2 * self.min_steps
        throttled = narrow is not None and narrow.units * _SHARE <= _outputs(history) and long
        resting = not pace(values) > _RESTING or throttled
        if not small or left < self.max_unexplained or not resting or already_good(history):
            return
        why = (
            f"its hidden layer {narrow.site} has {narrow.units} unit(s)"
            if tight and narrow is not None
            else "it has no nonlinearity"
        )
        message = (
            f"The training loss ends at {np.median(values[-10:]):.4g}, {percent(left)} of "
            f"what a constant prediction loses, "
            f"and the network is small: {why}. It cannot fit even what it has seen."
        )
        site = narrow.site if tight and narrow is not None else ""
        steps = history.series("loss").steps
        first, last, limit = int(steps[len(steps) // 2]), int(steps[-1]), self.max_unexplained
        advice = (_WIDEN, _BEND)
        yield Finding(self.code, self.name, self.severity, site, first, left, limit, message, last, "", advice)


def _outputs(history: History) -> int:
    """Return the number of classes of a cross entropy, 0 without one."""
    shapes: list[list[int]] = [
        c.get("prediction_shape") or [] for c in loss_calls(history) if c.get("loss") in _CLASSES
    ]
    return int(shapes[0][1]) if shapes and len(shapes[0]) > 1 else 0
