"""A005 collapsed-output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History, Ints
from lightning_diag.rules.calls import (
    BINARY,
    SQUARED_LIKE,
    Call,
    differences,
    first_step,
    learned_calls,
    maker,
    output_layer,
    seen_at,
)
from lightning_diag.rules.metrics import already_good, is_improving
from lightning_diag.rules.phase import is_running, loss_breaks, pick, steps_seen
from lightning_diag.rules.rule import Unmeasured, check_range
from lightning_diag.rules.seen import floats, inputs
from lightning_diag.rules.trivial import is_stuck_at, trivial_loss
from lightning_diag.trends import descent

_BEFORE = Prescription("Look at the layers before: dead or saturated units, a constant input, weights decayed to zero.")
_ONE = Prescription("One unit: use torch.sigmoid and F.binary_cross_entropy_with_logits, or give the layer 2 outputs.")
_OVERFIT = Prescription("Train on one batch: Trainer(overfit_batches=1); outputs must then differ between samples.")
_EXACT = 1e-5  # share of what is the same for every sample but for rounding
_TRIVIAL = 0.1  # share that is next to nothing where the loss says the same
_LOGITS = ("cross_entropy", "nll_loss", *BINARY)


@final
@dataclass(frozen=True, kw_only=True)
class CollapsedOutput:
    """The model puts out the same for every sample.

    What it finds:
        In the second half of the run the predictions of different samples of a batch differ by less than ``max_share``
        (of logits and probabilities absolutely, which is what changes no decision; of numbers compared with the spread
        of the targets and with their own size), in all samples but one in ten, while targets differ and the loss does
        not fall; a tenth is as little for a reconstruction whose loss rests at that of a constant. Or, from the first
        step on, a softmax over a single unit, which is always 1.

    Why it matters:
        A constant ignores its input. The best it can do is the mean target or the most frequent class.

    When it is silent:
        The loss falls in the second half or a metric improves; targets hardly differ; a model without inputs; the
        first ``min_steps`` steps, where regressions pass through the mean; several optimizers, where a discriminator
        rightly comes to say the same of all. Rare classes (less than 5 %) make it info.

    What to do:
        It is mostly a consequence: look for dead or saturated units, a penalty that outweighs the data, a constant
        input. Over one unit use a sigmoid.

    Source:
        Zhang et al., AUTOTRAINER (2021), and Ben Braiek and Khomh, TheDeepChecker (2022), on constant outputs;
        Lu et al., Dying ReLU and Initialization (2020), on networks that collapse to the mean.
    """

    code: ClassVar[str] = "A005"
    name: ClassVar[str] = "collapsed-output"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    max_share: float = 0.01
    min_steps: int = 50
    min_samples: int = 5

    def __post_init__(self) -> None:
        check_range(self, "max_share", 0.0, 0.5)
        check_range(self, "min_steps", 20, 10**9)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the first loss call or difference where it is so."""
        by_hand = differences(history)
        calls = [] if by_hand else learned_calls(history, *SQUARED_LIKE, *_LOGITS)
        for call in calls:
            if (kind := self._single(call)) is not None:
                yield self._one(call, kind)
                return
        if len(history.run.get("optimizers") or ()) > 1:
            raise Unmeasured("several optimizers: an opponent's output may rightly be constant")
        if steps_seen(history) < self.min_steps * (4 if is_running(history) else 1):
            raise Unmeasured(f"{steps_seen(history)} steps; {self.min_steps} are needed")
        stuck = is_stuck_at(history, trivial_loss(history))
        if not history.run.get("data") or loss_breaks(history):
            return
        falls, given = self._falls(history), bool(inputs(history))
        learns = falls or is_improving(history) or bool(already_good(history))
        for seen in [self._of_call(c) for c in calls] + [self._of_difference(history, f) for f in by_hand[-1:]]:
            steps, share, rare, what = seen
            late = steps >= steps_seen(history) // 2
            same = given and late.any() and not falls and float(np.median(share[late])) < _EXACT
            mean = not given and (stuck or any(self._at_mean(c) for c in calls))
            if not same and not mean and (learns or not given):
                continue
            limit = _TRIVIAL if mean else self.max_share
            if late.sum() >= self.min_samples and float((share[late] < limit).mean()) >= 0.9:
                yield self._collapsed(history, steps[late], share[late], rare, what)
                return

    @staticmethod
    def _at_mean(call: Call) -> bool:
        """Tell whether a reconstruction is as bad to the end as the mean of all samples, however it is summed up."""
        facts = ((call.history.run.get("data") or {}).get("train") or {}).get(call.target) or {}
        power, values = floats(facts, "std") ** 2, call.stat("loss_call/value")
        values = values[np.isfinite(values)][len(values) // 2 :]
        if call.loss != "mse_loss" or call.reduction == "sum" or len(power) < 2 or len(values) < 4:
            return False
        return bool(np.median(values) > 0.9 * power.mean() > 0)

    @staticmethod
    def _falls(history: History) -> bool:
        values = history.series("loss").values
        return descent(values[len(values) // 2 :]).kind in ("falling", "slight")

    @staticmethod
    def _single(call: Call) -> str | None:
        """Return what makes a constant out of a single unit, None if nothing does."""
        logs = call.made_by == "log_softmax" and call.within(0, 0)
        if call.loss == "cross_entropy" and call.classes == 1:
            return ""
        constant = (call.made_by == "softmax" and call.within(1, 1)) or logs
        return call.made_by if constant and len(call.steps) >= 2 else None

    def _of_call(self, call: Call) -> tuple[Ints, Floats, bool, str]:
        steps, spread = call.steps, call.stat("prediction/sample_std")
        target, size = call.stat("target/std"), call.stat("prediction/rms")
        differ = np.nan_to_num(target) > 1e-6 * np.maximum(np.nan_to_num(call.stat("target/rms")), 1e-30)
        known = np.isfinite(spread) & differ & (call.reduction != "none" or self._at_mean(call))
        if call.loss in _LOGITS:
            share = spread
        else:
            share = _share(spread, target, size)
        return steps[known], share[known], _rare(call.history), f"that {call.named} is given"

    def _of_difference(self, history: History, fact: object) -> tuple[Ints, Floats, bool, str]:
        given = dict(fact) if isinstance(fact, dict) else {}
        layer = output_layer(history, str(given.get("made_by") or ""))
        path = str(given.get("target") or "")
        steps, target = seen_at(history, "batch/std", path)
        if layer is None or not len(steps):
            return steps[:0], target[:0], False, ""
        spread, size = (pick(history, f"activation/{s}", (layer.site,), steps)[:, 0] for s in ("sample_std", "rms"))
        share = _share(spread, target, size)
        known = np.isfinite(share)
        return steps[known], share[known], _rare(history), f"of {layer.site}"

    def _collapsed(self, history: History, steps: Ints, share: Floats, rare: bool, what: str) -> Finding:
        outputs = [x.site for x in history.layers if x.role == "output"]
        first, last, value = int(steps[0]), int(steps[-1]), float(np.median(share))
        stuck = " and the loss stays at that of a constant" if value >= self.max_share else ""
        message = (
            f"The predictions {what} differ between the samples of a batch by {value:.2g} (median of {len(steps)} "
            f"samples, steps {first} to {last}; less than {self.max_share:g} is nothing){stuck}, while targets differ "
            "and the loss does not fall. The model ignores its input."
        )
        level = Severity.INFO if rare else Severity.ERROR
        site = outputs[-1] if outputs else ""
        return Finding(
            self.code, self.name, level, site, first, value, self.max_share, message, last, "", (_BEFORE, _OVERFIT)
        )

    def _one(self, call: Call, kind: str) -> Finding:
        layer = maker(call.history, kind) if kind else None
        outputs = [x.site for x in call.history.layers if x.role == "output"]
        site = layer.site if layer is not None else outputs[-1] if outputs else ""
        first = first_step(call.history)
        last = int(call.steps[-1]) if len(call.steps) else first
        message = (
            f"A softmax over a single unit gives {0 if kind == 'log_softmax' else 1} for every sample, whatever the "
            f"weights ({call.named}, steps {first} to {last}). Its gradient is exactly 0: nothing is learned."
        )
        return Finding(
            self.code, self.name, self.severity, site, first, 0.0, self.max_share, message, last, "", (_ONE,)
        )


def _share(spread: Floats, target: Floats, size: Floats) -> Floats:
    """Return the spread over samples compared with that of the targets, and with the outputs' own size or past.

    Outputs that start small beside large targets are small, not collapsed.
    """
    most = float(np.nanmax(spread)) if np.isfinite(spread).any() else 0.0
    own = np.maximum(np.nan_to_num(size), most)
    with np.errstate(all="ignore"):
        share = np.maximum(spread / target, np.where(own > 0, spread / own, 0.0))
    return np.asarray(share, dtype=np.float64)


def _rare(history: History) -> bool:
    """Tell whether all classes but one are rare."""
    counts = ((history.run.get("data") or {}).get("target") or {}).get("counts") or {}
    n = np.array([float(v) for v in counts.values()])
    return bool(len(n)) and float(n.max() / n.sum()) > 0.95
