"""O002 learning-rate-too-low."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.curve import finite_loss, pace, several_optimizers, unexplained
from lightning_diag.rules.learning_rate_too_high import ill_from_start
from lightning_diag.rules.metrics import already_good, is_improving
from lightning_diag.rules.phase import idle_since, is_running, loss_breaks, matrices, pick, rates_rise
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import rates
from lightning_diag.trends import is_plateau

_RATE = Prescription(
    "Raise the learning rate by a factor of 10, until a step changes weights by about 0.001.", {"lr": "x10"}
)
_FIND = Prescription("Search it: Tuner(trainer).lr_find(model).", {"lr": "search"})
_SCHEDULE = Prescription(
    "Check the unit and length of the schedule: interval='epoch' for decays by epoch, T_max and total_steps of the run."
)
_GOOD = 0.3  # share of a constant prediction's loss that is left
_NOTHING = 1e-12
_NOTHING_LEARNED, _ON_ITS_WAY = 0.8, 0.3  # of a constant prediction's loss is left; pace of the end against the average


@final
@dataclass(frozen=True, kw_only=True)
class LearningRateTooLow:
    """The learning rate is zero, too small for the length of the run, or gone too early.

    What it finds:
        The sum of all update-to-weight ratios of the run, for the median weight matrix: how far the weights can have
        moved in relation to themselves. Below ``min_travel`` while the loss gained less than ``max_gain`` of
        its start and a gradient arrives; or below ``max_travel`` while the loss is on its way down and still above 0.8
        of that of a predictor that ignores its input. Or the rate fell below a hundredth of its highest in the first
        ``early`` of the run, before the loss had come to rest. A rate of exactly 0 throughout is an error.

    Why it matters:
        Weights drawn at random must move by a few percent of their size at least to learn anything. At a ratio
        of 1e-6 a step, 1000 steps move them by a thousandth.

    When it is silent:
        Good scores; runs that continue another or have frozen parameters (fine-tuning moves little); warmup;
        fewer than ``min_steps`` steps; gradients that vanish (another fault); a decay after the loss came to rest.

    What to do:
        Raise the rate by 10 until the ratio is about 0.001 a step; check that a schedule meant for epochs is
        not stepped per batch.

    Source:
        Karpathy, CS231n notes, ratio of weights to updates; UMLAUT (Schoop et al., CHI 2021) on rates.
    """

    code: ClassVar[str] = "O002"
    name: ClassVar[str] = "learning-rate-too-low"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("loss", "update/rms", "parameter/rms")
    min_travel: float = 0.02
    max_travel: float = 0.1
    max_gain: float = 0.25
    early: float = 0.3
    min_steps: int = 60

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        known = {n: s for n, s in rates(history).items() if len(s)}
        values = finite_loss(history)
        if not known or len(values) < self.min_steps or is_running(history):
            raise Unmeasured(f"judged at the end of {self.min_steps} steps or more, with a learning rate")
        if loss_breaks(history) or several_optimizers(history):
            raise Unmeasured("the loss broke, or several optimizers work against each other")
        last = int(history.series("loss").steps[-1])
        highest = max(float(np.nanmax(s.values)) for s in known.values())
        if highest == 0:
            message = f"The learning rate is 0 in all {len(values)} steps. No weight is ever changed."
            yield Finding(self.code, self.name, Severity.ERROR, "", 0, 0.0, 0.0, message, last, "", (_RATE, _SCHEDULE))
            return
        trained = history.run.get("continues") or history.run.get("frozen") or already_good(history)
        if trained or rates_rise(history) or ill_from_start(history):
            return
        yield from self._decayed(history, values, last)
        yield from self._slow(history, values, highest, last)

    def _decayed(self, history: History, values: Floats, last: int) -> Iterator[Finding]:
        gone = idle_since(history, 0.01)
        if gone > self.early * (last + 1) or gone < 1:
            return
        steps = history.series("loss").steps[np.isfinite(history.series("loss").values)]
        before = values[steps < gone]
        if len(before) >= 16 and is_plateau(before):
            return
        left = unexplained(history)
        if np.isfinite(left) and left < _GOOD:
            return
        message = (
            f"The learning rate fell below a hundredth of its highest by step {gone} of "
            f"{last + 1}, when the loss had not come to "
            f"rest; since then it went from {np.median(values[steps >= gone][:5]):.4g} to {np.median(values[-5:]):.4g}."
        )
        share, advice = gone / (last + 1), (_SCHEDULE, _RATE)
        yield Finding(self.code, self.name, Severity.WARNING, "", gone, share, self.early, message, last, "", advice)

    def _slow(self, history: History, values: Floats, highest: float, last: int) -> Iterator[Finding]:
        names = tuple(n for n in matrices(history) if n not in set(history.run.get("frozen") or ()))
        steps = history.table("update/rms").steps
        update, weight = (pick(history, s, names, steps) for s in ("update/rms", "parameter/rms"))
        with np.errstate(all="ignore"):
            ratio = np.where(weight > 0, update / weight, np.nan)
        moving = np.isfinite(ratio).sum(axis=0) >= 3 if ratio.size else np.zeros(0, dtype=bool)
        if not moving.any():
            raise Unmeasured("no trained weight matrix was seen")
        per_step = np.nanmean(ratio[:, moving], axis=0)
        travel = float(np.median(per_step) * (last + 1))
        start, end = float(np.median(values[:3])), float(np.median(values[-max(5, len(values) // 10) :]))
        gain = (start - end) / abs(start) if start else 0.0
        left = unexplained(history)
        on_its_way = pace(values) > _ON_ITS_WAY or is_improving(history)
        nothing = np.isfinite(left) and left > _NOTHING_LEARNED and on_its_way
        near = travel < (self.max_travel if nothing else self.min_travel)
        if not near or gain > self.max_gain or travel == 0 or (np.isfinite(left) and left < _GOOD):
            return
        pull = pick(history, "gradient/rms", names, steps)[:, moving] if "gradient/rms" in history.statistics else ratio
        if np.isfinite(pull).any() and float(np.nanmedian(pull)) < _NOTHING:
            return
        message = (
            f"At a learning rate of {highest:.2g} the weights move by {np.median(per_step):.1g} of their size a step, "
            f"{percent(travel)} in all {last + 1} steps, and the loss went from {start:.4g} "
            f"to {end:.4g}. At this pace nothing is "
            "learned in a run of this length."
        )
        yield Finding(
            self.code, self.name, Severity.WARNING, "", 0, travel, self.min_travel, message, last, "", (_RATE, _FIND)
        )
