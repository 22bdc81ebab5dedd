"""G005 clipping-always-active."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.curve import pace
from lightning_diag.rules.fitness import column, fitness
from lightning_diag.rules.phase import is_running, loss_breaks, loss_descent, matrices, pick
from lightning_diag.rules.rule import Unmeasured, between, percent
from lightning_diag.trends import is_plateau

# Their steps are as long as the gradient; all others divide its size out again.
_PROPORTIONAL = {"SGD", "ASGD", "NAG", "SGDP", "SGDW", "Lars", "LARS"}

_STEADY = 0.6  # of the average pace, at the end: what is clipped goes at one speed


@final
@dataclass(frozen=True, kw_only=True)
class ClippingAlwaysActive:
    """Gradients are clipped at nearly every step, to a small part of themselves, and learning creeps.

    What it finds:
        An optimizer whose steps are as long as the gradient (SGD), a gradient norm above the clipping threshold at
        ``min_share`` of the samples and ``min_factor`` times it in the median (or, where a program clips by hand, a
        norm that is the same number at every step), steps that change the weights by less than ``max_ratio`` of
        themselves, and a loss that does not fall, or still falls at the end without being good. Or a norm
        more than ``min_throttle`` times the threshold (by hand: the same at every step), and a loss that comes down in
        a straight line to the end.

    Why it matters:
        The learning rate in effect is the rate times threshold over norm: a threshold far below the usual norm makes
        it as many times smaller, and removes the length of the gradient from the step.

    When it is silent:
        Adam and other optimizers that do not care for the scale of gradients; thresholds that cut only peaks; runs
        that learn at the pace they have.

    What to do:
        Set the threshold at a high percentile of the norm, or raise the learning rate by the same factor.

    Source:
        Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks (2013), 3.2: a threshold
        from statistics on the average norm.
    """

    code: ClassVar[str] = "G005"
    name: ClassVar[str] = "clipping-always-active"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("total/gradient_norm", "update/ratio")
    min_share: float = 0.9
    min_factor: float = 5.0
    max_ratio: float = 3e-4
    min_throttle: float = 30.0
    min_samples: int = 8

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the whole model."""
        steps, norm = column(history, "total/gradient_norm", "")
        if is_running(history) or len(norm) < self.min_samples:
            raise Unmeasured(f"{len(norm)} samples of a finished run; {self.min_samples} are needed")
        kinds = [str(o.get("type", "")) for o in history.run.get("optimizers") or ()]
        if not kinds or not all(k in _PROPORTIONAL for k in kinds) or loss_breaks(history):
            return
        limit, by_hand = self._threshold(history, norm)
        if not limit > 0:
            return
        share, factor = float((norm > limit).mean()), float(np.median(norm)) / limit
        if not by_hand and (share < self.min_share or factor < self.min_factor):
            return
        names = matrices(history)
        at = history.table("update/ratio").steps
        ratio = pick(history, "update/ratio", names, at)
        ratio = ratio[np.isfinite(ratio)]
        hard = by_hand or factor > self.min_throttle
        throttled = hard and pace(history.series("loss").values) > _STEADY
        if not len(ratio) or not (np.median(ratio) < self.max_ratio or throttled) or not self._creeps(history):
            return
        step = float(np.median(ratio))
        text = (
            f"The gradient norm was the same number, {limit:.3g}, at nearly every step"
            if by_hand
            else f"The gradient norm was above the clipping threshold {limit:g} at {percent(share)} of "
            f"{len(norm)} sampled steps, {factor:.2g} times it in the median"
        )
        first, last = int(steps[0]), int(steps[-1])
        text += (
            f" ({between(first, last)}), and a step changes the weights by {step:.1g} of themselves. The clipping, not "
            "the learning rate, sets the pace, and it is too slow for this run."
        )
        advice = (
            Prescription(
                f"Raise the threshold to what the norm seldom exceeds: gradient_clip_val={np.quantile(norm, 0.9):.2g}, "
                "or remove it.",
                {"gradient_clip_val": None if by_hand else float(f"{np.quantile(norm, 0.9):.2g}")},
            ),
        )
        value = 1.0 if by_hand else factor
        yield Finding(self.code, self.name, Severity.WARNING, "", first, value, self.min_factor, text, last, "", advice)

    def _threshold(self, history: History, norm: Floats) -> tuple[float, bool]:
        """Return (threshold, whether a program clips by hand), 0 where nothing is clipped."""
        clip = history.run.get("gradient_clip_val")
        if clip:
            wired = history.run.get("wiring") or {}
            if wired.get("gradient_clip_algorithm", "norm") == "norm":
                return float(clip), False
            sizes = [int(np.prod(s or ())) for s, trainable, _ in (wired.get("parameters") or {}).values() if trainable]
            return float(clip) * float(np.sqrt(sum(sizes))), False  # the norm of a gradient that is clipped everywhere
        middle = float(np.median(norm))
        same = np.abs(norm - middle) <= 1e-3 * middle
        return (middle, True) if middle > 0 and same.mean() >= self.min_share else (0.0, False)

    @staticmethod
    def _creeps(history: History) -> bool:
        """Tell whether the loss does not fall, or still does at the end without being good."""
        if fitness(history) == "good":
            return False
        loss = history.series("loss").values
        return loss_descent(history).kind in ("flat", "slight", "rising") or not is_plateau(loss)
