"""H007 loss-scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.calls import Call, differences, first_step, last_step, learned_calls, square_bounds
from lightning_diag.rules.phase import at_steps, first_break, is_running, loss_breaks, loss_descent, matrices, pick
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.trivial import trivial_loss
from lightning_diag.trends import is_plateau, medians

_MEAN = Prescription("Take the mean: reduction='mean', or .mean() in place of .sum().")
_FACTOR = Prescription("Take the factor out of the loss (it is {k:.3g}), or divide the learning rate by it.")
_SCALED: Final = ("SGD", "ASGD")  # their step is as long as the gradient; all others divide by its size
_SANE = 0.3  # of its size; a first step that changes a weight by less does not make a run explode
_NOTHING = 0.8  # of the loss of a predictor that ignores its input: about nothing was learned
_MUCH = 8.0  # a factor that a learning rate is seldom wrong by without being wrong itself


@final
@dataclass(frozen=True, kw_only=True)
class LossScale:
    """The loss is a sum, or is multiplied, so that steps are far too long or too short.

    What it finds:
        How many times the mean per element the training loss is: the number of elements where a loss call sums, times
        the constant factor between the training loss and the call; of a squared error written by hand the least
        factor that the sizes of prediction and target allow. It is a finding only with harm that the factor explains:
        the loss breaks or rises and the steps were longer than ``long_step`` of the weights, but would not be without
        the factor; or the loss hardly falls and steps are shorter than ``short_step``, but would not be without it.

    Why it matters:
        The gradient is multiplied with the loss. A sum over a batch multiplies the learning rate by the batch size.

    When it is silent:
        Optimizers that divide by the size of the gradient (Adam, RMSprop, ...); sums with a learning rate that fits
        them; clipping that keeps the steps short; steps too long even without the factor.

    What to do:
        Take the mean, and choose weights of loss terms near 1.

    Source:
        PyTorch documentation of torch.nn.MSELoss, reduction; Goyal et al., Accurate, Large Minibatch SGD (2017), 2,
        on the mean over the batch and the learning rate; Ben Braiek and Khomh, TheDeepChecker (2022), loss reduction.
    """

    code: ClassVar[str] = "H007"
    name: ClassVar[str] = "loss-scale"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("loss", "update/ratio")
    long_step: float = 0.1
    short_step: float = 1e-3

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the whole run."""
        optimizers = [str(o.get("type")) for o in history.run.get("optimizers") or ()]
        if not optimizers:
            raise Unmeasured("the optimizer is not known")
        if any(o not in _SCALED for o in optimizers):
            return
        factor, what = self._factor(history)
        if not factor > 0 or 1 / _MUCH < factor < _MUCH:
            return
        breaks, loss = loss_breaks(history), loss_descent(history)
        names = matrices(history)
        steps = history.table("update/ratio").steps
        steps = steps[steps < first_break(history)] if breaks else steps
        ratio, weight = (pick(history, s, names, steps) for s in ("update/ratio", "parameter/rms"))
        ratio = np.where(weight > 0.01 * np.nan_to_num(weight).max(axis=1, initial=0.0, keepdims=True), ratio, np.nan)
        rows = _medians(ratio)
        if not len(rows):
            raise Unmeasured("no update of a weight matrix was sampled")
        if factor > 1:
            long = rows[(rows > self.long_step) & (rows / factor < _SANE)]
            harmed = breaks or (loss.kind != "unknown" and (loss.kind != "falling" or self._rose(history)))
            # a run that explodes multiplies its own steps: the first must be sane without the factor
            if harmed and len(long) and rows[0] / factor < _SANE:
                yield self._finding(history, factor, float(long.max()), f"{what}, {self._came_to(breaks)}", "long")
            return
        usual = float(np.median(rows))
        slow = loss.kind in ("flat", "slight") or (
            loss.kind == "falling"
            and loss.relative < 0.3
            and (not is_plateau(history.series("loss").values) or self._knows_nothing(history))
        )
        sane = self.short_step < usual / factor < self.long_step
        if slow and not is_running(history) and usual < self.short_step and sane:
            yield self._finding(history, factor, usual, f"{what}, and the loss hardly falls", "short")

    @staticmethod
    def _factor(history: History) -> tuple[float, str]:
        """Return (training loss over the mean per element, how it came to be)."""
        by_hand = differences(history)
        if by_hand:
            steps, _, most = square_bounds(history, by_hand[-1])
            total = np.abs(at_steps(history, "loss", steps))
            with np.errstate(all="ignore"):
                least = total / np.maximum(most, np.sqrt(most))
            known = least[np.isfinite(least)][:8]
            found = float(np.median(known)) if len(known) >= 3 else math.nan
            return (found if found > 1 else math.nan), "The loss, written by hand, is far more than a mean"
        calls = learned_calls(history)
        if len(calls) > 1:
            raise Unmeasured("several losses are added: which is too large is not known")
        return _of_call(calls[0])

    @staticmethod
    def _knows_nothing(history: History) -> bool:
        """Tell whether the loss call, without the factor, ends about where a predictor that ignores its input is."""
        values = learned_calls(history)[0].stat("loss_call/value")
        values = values[np.isfinite(values)]
        return len(values) > 0 and bool(np.median(values[-5:]) > _NOTHING * trivial_loss(history))

    @staticmethod
    def _rose(history: History) -> bool:
        values = history.series("loss").values
        values = values[np.isfinite(values)]
        return bool(len(values) > 8 and np.max(values[1 : len(values) // 2 + 2]) > 2 * abs(values[0]) + values[0])

    @staticmethod
    def _came_to(breaks: bool) -> str:
        return "and the loss breaks" if breaks else "and the loss does not come down as it should"

    def _finding(self, history: History, factor: float, step: float, what: str, kind: str) -> Finding:
        first, last = first_step(history), last_step(history)
        limit = self.long_step if kind == "long" else self.short_step
        message = (
            f"{what}: it is {factor:.3g} times the mean per element, and a step changes the weights by {step:.2g} of "
            f"their size (steps {first} to {last}). Without the factor it would be {step / factor:.2g}; this optimizer "
            f"makes steps as {kind} as the loss is {'large' if kind == 'long' else 'small'}."
        )
        scaled = Prescription(_FACTOR.text.format(k=factor), {"lr": f"x{1 / factor:.2g}"})
        level = Severity.ERROR if kind == "long" else Severity.WARNING
        advice = (_MEAN, scaled) if kind == "long" else (scaled,)
        return Finding(self.code, self.name, level, "", first, factor, limit, message, last, "", advice)


def _of_call(call: Call) -> tuple[float, str]:
    """Return the factor of a loss call: elements summed, times what the call was multiplied with."""
    total, value = at_steps(call.history, "loss", call.steps), call.stat("loss_call/value")
    with np.errstate(all="ignore"):
        quotient = np.abs(total / value)
    known = quotient[np.isfinite(quotient)]
    constant = len(known) >= 3 and float(np.quantile(known, 0.9) - np.quantile(known, 0.1)) < 0.01 * np.median(known)
    k = float(np.median(known)) if constant else 1.0
    summed = math.prod(call.shape("target")) if call.reduction == "sum" else 1
    told = [f"{call.named} sums {summed} elements"] if summed > 1 else []
    if abs(math.log(max(k, 1e-30))) > 0.1:
        told.append(f"the loss is {k:.3g} times what {call.named} gives")
    text = " and ".join(told)
    return k * summed, text[:1].upper() + text[1:]


def _medians(ratio: Floats) -> Floats:
    """Return the median over the matrices of each sample, samples without any left out."""
    kept = ratio[np.isfinite(ratio).any(axis=1)] if ratio.size else ratio[:0]
    return medians(kept) if len(kept) else np.zeros(0)
