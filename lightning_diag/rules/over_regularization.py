"""O009 over-regularization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.curve import finite_loss
from lightning_diag.rules.metrics import already_good
from lightning_diag.rules.phase import is_running, loss_breaks, loss_descent, matrices, pick
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import loss_calls, rates, wiring
from lightning_diag.rules.trivial import trivial_loss as _trivial

_LESS = Prescription("Lower weight decay, dropout or penalty by a factor of 10.", {"weight_decay": "x0.1"})
_NONE = Prescription("Train without any of them first; the model must be able to overfit before it is regularized.")
_SAME = 0.05
_COUPLED = {"Adam", "RMSprop", "Adagrad", "NAdam", "RAdam", "Adamax", "Adadelta"}  # decay is part of the gradient


@final
@dataclass(frozen=True, kw_only=True)
class OverRegularization:
    """A penalty so strong that little is learned.

    What it finds:
        In a run that ends poorly: weight decay that alone would have shrunk the weights by more than a factor
        of e over the run (sum of learning rate times decay above ``max_decay``; where an adaptive optimizer divides
        a decay that outweighs the gradient by its size: of learning rates over the size of the weights) and did
        shrink their median to half or less; dropout of ``max_dropout`` or more; or a training loss of which
        ``max_penalty`` or more is not the loss call's value but what was added to it.

    Why it matters:
        The optimizer minimizes what it is given. Where the penalty outweighs the data, the best weights are zeros.

    When it is silent:
        Runs that end well; decay, dropout and penalties of usual strength; sums of several losses.

    What to do:
        Take the penalty away, see that the model can overfit, and bring it back by factors of 10.

    Source:
        Krogh, Hertz, A Simple Weight Decay Can Improve Generalization (1991); Srivastava et al., Dropout (2014), 10.
    """

    code: ClassVar[str] = "O009"
    name: ClassVar[str] = "over-regularization"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("loss", "parameter/rms")
    max_decay: float = 1.0
    max_dropout: float = 0.8
    max_penalty: float = 0.8
    poor: float = 0.6
    min_steps: int = 60

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        values = finite_loss(history)
        if len(values) < self.min_steps or is_running(history) or loss_breaks(history):
            raise Unmeasured(f"judged at the end of {self.min_steps} finite steps or more")
        if not self._poor(history):
            return
        found = self._decay(history) or self._penalty(history, values) or self._dropout(history)
        if found is not None:
            text, site, value, limit = found
            steps = history.series("loss").steps
            first, last, advice = int(steps[0]), int(steps[-1]), (_LESS, _NONE)
            yield Finding(self.code, self.name, self.severity, site, first, value, limit, text, last, "", advice)

    def _poor(self, history: History) -> bool:
        """Tell whether the data's own loss ends poorly: above a share of that of a constant prediction."""
        if already_good(history):
            return False
        trivial, data = _trivial(history), _data_loss(history)
        if np.isfinite(trivial) and trivial > 0 and len(data):
            return float(np.median(data[-max(3, len(data) // 8) :])) > self.poor * trivial
        return loss_descent(history).kind != "falling"

    def _decay(self, history: History) -> tuple[str, str, float, float] | None:
        groups = [g for o in history.run.get("optimizers") or () for g in o.get("groups", ())]
        decay = max((float(g.get("weight_decay") or 0.0) for g in groups), default=0.0)
        momentum = max((float(g.get("momentum") or 0.0) for g in groups), default=0.0)
        known = [s for s in rates(history).values() if len(s)]
        if decay <= 0 or not known:
            return None
        pull = decay * max(float(np.nansum(s.values)) * (s.steps[-1] - s.steps[0] + 1) / len(s) for s in known)
        pull /= max(1 - momentum, 0.01)
        names = matrices(history)
        weight = pick(history, "parameter/rms", names, history.table("parameter/rms").steps)
        with np.errstate(all="ignore"):
            shrunk = weight[-1] / weight[0] if len(weight) else np.zeros(0)
        shrunk = shrunk[np.isfinite(shrunk)]
        pull = max(pull, self._normalized(history, decay, names, float(np.nansum(known[0].values))))
        if pull < self.max_decay or not len(shrunk) or np.median(shrunk) > 0.5:
            return None
        text = (
            f"A weight decay of {decay:.3g} alone would shrink weights by a factor of "
            f"{np.exp(min(pull, 50)):.3g} over the run; "
            f"the median weight matrix shrank to {percent(float(np.median(shrunk)))} of its "
            f"start, and the loss stays high. The "
            "penalty outweighs the data."
        )
        return text, "", pull, self.max_decay

    @staticmethod
    def _normalized(history: History, decay: float, names: tuple[str, ...], way: float) -> float:
        """Return by how much a decay that outweighs the gradient, and is divided by its size with it, pulls.

        Added to the gradient of an adaptive optimizer it moves every weight by the rate towards zero in each step.
        """
        kinds = {str(o.get("type")) for o in history.run.get("optimizers") or ()}
        if not kinds or not kinds <= _COUPLED or not names or "gradient/rms" not in history.statistics:
            return 0.0
        weight, gradient = (history.table(f"{f}/rms") for f in ("parameter", "gradient"))
        size = np.nanmedian(pick(history, "parameter/rms", names, weight.steps[:1]))
        usual = np.nanmedian(pick(history, "gradient/rms", names, gradient.steps))
        return float(way / size) if decay * size > usual > 0 else 0.0

    def _penalty(self, history: History, values: Floats) -> tuple[str, str, float, float] | None:
        data = _data_loss(history)
        calls = loss_calls(history)
        if not len(data) or len(calls) != 1 or calls[0].get("reduction") != "mean" or (data < 0).any():
            return None
        end, own = float(np.median(values[-10:])), float(np.median(data[-3:]))
        start, own_start = float(values[0]), float(data[0])
        share = 1 - own / end if end > 0 else 0.0
        ratio = start / own_start if own_start > 0 else 0.0
        scaled = abs(end / max(own, 1e-30) / max(ratio, 1e-30) - 1) < _SAME
        if share < self.max_penalty and not (start > own_start > 0 and 1 - own_start / start > self.max_penalty):
            return None
        if scaled:
            return None  # a constant factor: loss-scale
        share = max(share, 1 - own_start / start)
        text = (
            f"{percent(share)} of the training loss is not {calls[0]['site']} ({own:.4g} at "
            f"the end, {own_start:.4g} at the start) "
            "but what is added to it. The optimizer minimizes the penalty, not the error."
        )
        return text, "", share, self.max_penalty

    def _dropout(self, history: History) -> tuple[str, str, float, float] | None:
        strong = {n: float(p) for n, p in (wiring(history).get("dropout") or {}).items() if p >= self.max_dropout}
        if not strong:
            return None
        site = max(strong, key=lambda n: strong[n])
        text = (
            f"{site} drops {percent(strong[site])} of its units in each step, and the loss "
            f"stays high. Too little of the signal "
            "is left to learn from."
        )
        return text, site, strong[site], self.max_dropout


def _data_loss(history: History) -> Floats:
    """Return the values of the only loss call on sampled steps; empty where there is none or are several."""
    if "loss_call/value" not in history.statistics or len(loss_calls(history)) != 1:
        return np.zeros(0)
    table = history.table("loss_call/value")
    site = str(loss_calls(history)[0].get("site"))
    values = table.matrix[:, table.sites.index(site)] if site in table.sites else np.zeros(0)
    return np.asarray(values[np.isfinite(values)])
