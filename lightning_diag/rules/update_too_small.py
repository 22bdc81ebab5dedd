"""W002 update-too-small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History, Ints
from lightning_diag.rules.fitness import fitness, shapes
from lightning_diag.rules.metrics import already_good, is_improving
from lightning_diag.rules.phase import (
    Bools,
    idle_since,
    is_running,
    loss_descent,
    matrices,
    pick,
    rate_share,
    rates_rise,
    skips_bad_steps,
    steps_seen,
)
from lightning_diag.rules.rule import Unmeasured, between, check_range, percent
from lightning_diag.trends import is_plateau

_RATE = Prescription(
    "Raise the learning rate by a factor of 10 (or more, until the ratio is about 0.001).", {"lr": "x10"}
)
_SCHEDULE = Prescription(
    "Check the unit of the schedule: a decay meant for epochs must not run with interval='step', and its length "
    "(T_max, total_steps, milestones) must be that of the run (trainer.estimated_stepping_batches)."
)
_ADAM = Prescription("Use AdamW, whose steps do not shrink with the gradient.", {"optimizer": "adamw", "lr": 1e-3})
_LARGE = 64  # elements
_NOTHING = 1e-12  # a gradient that float32 weights of usual size cannot feel at usual learning rates
_FLOW = Prescription("Find what stops the gradient: see the findings on vanishing gradients, dead or saturated units.")
_HANDED = Prescription(
    "Check that configure_optimizers hands self.parameters() of this very model to the optimizer, that lr is not 0, "
    "and that nothing is frozen by mistake."
)


@final
@dataclass(frozen=True, kw_only=True)
class UpdateTooSmall:
    """Steps are so small that the weights do not move.

    What it finds:
        Update-to-weight ratio of the median weight matrix below ``min_ratio`` in the last samples taken at no
        less than half of the highest learning rate, while the loss does not fall. An error if nothing moves at
        all. Or the learning rate fell below ``idle_rate`` of its highest and stays there for ``max_idle`` of the
        run or more, weights no longer move, and the loss had not stopped falling before the rate went. Or ``min_part``
        of the matrices or more are in groups with less than ``slow_rate`` of the highest rate and moved by less than
        ``max_rest`` of their size in a run that fits poorly and moved the others; or weights or an embedding have less
        than ``still_rate`` of it, and moved by less than ``max_still`` of their size.

    Why it matters:
        A ratio of 1e-6 takes a million steps to change the weights by about themselves.

    When it is silent:
        The loss falls or a logged metric improves; the learning rate is still being warmed up, or was decayed on
        purpose: in the last percents of a run, or when the loss had come to rest at a tenth of it or more; a score
        is good already (0.9 or more); a run that continues another or with frozen parameters and starts trained,
        as long as it moves at all; biases, norm scales and embeddings.

    What to do:
        Raise the learning rate; check that the optimizer holds the parameters of this model. If
        vanishing-gradients explains it, treat that first.

    Source:
        Karpathy, CS231n notes, ratio of weights to updates; resolution of float32: a change below 6e-8 of a
        weight is rounded away.
    """

    code: ClassVar[str] = "W002"
    name: ClassVar[str] = "update-too-small"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("update/rms", "parameter/rms", "loss")
    min_ratio: float = 1e-6
    last_samples: int = 8
    min_samples: int = 5
    idle_rate: float = 1e-6
    max_idle: float = 0.25
    slow_rate: float = 2e-3
    min_part: float = 0.3
    max_rest: float = 0.01
    min_travel: float = 0.1
    still_rate: float = 1e-4
    max_still: float = 1e-3

    def __post_init__(self) -> None:
        check_range(self, "min_ratio", 0.0, 1.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for the whole model, at its slowest matrix."""
        idle = self._idle(history)
        if idle is not None:
            yield idle
            return
        part = self._part(history)
        if part is not None:
            yield part
            return
        names, steps, ratio = self._ratios(history)
        loss = loss_descent(history)
        if len(steps) < self.min_samples or loss.n < 20:
            raise Unmeasured(f"{len(steps)} samples of {loss.n} steps; {self.min_samples} of 20 are needed")
        if rates_rise(history):
            raise Unmeasured("the learning rate is still being warmed up")
        recent = np.median(ratio[-self.last_samples :], axis=0)
        level = float(np.median(recent))
        if level >= self.min_ratio or (level == 0 and skips_bad_steps(history)):
            return
        trained = bool(history.run.get("continues") or history.run.get("frozen") or already_good(history))
        if loss.kind == "falling" or is_improving(history) or (trained and level > 0):
            return
        pull = pick(history, "gradient/rms", names, steps)
        starved = bool(np.nanmedian(pull) < _NOTHING) if np.isfinite(pull).any() else False
        yield self._finding(names[int(np.argmin(recent))], len(names), level, steps, starved=starved)

    def _part(self, history: History) -> Finding | None:
        """Return the finding of groups whose rate is so far below the others' that a large part of the model rests."""
        groups = [g for o in history.run.get("optimizers") or () for g in o.get("groups") or ()]
        rates = {n: float(g.get("lr") or 0.0) for g in groups for n in g.get("parameters") or ()}
        top = max(rates.values(), default=0.0)
        slow = [n for n in matrices(history) if 0 < rates.get(n, top) < self.slow_rate * top]
        fast = [n for n in matrices(history) if n in rates and n not in slow]
        if is_running(history) or history.run.get("continues") or history.run.get("frozen"):
            return None
        if (still := self._still(history, rates, top)) is not None:
            return still
        if not slow or not fast or len(slow) < self.min_part * (len(slow) + len(fast)) or fitness(history) != "poor":
            return None
        steps, total = history.table("update/rms").steps, steps_seen(history)
        travel = [self._travel(history, tuple(names), steps, total) for names in (slow, fast)]
        if not travel[0] < self.max_rest or not travel[1] > self.min_travel:
            return None
        text = (
            f"{len(slow)} of {len(slow) + len(fast)} weight matrices have learning rates of at most "
            f"{max(rates[n] for n in slow):.2g}, where others have {top:.2g}: they moved by {travel[0]:.1g} of their "
            f"size in {total} steps, the others by {travel[1]:.1g}, and the fit is poor. They stay about as they were "
            "initialized."
        )
        first, last = int(steps[0]), int(steps[-1])
        return Finding(
            self.code, self.name, Severity.WARNING, slow[0], first, travel[0], self.max_rest, text, last, "", (_RATE,)
        )  # fmt: skip

    def _still(self, history: History, rates: Mapping[str, float], top: float) -> Finding | None:
        """Return the finding of weights or embeddings with a rate so far below the others' that they never move."""
        known = shapes(history) if "wiring" in history.run else {}
        large = [n for n in rates if n in known and int(np.prod(known[n][0])) >= _LARGE]
        still = [n for n in large if 0 < rates[n] < self.still_rate * top]
        steps, total = history.table("update/rms").steps, steps_seen(history)
        travel = self._travel(history, tuple(still), steps, total) if still else float("nan")
        if not travel < self.max_still:
            return None
        text = (
            f"{still[0]}{f' and {len(still) - 1} more' if len(still) > 1 else ''} has a learning rate of "
            f"{rates[still[0]]:.2g}, where others have {top:.2g}: in {total} steps it moved by {travel:.1g} of its "
            "size. It is in an optimizer, and stays as it was initialized."
        )
        first, last = int(steps[0]), int(steps[-1])
        return Finding(
            self.code, self.name, Severity.WARNING, still[0], first, travel, self.max_still, text, last, "", (_RATE,)
        )  # fmt: skip

    @staticmethod
    def _travel(history: History, names: tuple[str, ...], steps: Ints, total: int) -> float:
        """Return the path of the median matrix over the run, in its own size; NaN where it was not seen."""
        update, weight = (pick(history, s, names, steps) for s in ("update/rms", "parameter/rms"))
        with np.errstate(all="ignore"):
            ratio = np.where(weight > 0, update / weight, np.nan)
        seen = np.isfinite(ratio).any(axis=0) if ratio.size else np.zeros(0, dtype=bool)
        return float(np.median(np.nanmean(ratio[:, seen], axis=0)) * total) if seen.any() else float("nan")

    def _idle(self, history: History) -> Finding | None:
        """Return the finding of a learning rate that is as good as 0 for a large part of the run."""
        total, since = steps_seen(history), idle_since(history, self.idle_rate)
        loss, names = history.series("loss"), matrices(history)
        late = history.table("update/rms").steps
        late = late[late >= since]
        if total - since < self.max_idle * total or len(late) < self.min_samples or total < 20 or not names:
            return None
        update, weight = (pick(history, s, names, late) for s in ("update/rms", "parameter/rms"))
        moved = update[weight > 0] / weight[weight > 0]
        moved = moved[np.isfinite(moved)]
        before = loss.values[(loss.steps < idle_since(history, 0.1))]
        if not len(moved) or np.median(moved) >= self.min_ratio or is_plateau(before) or already_good(history):
            return None
        text = (
            f"The learning rate fell below {self.idle_rate:g} of its highest by step {since} and stayed there: in "
            f"{percent((total - since) / total)} of the run weights did not move. The loss had not come to rest "
            f"before; after step {idle_since(history, 0.1)} the rate was less than a tenth of its highest."
        )
        level, last = float(np.median(moved)), int(late[-1])
        return Finding(
            self.code, self.name, Severity.WARNING, names[0], since, level, self.min_ratio, text, last, "", (_SCHEDULE,)
        )  # fmt: skip

    @staticmethod
    def _ratios(history: History) -> tuple[tuple[str, ...], Ints, Floats]:
        """Return (names, steps, ratios) of matrices that are trained, at steps with a high learning rate."""
        names = tuple(n for n in matrices(history) if n not in set(history.run.get("frozen") or ()))
        steps = history.table("update/rms").steps
        steps = steps[rate_share(history, steps) >= 0.5]
        update, weight = (pick(history, s, names, steps) for s in ("update/rms", "parameter/rms"))
        with np.errstate(all="ignore"):
            ratio = np.where(weight > 0, update / weight, np.nan)
        known: Bools = np.atleast_1d(np.isfinite(ratio).all(axis=0) & (len(steps) > 0))
        if len(steps) and not known.any():
            raise Unmeasured("no trained weight matrix was seen")
        return tuple(n for n, k in zip(names, known, strict=True) if k), steps, ratio[:, known]

    def _finding(self, site: str, n: int, level: float, steps: Ints, *, starved: bool) -> Finding:
        first, last = int(steps[0]), int(steps[-1])
        if level == 0:
            text = f"Most of the {n} weight matrices did not change at all {between(first, last)}: "
            text += "no gradient reaches them. " if starved else "the learning rate is 0, or the optimizer holds "
            text += "" if starved else "other parameters than the model. "
            text += "Nothing is learned there."
            advice: tuple[Prescription, ...] = (_FLOW,) if starved else (_HANDED, _RATE)
        else:
            text = (
                f"A step changed the median of {n} weight matrices by {level:.1g} of its size {between(first, last)}, "
            )
            text += f"and the loss does not fall. At this pace the weights take {1 / level:.0e} steps to go anywhere."
            advice = (_RATE, _ADAM, _HANDED)
        severity = Severity.ERROR if level == 0 else Severity.WARNING
        return Finding(self.code, self.name, severity, site, first, level, self.min_ratio, text, last, "", advice)
