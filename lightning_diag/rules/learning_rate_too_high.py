"""O001 learning-rate-too-high."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History, Ints
from lightning_diag.rules.curve import crosses_zero, finite_loss, several_optimizers, swings, unexplained
from lightning_diag.rules.fitness import shapes
from lightning_diag.rules.metrics import already_good
from lightning_diag.rules.phase import first_break, is_running, loss_breaks, loss_descent, matrices, pick
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import rates
from lightning_diag.rules.trivial import is_stuck_at, trivial_loss

_RATE = Prescription("Lower the learning rate by a factor of 10.", {"lr": "x0.1"})
_FIND = Prescription("Search it: Tuner(trainer).lr_find(model).", {"lr": "search"})
_WARMUP = Prescription("Warm the learning rate up over the first few hundred steps.", {"warmup": 500})
_ARRIVED = 0.05  # of the first loss: swings on the way there did no harm
_ENOUGH, _SWINGS, _FEW = 40, 3, 12
_ABOVE, _NOTHING, _FASTER = 3.0, 0.65, 5.0
_POOR, _DIED, _MOST, _SHRANK = 0.5, 0.25, 0.5, 0.2


@final
@dataclass(frozen=True, kw_only=True)
class LearningRateTooHigh:
    """Steps so long that training breaks, bounces, or throws its units away.

    What it finds:
        Long steps: an update-to-weight ratio (RMS by RMS) of more than ``long_step`` in the median of a
        quarter of the weight matrices over the samples of some part of the run, or of more than 0.5 in a
        single one. And harm that long steps do: the loss is not finite, diverges, oscillates, does not fall,
        stands three times above its start for a while, or first shot up and never came back to where it should;
        steps of half a weight and more to the end, and about nothing learned; or units that were alive at the start
        died in the first samples. Both are needed; where the loss merely does not fall, steps must stay that long.

    Why it matters:
        A gradient holds near the weights where it was computed. Beyond 2 / (largest curvature) a step of
        gradient descent makes the loss larger, not smaller.

    When it is silent:
        Long steps that do no harm; harm without long steps; a run that was ill before its first step (loss not finite
        or far above its start value, activations that explode: poor-initialization and others explain it).

    What to do:
        Lower the learning rate by 10; find the highest good one with ``Tuner(trainer).lr_find(model)``; warm it up.

    Source:
        LeCun, Simard, Pearlmutter, Automatic Learning Rate Maximization (1993); Cohen et al., Gradient Descent
        Typically Occurs at the Edge of Stability (2021).
    """

    code: ClassVar[str] = "O001"
    name: ClassVar[str] = "learning-rate-too-high"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("loss", "update/ratio")
    long_step: float = 0.05
    long_single: float = 0.5
    min_matrices: float = 0.25
    min_steps: int = 12

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        values = finite_loss(history)
        broken = loss_breaks(history)
        if len(history.series("loss")) < (3 if broken else self.min_steps) or not rates(history):
            raise Unmeasured(f"{len(values)} losses; {self.min_steps} and a learning rate are needed")
        if is_running(history) and not broken and len(values) < _ENOUGH:
            raise Unmeasured("the run has only begun")
        fast = _fastest(history)
        names, steps, ratio = self._ratios(history, fast)
        if not len(steps):
            raise Unmeasured("no finite update was sampled before the loss broke")
        level, site, first = self._longest(names, steps, ratio)
        if not np.isfinite(level) or ill_from_start(history) or self._shrank(history, names):
            return
        harm = self._harm(history, values, broken=broken)
        if not harm and level > self.long_single and self._last(history, names):
            harm = self._little(history)
        stays = "does not fall" in harm or "ignores its input" in harm
        passing = stays and level <= self.long_single and not self._last(history, names)
        if not harm or passing:
            return
        rate = max(float(np.nanmax(s.values)) for s in rates(history).values() if len(s))
        site = fast[0] if fast else site
        message = (
            f"At learning rate {rate:.3g} a step changes the weights by up to {level:.2g} of "
            f"their own size (step {first}), and "
            f"{harm}. Steps this long leave the region where the gradient holds."
        )
        last = int(history.series("loss").steps[-1])
        severity = Severity.ERROR if broken or stays or "diverge" in harm else Severity.WARNING
        advice = (_RATE, _FIND, _WARMUP)
        yield Finding(self.code, self.name, severity, site, first, level, self.long_step, message, last, "", advice)

    @staticmethod
    def _shrank(history: History, names: tuple[str, ...]) -> bool:
        """Tell whether the weights went to nothing: then any step is long in relation to them."""
        weight = pick(history, "parameter/rms", names, history.table("parameter/rms").steps)
        weight = weight[np.isfinite(weight).all(axis=1)]
        return len(weight) > 2 and float(np.median(weight[-1] / np.maximum(weight[0], 1e-30))) < _SHRANK

    @staticmethod
    def _ratios(history: History, fast: tuple[str, ...] = ()) -> tuple[tuple[str, ...], Ints, Floats]:
        names = fast or matrices(history)
        table = history.table("update/ratio")
        steps = table.steps[table.steps <= first_break(history)]
        ratio, weight = (pick(history, s, names, steps) for s in ("update/ratio", "parameter/rms"))
        begun = weight[:1][weight[:1] > 0]  # at the start: weights that explode later say nothing of what is usual
        usual = np.median(begun) if len(begun) else np.median(weight[weight > 0]) if (weight > 0).any() else 0.0
        if len(steps):  # long steps make weights grow, which makes them look short: the weights at the start count too
            update = pick(history, "update/rms", names, steps)
            with np.errstate(all="ignore"):
                ratio = np.fmax(ratio, np.where(weight[:1] > 0.05 * usual, update / weight[:1], np.nan))
        return names, steps, np.where(weight > 0.05 * usual, ratio, np.nan)  # what starts at zero grows by any factor

    def _longest(self, names: tuple[str, ...], steps: Ints, ratio: Floats) -> tuple[float, str, int]:
        """Return (ratio, matrix, step) of long steps, NaN where there are none."""
        nothing = float("nan"), "", 0
        if not ratio.size or not np.isfinite(ratio).any():
            return nothing
        quarter = _quantiles(ratio, 1 - self.min_matrices)
        window = min(8, len(quarter))
        medians = np.median(np.lib.stride_tricks.sliding_window_view(quarter, window), axis=1)
        if medians.max() <= self.long_step and quarter.max() <= self.long_single:
            return nothing
        first = 0 if quarter.max() > self.long_single else int(medians.argmax())
        last = len(quarter) if quarter.max() > self.long_single else first + window
        row = first + int(quarter[first:last].argmax())
        column = int(np.nanargmax(ratio[row]))
        return float(quarter[row]), names[column], int(steps[row])

    def _last(self, history: History, names: tuple[str, ...]) -> bool:
        """Tell whether steps stay long: in the second half of the run, in relation to the weights it started with.

        The first steps of RMSprop are long whatever its rate, and weights that grow make long steps look short.
        """
        steps = history.table("update/rms").steps
        update, weight = (pick(history, s, names, steps) for s in ("update/rms", "parameter/rms"))
        if len(steps) < 4:
            return True
        with np.errstate(all="ignore"):
            late = np.nan_to_num(update[len(steps) // 2 :] / weight[:1])
        return float(np.nanquantile(np.median(late, axis=0), 1 - self.min_matrices)) > self.long_step

    @staticmethod
    def _little(history: History) -> str:
        """Return what is wrong where weights are thrown about to the end and about nothing was learned."""
        left = unexplained(history)
        if not left > _NOTHING or already_good(history) or several_optimizers(history):
            return ""
        return f"the loss ends at {percent(left)} of that of a predictor that ignores its input"

    @staticmethod
    def _harm(history: History, values: Floats, *, broken: bool) -> str:
        """Return what long steps did, "" where they did no harm."""
        loss = loss_descent(history)
        if broken:
            if not np.isfinite(history.series("loss").values[:1]).all():
                return ""  # no step had been taken
            usual = float(np.median(np.abs(values))) if len(values) else 0.0
            grew = len(values) < 3 or np.median(values[-3:]) > max(2 * abs(values[0]), 3 * usual)
            grew = grew or (len(values) < _FEW and values[-2:].min() > 2 * abs(values[0]))
            return "the loss diverges to no number" if grew else ""
        if already_good(history) or several_optimizers(history):
            return ""
        if loss.kind == "rising" and loss.end - loss.begin > 0.3 * abs(loss.begin):
            return f"the loss diverges from {loss.begin:.3g} to {loss.end:.3g}"
        if crosses_zero(values):
            return ""
        if loss.kind in ("flat", "rising") and loss.n >= _ENOUGH and loss.end > 0.9 * loss.begin:
            return f"the loss does not fall ({loss.begin:.3g} to {loss.end:.3g})"
        trivial = trivial_loss(history)
        if is_stuck_at(history, trivial):
            return f"the loss stays at {loss.end:.4g}, that of a predictor that ignores its input ({trivial:.4g})"
        above = stood_above(values)
        if above > 0:
            return f"the loss stood at {above:.3g} for a while, far above its start ({np.median(values[:3]):.3g})"
        arrived = float(np.median(values[-10:])) < _ARRIVED * float(np.median(values[:3]))
        if swings(values) >= _SWINGS and not arrived:
            return f"the loss gave back half of its gain {swings(values)} times"
        start, end = float(np.median(values[:2])), float(np.median(values[-max(5, len(values) // 10) :]))
        early = values[: max(10, len(values) // 10)]
        left = unexplained(history)
        poor = (np.isfinite(left) and left > _POOR) or end > 0.7 * start
        if early.max() > 2 * start and poor:
            return f"the loss shot up to {early.max():.3g} at first and ended at {end:.3g} (start {start:.3g})"
        dead = died(history)
        if dead > _MOST and early.max() > 1.5 * start:
            return f"the loss shot up to {early.max():.3g} at first, and {percent(dead)} of the units of a layer died"
        return f"{percent(dead)} of the units of a layer died in the first samples" if dead > _DIED and poor else ""


def _fastest(history: History) -> tuple[str, ...]:
    """Return the matrices of the group whose learning rate is far above that of all others, () without one."""
    groups = [g for o in history.run.get("optimizers") or () for g in o.get("groups") or () if g.get("parameters")]
    by_rate = sorted(groups, key=lambda g: -float(g.get("lr") or 0.0))
    if len(by_rate) < 2 or float(by_rate[0].get("lr") or 0.0) < _FASTER * float(by_rate[1].get("lr") or 0.0):
        return ()
    known = shapes(history) if "wiring" in history.run else {}
    names = [str(n) for n in by_rate[0]["parameters"]]
    return tuple(n for n in names if len(known.get(n, ((1, 1), True, 0))[0]) > 1)


def stood_above(values: Floats) -> float:
    """Return the highest level of a twentieth of the run if that is three times the start or more, else 0."""
    start, n = float(np.median(values[:3])), max(8, len(values) // 20)
    if len(values) < 3 * n or start <= 0:
        return 0.0
    levels = [float(np.median(values[i : i + n])) for i in range(0, len(values) - n + 1, n)]
    return max(levels) if max(levels) > _ABOVE * start else 0.0


def ill_from_start(history: History) -> bool:
    """Tell whether the first loss already is far above that of a constant prediction: no step had been taken then."""
    trivial, values = trivial_loss(history), finite_loss(history)
    return bool(np.isfinite(trivial) and trivial > 0 and len(values) and values[0] > 5 * trivial)


def _quantiles(rows: Floats, share: float) -> Floats:
    """Return a quantile of every row without its absent values, 0 where a row has none, shape (rows,)."""
    known = np.isfinite(rows)
    out, whole = np.zeros(len(rows)), ~np.isnan(rows).any(axis=1) & known.any(axis=1)
    if whole.any():
        out[whole] = np.quantile(rows[whole], share, axis=1)
    for i in np.flatnonzero(known.any(axis=1) & ~whole):
        out[i] = np.nanquantile(rows[i], share)
    return out


def died(history: History) -> float:
    """Return the largest share of a layer's units that were alive in the first sample and silent ever after."""
    if "activation/dead_fraction" not in history.statistics:
        return 0.0
    matrix = history.table("activation/dead_fraction").matrix
    known = matrix[np.isfinite(matrix).any(axis=1)]
    if len(known) < 2:
        return 0.0
    grown = np.nan_to_num(known[-1]) - np.nan_to_num(known[0])
    return float(grown.max()) if len(grown) else 0.0
