"""O004 schedule-mismatch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Series
from lightning_diag.rules.curve import unexplained
from lightning_diag.rules.metrics import already_good, words
from lightning_diag.rules.phase import idle_since, is_running, steps_seen
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import planned, rates, wiring
from lightning_diag.trends import is_plateau, noise

_UNITS = Prescription(
    "Give the schedule the length of the run in the units of its interval: "
    "T_max=trainer.estimated_stepping_batches with "
    "interval='step', or T_max=max_epochs with interval='epoch'; a warmup of 1 to 10 % of that.",
    {"schedule": "cosine"},
)
_KEEP = Prescription("Or train at a constant rate until the rest works.", {"schedule": "constant"})
_CYCLIC = {"CyclicLR", "CosineAnnealingWarmRestarts"}
_DECAYING = {
    "StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "PolynomialLR", "OneCycleLR", "LinearLR", "CyclicLR",
    "CosineAnnealingWarmRestarts",
}  # fmt: skip
_LONG = 100  # steps after which a schedule should have changed something
_GOOD = 0.2
_BARELY = 0.5
_AT_ONCE = 0.1  # of the run: so early nothing has come to rest, whatever a few noisy losses look like
_LOWER = {"loss", "error", "err", "mse", "rmse", "mae", "nll", "perplexity"}
_HIGHER = {"acc", "accuracy", "f1", "auc", "auroc", "iou", "dice", "r2", "map", "precision", "recall"}


@final
@dataclass(frozen=True, kw_only=True)
class ScheduleMismatch:
    """A learning rate schedule that does not fit the run.

    What it finds:
        The rate as it was at every step, and the schedulers. It climbs again: a cosine annealing schedule that is
        shorter than the run brings the rate back up to ``climb`` of its highest at the end. It never arrives:
        the rate rises from the first to the last step, or a one-cycle or cosine schedule is made for ``too_long`` times
        as many steps as the run has, or a schedule never changes the rate of a run that is not good. It is gone too
        early: below a hundredth of its highest for more than half of the run, while the loss had not come to rest. It
        watches the wrong way: ReduceLROnPlateau with mode "max" on a loss (or "min" on a score) has cut the rate. Info
        where the run is good nevertheless, unless the loss climbed back with the rate.

    Why it matters:
        A schedule is part of the optimizer. One that is counted in other units than the run (epochs or steps)
        trains with rates that nobody chose.

    When it is silent:
        Warm restarts and cyclic rates by their own classes; warmup followed by a decay; a decay that ends with the
        run; constant rates.

    What to do:
        T_max, total_steps and milestones in the units of ``interval``; ``trainer.estimated_stepping_batches``
        gives the number of steps.

    Source:
        Lightning, LightningModule.configure_optimizers, lr_scheduler config; torch.optim.lr_scheduler.
    """

    code: ClassVar[str] = "O004"
    name: ClassVar[str] = "schedule-mismatch"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    climb: float = 0.5
    early: float = 0.5
    too_long: float = 2.0
    min_steps: int = 40

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        schedulers = wiring(history).get("schedulers") or []
        known = [s for s in rates(history).values() if len(s) >= self.min_steps]
        if not known or is_running(history):
            raise Unmeasured(f"judged at the end of {self.min_steps} steps or more, with a learning rate")
        rate = max(known, key=lambda s: float(np.ptp(s.values)))
        if np.ptp(rate.values) <= 1e-9 * np.max(np.abs(rate.values)):
            never = self._never(history, schedulers, rate)
            if never is not None:
                yield never
            return
        kinds = {str(s.get("type")) for s in schedulers}
        wrong, climbs = self._wrong_way(schedulers, rate), self._climbs(kinds, rate)
        found = wrong or climbs or self._rises(kinds, rate)
        found = found or self._gone(history, rate) or self._too_long(history, schedulers, rate)
        if not found:
            return
        text, first, value, limit = found
        left = unexplained(history)
        fine = bool(already_good(history)) or (np.isfinite(left) and left < _GOOD)
        last = int(rate.steps[-1])
        spoilt = wrong or (climbs and _spoils(history, climbs[1]))  # nobody watches the wrong way on purpose
        severity = Severity.INFO if fine and not spoilt else self.severity
        yield Finding(self.code, self.name, severity, "", first, value, limit, text, last, "", (_UNITS, _KEEP))

    def _never(self, history: History, schedulers: list[Any], rate: Series) -> Finding | None:
        """A schedule that is there, by which the rate never changed: never stepped, or made for a longer run."""
        idle = next((str(s.get("type")) for s in schedulers if s.get("type") in _DECAYING), "")
        steps = steps_seen(history)
        if not idle or steps < _LONG or (history.run.get("wiring") or {}).get("fast_dev_run"):
            return None
        if already_good(history) or not unexplained(history) > _GOOD:
            return None
        text = (
            f"{idle} is there, and the learning rate is {rate.values[0]:.2g} at every one of {steps} steps. Its first "
            "step lies behind the end of the run, or it is never stepped: the run is trained at a constant rate."
        )
        first, last = int(rate.steps[0]), int(rate.steps[-1])
        return Finding(self.code, self.name, self.severity, "", first, 0.0, 0.0, text, last, "", (_UNITS, _KEEP))

    def _climbs(self, kinds: set[str], rate: Series) -> tuple[str, int, float, float] | None:
        if kinds & _CYCLIC or not kinds & {"CosineAnnealingLR", "LambdaLR", "SequentialLR", "ChainedScheduler"}:
            return None
        v, top = rate.values, float(rate.values.max())
        low = int(v.argmin())
        after = v[low:]
        if v[low] > 0.2 * top or low < 0.1 * len(v) or after.max() < self.climb * top:
            return None
        text = (
            f"The learning rate fell to {v[low]:.2g} by step {rate.steps[low]} and climbed "
            f"back to {after.max():.2g} (highest "
            f"{top:.2g}) before the run ended at step {rate.steps[-1]}: the schedule is "
            f"shorter than the run. What had settled is "
            "shaken up again."
        )
        return text, int(rate.steps[low]), float(after.max() / top), self.climb

    @staticmethod
    def _rises(kinds: set[str], rate: Series) -> tuple[str, int, float, float] | None:
        v = rate.values
        if kinds & {"CyclicLR"} or (np.diff(v) < -1e-9 * v.max()).any() or v[-1] <= 1.1 * v[int(0.8 * len(v))]:
            return None
        text = (
            f"The learning rate rises from {v[0]:.2g} at the first step to {v[-1]:.2g} at the "
            f"last one: its warmup is as long as "
            "the run or longer. The rate that was meant is never reached, or only at the end."
        )
        return text, int(rate.steps[0]), float(v[-1] / max(v[0], 1e-30)), 1.0

    def _too_long(self, history: History, schedulers: list[Any], rate: Series) -> tuple[str, int, float, float] | None:
        """A one-cycle or cosine schedule of far more steps than the run has: it ends somewhere at its beginning."""
        steps = planned(history)
        for s in schedulers:
            key = {"OneCycleLR": "total_steps", "CosineAnnealingLR": "T_max"}.get(str(s.get("type")), "")
            total = int((s.get("settings") or {}).get(key) or 0)
            length = total * (steps // max(1, int(history.epochs[-1]) + 1)) if s.get("interval") == "epoch" else total
            goes_on = key == "total_steps" or rate.values[-1] > 0.5 * rate.values.max()
            if key and steps > 0 and length > self.too_long * steps and goes_on:
                text = (
                    f"{s['type']} is made for {total} {s.get('interval')}s, {length / steps:.3g} times as many as this "
                    f"run has: the rate goes from {rate.values[0]:.2g} to {rate.values[-1]:.2g}, not through its cycle."
                )
                return text, int(rate.steps[0]), length / steps, self.too_long
        return None

    def _gone(self, history: History, rate: Series) -> tuple[str, int, float, float] | None:
        gone, total = idle_since(history, 0.01), steps_seen(history)
        if gone > (1 - self.early) * total:
            return None
        loss = history.series("loss")
        before = loss.values[(loss.steps < gone) & np.isfinite(loss.values)]
        watched = any(s.get("type") == "ReduceLROnPlateau" for s in wiring(history).get("schedulers") or [])
        begun = not unexplained(history) > _BARELY  # a loss that hardly left that of a guess has not come to rest
        if len(before) >= 16 and is_plateau(before) and (watched or (begun and gone > _AT_ONCE * total)):
            return None
        text = (
            f"The learning rate fell below a hundredth of its highest "
            f"({rate.values.max():.2g}) by step {gone} of {total} and "
            f"stayed there. For {percent(1 - gone / total)} of the run weights hardly moved, "
            f"and the loss had not come to rest."
        )
        return text, gone, gone / total, 1 - self.early

    @staticmethod
    def _wrong_way(schedulers: list[Any], rate: Series) -> tuple[str, int, float, float] | None:
        for s in schedulers:
            mode, monitor = str((s.get("settings") or {}).get("mode", "")), str(s.get("monitor") or "")
            if s.get("type") != "ReduceLROnPlateau" or not monitor:
                continue
            found = words(monitor)
            lower = any(w in _LOWER or w.endswith("loss") for w in found)
            higher = not lower and any(w in _HIGHER for w in found)
            if (lower and mode == "max") or (higher and mode == "min"):
                cut = rate.values[-1] / rate.values.max()
                if cut > 0.5:
                    continue
                text = (
                    f"ReduceLROnPlateau watches {monitor!r} with mode {mode!r}: it takes every "
                    f"improvement for a plateau, and has "
                    f"cut the rate from {rate.values.max():.2g} to {rate.values[-1]:.2g}."
                )
                return text, int(rate.steps[int((rate.values < rate.values.max()).argmax())]), float(cut), 0.5
        return None


def _spoils(history: History, low: int) -> bool:
    """Tell whether the loss at the end is a tenth above that at a step, beyond the error of both."""
    series = history.series("loss")
    finite = np.isfinite(series.values)
    loss, steps = series.values[finite], series.steps[finite]
    window = max(8, len(loss) // 20)
    at = int(np.searchsorted(steps, low))
    then, end = loss[max(0, at - window) : at + window], loss[-window:]
    if len(then) < window or at > len(loss) - 2 * window:
        return False
    bottom, error = float(np.median(then)), 1.2533 * noise(loss) / float(np.sqrt(window))
    return float(np.median(end)) > bottom + max(0.1 * abs(bottom), 4 * error)
