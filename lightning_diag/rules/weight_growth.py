"""W007 weight-growth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History, Ints
from lightning_diag.rules.gains import fan_in, is_affine, resets_scale
from lightning_diag.rules.phase import Bools, first_break, is_matrix, is_running, pick, steps_seen
from lightning_diag.rules.rule import Unmeasured, check_range
from lightning_diag.trends import concordance

_SIGN = Prescription("Check the sign of every term of the loss: a reward for large weights or outputs has no optimum.")
_DECAY = Prescription("Hold the weights: weight decay (AdamW, weight_decay=0.01).", {"weight_decay": 0.01})
_RATE = Prescription("Lower the learning rate by a factor of 10.", {"lr": "x0.1"})


@final
@dataclass(frozen=True, kw_only=True)
class WeightGrowth:
    """Weights grow without bound.

    What it finds:
        RMS of weight matrices. It ends more than ``max_growth`` times above its start, with a gain (RMS times the
        square root of the inputs of a unit; 1.4 is He's initialization) above ``min_gain``, in ``min_matrices`` of
        the matrices; and it still grows at the end: it rises all the time (Kendall's tau above 0.95), and the second
        half of the run adds 0.8 of what the first did, as linear or faster growth does.

    Why it matters:
        Growth that does not slow down has no optimum in its way: activations and outputs grow with the weights until
        they saturate or overflow.

    When it is silent:
        Growth from a small start to a usual size; growth that slows down, like that of a classifier that becomes
        surer (logarithmic) or of random steps (square root); weights in front of a normalization, whose scale has no
        effect; fewer than ``min_steps`` steps, a learning rate still being warmed up.

    What to do:
        Look for a loss term with the wrong sign or without a lower bound; decay the weights; lower the rate.

    Source:
        Soudry et al., The Implicit Bias of Gradient Descent on Separable Data (2018), on logarithmic growth; van
        Laarhoven, L2 Regularization versus Batch and Weight Normalization (2017), on scale-invariant weights.
    """

    code: ClassVar[str] = "W007"
    name: ClassVar[str] = "weight-growth"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("parameter/rms",)
    max_growth: float = 5.0
    min_gain: float = 5.0
    min_matrices: float = 0.5
    min_steps: int = 100

    def __post_init__(self) -> None:
        check_range(self, "max_growth", 1.5, 1e30)
        check_range(self, "min_matrices", 0.0, 1.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding, at the matrix that grew most."""
        names, inputs = self._weights(history)
        steps = history.table("parameter/rms").steps
        steps = steps[steps < first_break(history)]
        enough = self.min_steps * (2 if is_running(history) else 1)
        if not names or len(steps) < 8 or steps_seen(history) < enough:
            raise Unmeasured(f"{len(names)} weight matrices, {len(steps)} samples; 1, 8 of {enough} steps are needed")
        rms = pick(history, "parameter/rms", names, steps)
        growth, gain, steady = self._growth(steps, rms, inputs)
        bad = (growth > self.max_growth) & (gain > self.min_gain) & steady
        if not bad.any() or bad.mean() < self.min_matrices:
            return
        j = int(np.argmax(np.where(bad, growth, 0.0)))
        first = int(steps[np.flatnonzero(rms[:, j] > self.max_growth * rms[0, j])[0]])
        last = int(steps[-1])
        message = (
            f"The RMS of {names[j]} grew from {rms[0, j]:.3g} at step {int(steps[0])} to {rms[-1, j]:.3g} at step "
            f"{last}, {growth[j]:.3g} times, as {int(bad.sum())} of {len(names)} weight matrices by more than "
            f"{self.max_growth:g}, and the second half of the run added as much as the first. Nothing holds them."
        )
        value, limit, advice = float(growth[j]), self.max_growth, (_SIGN, _DECAY, _RATE)
        yield Finding(self.code, self.name, self.severity, names[j], first, value, limit, message, last, "", advice)

    @staticmethod
    def _weights(history: History) -> tuple[tuple[str, ...], Floats]:
        """Return the weight matrices whose scale has an effect, and the inputs of one unit of each."""
        found: dict[str, float] = {}
        for layer in history.layers:
            for p in layer.parameters:
                if is_matrix(layer, p) and not (is_affine(layer) and resets_scale(history, layer.site.split("#")[0])):
                    found.setdefault(p, float(fan_in(history, p)))
        if not found:  # nothing but embeddings: the vectors themselves
            found = {
                p: float(fan_in(history, p)) for x in history.layers if x.type == "Embedding" for p in x.parameters
            }
        names = tuple(p for p, n in found.items() if n > 0)
        return names, np.array([found[p] for p in names])

    @staticmethod
    def _growth(steps: Ints, rms: Floats, inputs: Floats) -> tuple[Floats, Floats, Bools]:
        """Return (end over start, gain at the end, whether the second half added 0.8 of what the first did)."""
        middle = int(np.argmin(np.abs(steps - (steps[0] + steps[-1]) / 2)))
        with np.errstate(all="ignore"):
            growth = np.nan_to_num(rms[-1] / rms[0], nan=0.0, posinf=0.0)
            steady = (rms[-1] - rms[middle] >= 0.8 * (rms[middle] - rms[0])) & (rms[-1] > 1.1 * rms[middle])
        rises = np.array([concordance(column) > 0.95 for column in rms.T])
        return growth, np.nan_to_num(rms[-1] * np.sqrt(inputs)), np.asarray(steady & rises, dtype=np.bool_)
