"""Is one run sicker than another: new, worse and gone findings; metrics and layers that moved beyond their noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lightning_diag.findings import Finding, Outcome, Report, RuleInfo, Severity
from lightning_diag.records import Floats, History, Stage
from lightning_diag.rules.metrics import direction
from lightning_diag.trends import noise

_SIGMAS = 4.0  # standard errors, of both runs together, that are no noise
_LEAST_METRIC = 0.05  # of the level: smaller differences are as good as none, however sure
_LEAST_POINTS, _LEAST_SAMPLES = 4, 5
_MEDIAN_STD, _MAD_TO_STD = 1.2533, 1.4826
_MUCH_WORSE = 1.5  # times as far beyond the limit

METRIC = RuleInfo("C001", "metric-worse", "A logged metric ends worse than in the other run, by more than its noise.")
MOVED = RuleInfo("C002", "layer-moved", "A layer's statistic lies elsewhere than in the other run, beyond its noise.")
GONE = RuleInfo("C003", "finding-gone", "A finding of the other run is not found any more.")


@dataclass(frozen=True)
class Watched:
    """A statistic that is compared, layer by layer.

    Attributes:
        name: of the statistic.
        words: what it is called in a message.
        decades: whether it is compared by ratio (``least`` is then in decades).
        least: smallest difference that is told.
    """

    name: str
    words: str
    decades: bool
    least: float


WATCHED: tuple[Watched, ...] = (
    Watched("activation/rms", "RMS of the output", True, 0.5),
    Watched("activation/dead_fraction", "share of dead units", False, 0.2),
    Watched("activation/saturated_units_fraction", "share of saturated units", False, 0.2),
    Watched("gradient/rms", "RMS of the gradient", True, 0.7),
    Watched("update/ratio", "update-to-weight ratio", True, 0.7),
    Watched("parameter/rms", "RMS of the weights", True, 0.3),
)


def compared(a: History, b: History, before: Report, after: Report) -> Report:
    """Return what is worse in run ``b`` than in run ``a``, as a report.

    New findings stand as they are, worse ones say what they were; ``C001`` (warning) is a metric that ends worse,
    ``C002`` (info) a layer that moved, ``C003`` (info) a finding that is gone. Where one run is shorter, both are
    compared up to its last step.

    Args:
        a: the run to compare with.
        b: the run in question.
        before: judgement of ``a``.
        after: judgement of ``b``.
    """
    fresh = [*_new_or_worse(before, after)]
    last = min(_last_step(a), _last_step(b))
    metrics, shared = [*_metrics(a, b, last)], _shared(a, b)
    moved, gone = [*_moved(a, b, last)], [*_gone(before, after)]
    codes = {f.code for f in fresh}
    told = [f if f.because in codes else replace(f, because="") for f in fresh]
    outcomes = {name: o if o.verdict != "found" else Outcome("clean") for name, o in after.outcomes.items()}
    outcomes |= {f.name: Outcome("found") for f in told}
    none = "no metric whose better direction is known has enough points in both runs"
    outcomes[METRIC.name] = _outcome(metrics) if shared else Outcome("unmeasured", none)
    sites = any(len(h.table(w.name)) >= _LEAST_SAMPLES for h in (a, b) for w in WATCHED)
    outcomes[MOVED.name] = _outcome(moved) if sites else Outcome("unmeasured", "too few samples")
    outcomes[GONE.name] = _outcome(gone)
    rules = {**after.rules, **{r.code: r for r in (METRIC, MOVED, GONE)}}
    return Report((*told, *metrics, *moved, *gone), outcomes, rules, after.run)


def _outcome(found: list[Finding]) -> Outcome:
    return Outcome("found" if found else "clean")


def _new_or_worse(before: Report, after: Report) -> Iterator[Finding]:
    known = {f.key: f for f in before.findings}
    for f in after.findings:
        old = known.get(f.key)
        if old is None:
            earlier = before.outcomes.get(f.name)
            unseen = " (Not judged in the other run.)" if earlier is None or earlier.verdict == "unmeasured" else ""
            yield replace(f, message=f.message + unseen)
        elif f.severity.rank > old.severity.rank:
            yield replace(f, message=f"Worse, was {old.severity} in the other run: {f.message}")
        elif f.severity == old.severity and _excess(f) > _MUCH_WORSE * _excess(old):
            yield replace(f, message=f"Worse, was {old.value:.3g} in the other run: {f.message}")


def _excess(f: Finding) -> float:
    """Return how far beyond its limit a value is, in units of the limit; NaN where it has none."""
    return abs(f.value - f.limit) / max(abs(f.limit), 1e-12)


def _gone(before: Report, after: Report) -> Iterator[Finding]:
    here = {f.key for f in after.findings}
    for f in before.findings:
        outcome = after.outcomes.get(f.name)
        if f.key not in here and outcome is not None and outcome.verdict in ("clean", "found"):
            message = f"Gone: {f.code} {f.name} [{f.severity}] of the other run. {f.message}"
            yield _note(GONE, f.site, f.step, f.value, f.limit, message, f.last_step)


def _shared(a: History, b: History) -> list[tuple[Stage, str]]:
    """Return (stage, metric) of what both runs logged often enough and has a better and a worse."""
    stages: tuple[Stage, ...] = ("train", "validate")
    names = [(s, n) for s in stages for n in a.series_names(s) if n in b.series_names(s)]
    return [
        (s, n)
        for s, n in names
        if (n == "loss" or (n.startswith("metric/") and direction(b, n)))
        and min(len(a.series(n, s)), len(b.series(n, s))) >= _LEAST_POINTS
    ]


def _metrics(a: History, b: History, last: int) -> Iterator[Finding]:
    for stage, name in _shared(a, b):
        (old, old_error), (new, new_error) = (_end(h, stage, name, last) for h in (a, b))
        if not np.isfinite(old):
            continue
        worse = old - new if name != "loss" and direction(b, name) == "higher" else new - old
        certain = _SIGMAS * float(np.hypot(old_error, new_error))
        if np.isnan(new) or (worse > certain and worse > _LEAST_METRIC * max(abs(old), 1e-12)):
            words = name.removeprefix("metric/") + (" (training)" if stage == "train" else " (validation)")
            message = (
                f"{words} ends at {new:.4g}, in the other run at {old:.4g}; differences up to {certain:.2g} would be "
                "noise within a run. (Another seed can make a difference of its own.)"
            )
            at = int(b.series(name, stage).steps[-1])
            yield replace(_note(METRIC, "", at, float(new), float(old), message, at), severity=Severity.WARNING)


def _end(h: History, stage: Stage, name: str, last: int) -> tuple[float, float]:
    """Return (level at the end, its standard error)."""
    series = h.series(name, stage)
    v = series.values[series.steps <= last]
    n = max(3, len(v) // 5)
    tail = v[-n:]
    if not len(tail):
        return np.nan, np.nan
    sigma = noise(v)
    return float(np.median(tail)), float(_MEDIAN_STD * np.nan_to_num(sigma) / np.sqrt(len(tail)))


def _moved(a: History, b: History, last: int) -> Iterator[Finding]:
    for w in WATCHED:
        sites, old, old_spread = _levels(a, w, last)
        names, new, new_spread = _levels(b, w, last)
        of_a, of_b = ({s: k for k, s in enumerate(known)} for known in (sites, names))
        both = [s for s in names if s in of_a]
        if not both:
            continue
        i, j = [of_a[s] for s in both], [of_b[s] for s in both]
        change = new[j] - old[i]
        certain = np.maximum(_SIGMAS * np.hypot(old_spread[i], new_spread[j]), w.least)
        far = np.nan_to_num(np.abs(change) / certain)
        if not (far > 1).any():
            continue
        k = int(np.argmax(far))
        x, y = (10 ** float(v) if w.decades else float(v) for v in (old[i][k], new[j][k]))
        message = (
            f"The {w.words} of {both[k]} lies at {y:.3g} at the end, in the other run at {x:.3g}; so it moved at "
            f"{int((far > 1).sum())} of {len(both)} places."
        )
        yield _note(MOVED, both[k], int(b.table(w.name).steps[-1]), y, x, message, -1)


def _levels(h: History, w: Watched, last: int) -> tuple[tuple[str, ...], Floats, Floats]:
    """Return (sites, median of the last third of the samples, spread of a sample), NaN where too little was seen."""
    table = h.table(w.name)
    rows = table.matrix[table.steps <= last]
    nothing = np.full(len(table.sites), np.nan)
    if len(rows) < _LEAST_SAMPLES:
        return table.sites, nothing, nothing
    with np.errstate(divide="ignore", invalid="ignore"):
        late = rows[-max(_LEAST_SAMPLES, len(rows) // 3) :]
        late = np.log10(late) if w.decades else late
    seen = np.isfinite(late).all(axis=0)
    level, spread = nothing.copy(), nothing.copy()
    level[seen] = np.median(late[:, seen], axis=0)
    spread[seen] = _MAD_TO_STD * np.median(np.abs(late[:, seen] - level[seen]), axis=0)
    return table.sites, level, spread


def _note(rule: RuleInfo, site: str, step: int, value: float, limit: float, message: str, last: int) -> Finding:
    return Finding(rule.code, rule.name, Severity.INFO, site, step, value, limit, message, last)


def _last_step(h: History) -> int:
    ends = [int(s.steps[-1]) for s in (h.series("loss"),) if len(s)] + [int(s) for s in h.steps[-1:]]
    return max(ends, default=0)
