"""W001 update-too-large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History, Ints
from lightning_diag.rules.phase import (
    Bools,
    first_break,
    is_running,
    loss_breaks,
    loss_descent,
    matrices,
    pick,
    steps_seen,
)
from lightning_diag.rules.rule import Unmeasured, between
from lightning_diag.trends import medians, smooth

_RATE = Prescription("Lower the learning rate by a factor of 10.", {"lr": "x0.1"})
_WARMUP = Prescription("Warm the learning rate up over the first few hundred steps.", {"warmup": 500})
_CLIP = Prescription("Clip gradients by norm: Trainer(gradient_clip_val=1.0).", {"gradient_clip_val": 1.0})


@final
@dataclass(frozen=True, kw_only=True)
class UpdateTooLarge:
    """A step changes the weights by a large part of themselves.

    What it finds:
        Update-to-weight ratio (RMS of what the optimizer step really changed over RMS of the weight) of weight
        matrices. Where the loss does not fall: above ``max_ratio`` in the median of the last samples, or above
        ``max_single_ratio`` in any one. Where it breaks: above ``max_learning_ratio`` in the samples before.
        Where it falls: above ``max_learning_ratio`` in the median, or above ``max_single_ratio`` in any one if
        the loss first shot up by twice of all that it fell. In each case for ``min_matrices`` of the matrices.

    Why it matters:
        The gradient holds only near the weights where it was computed. A step as long as the weights themselves
        lands where it says nothing: the loss bounces or diverges, and units may die for good.

    When it is silent:
        The loss falls at a ratio that looks high; matrices that start at zero or tiny and still grow, as heads
        and adapters do; the first steps of Adam; biases, norm scales and embeddings. A healthy ratio is about
        0.001, but ten or fifty times that is harmless often enough.

    What to do:
        Lower the learning rate by 10 and look at this ratio again; warm it up; clip.

    Source:
        LeCun et al., Efficient BackProp (1998), 4.7; Karpathy, CS231n notes, ratio of weights to updates; You,
        Gitman, Ginsburg, Large Batch Training of Convolutional Networks (2017), 3, on the ratio over layers.
    """

    code: ClassVar[str] = "W001"
    name: ClassVar[str] = "update-too-large"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("update/ratio", "parameter/rms", "loss")
    max_ratio: float = 0.1
    max_single_ratio: float = 1.0
    max_learning_ratio: float = 0.5
    min_matrices: float = 0.25
    min_steps: int = 20
    last_samples: int = 8

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for the whole model, at its worst matrix."""
        names, steps, ratio = self._ratios(history)
        loss, breaks = loss_descent(history), loss_breaks(history)
        enough = self.min_steps * (5 if is_running(history) else 1)
        if not breaks and (loss.kind == "unknown" or steps_seen(history) < enough or len(steps) < 5):
            raise Unmeasured(f"{len(steps)} samples of {steps_seen(history)} steps; 5 of {enough} are needed")
        if breaks:  # what a broken loss did to the weights says nothing of the steps before
            ratio, steps = ratio[steps < first_break(history)], steps[steps < first_break(history)]
        recent = ratio[-(4 if breaks else self.last_samples) :]
        level = _medians(recent) if len(recent) else None
        if level is None:
            raise Unmeasured("no finite update was sampled before the loss broke; sample every step")
        learning = loss.kind == "falling" and not breaks
        peak = np.nanmax(np.vstack([recent if breaks else ratio, np.zeros((1, len(names)))]), axis=0)
        if breaks and not self._rose(history, share=1.0) and not self._enough(peak > self.max_single_ratio):
            return  # it broke without having grown: not by long steps
        limit = self.max_learning_ratio if learning or breaks else self.max_ratio
        if self._enough(level > limit):
            yield self._finding(history, (names, steps, ratio), level, limit, learning)
            return
        harmful = self._rose(history, share=2.0) if learning else loss.kind != "slight"
        if harmful and self._enough(peak > self.max_single_ratio):
            yield self._finding(history, (names, steps, ratio), peak, self.max_single_ratio, learning)

    @staticmethod
    def _rose(history: History, share: float) -> bool:
        """Tell whether the loss once rose above its start by ``share`` times all that it fell in the end.

        Where it did not fall, by ``share`` times its first value.
        """
        values = history.series("loss").values
        values = values[np.isfinite(values)]
        if len(values) < 2:
            return False
        first, end = float(values[0]), float(np.median(values[-max(1, len(values) // 5) :]))
        top = float(np.max(smooth(values[:200], 3))) if len(values) > 8 else float(values.max())
        return top - first > share * (first - end if first > end else abs(first))

    def _enough(self, above: Bools) -> bool:
        return bool(above.any()) and float(above.mean()) >= self.min_matrices

    @staticmethod
    def _ratios(history: History) -> tuple[tuple[str, ...], Ints, Floats]:
        """Return (names, steps, ratios), NaN where a matrix is far smaller than the others or grows from nothing."""
        names = matrices(history)
        if not names:
            raise Unmeasured("no weight matrix was seen")
        steps = history.table("update/ratio").steps
        ratio, weight = (pick(history, s, names, steps) for s in ("update/ratio", "parameter/rms"))
        usual = medians(np.vstack([np.nan_to_num(weight), np.zeros_like(weight[:1])]))[:-1, None]
        ratio = np.where((weight > 0.01 * usual) & np.isfinite(ratio), ratio, np.nan)
        known: Bools = np.atleast_1d(np.isfinite(ratio).any(axis=0))
        rows = np.isfinite(ratio).any(axis=1)
        return tuple(n for n, k in zip(names, known, strict=True) if k), steps[rows], ratio[rows][:, known]

    def _finding(
        self, history: History, seen: tuple[tuple[str, ...], Ints, Floats], level: Floats, limit: float, learning: bool
    ) -> Finding:
        names, steps, ratio = seen
        worst = int(np.nanargmax(level))
        bad = steps[np.nan_to_num(ratio[:, worst]) > limit]
        first, last = int(bad[0]), int(bad[-1])
        rates = [n for n in history.series_names("train") if n.startswith("learning_rate/")]
        rate = f" at learning rate {np.nanmax(history.series(rates[0]).values):.3g}" if rates else ""
        bad_end = loss_breaks(history) or loss_descent(history).kind == "rising"
        end = (
            "and the loss diverges" if bad_end else "while the loss falls" if learning else "and the loss does not fall"
        )
        message = (
            f"A step changed {names[worst]} by {level[worst]:.2g} times its own size{rate} {between(first, last)}, as "
            f"{int((level > limit).sum())} of {len(names)} weight matrices by more than {limit:g}, {end}. A gradient "
            "holds only near the weights it was computed at; steps this long overshoot."
        )
        severity = Severity.ERROR if bad_end or (not learning and level[worst] > 0.5) else Severity.WARNING
        advice = (_RATE, _WARMUP, _CLIP)
        value = float(level[worst])
        return Finding(self.code, self.name, severity, names[worst], first, value, limit, message, last, "", advice)


def _medians(rows: Floats) -> Floats:
    """Return the median of each column, NaN where a column holds nothing else."""
    found = np.full(rows.shape[1], np.nan)
    seen = ~np.isnan(rows).all(axis=0)
    found[seen] = medians(rows[:, seen].T)
    return found
