"""What the right half of a rule's picture shows: the statistic that the rule judges, at the place of its finding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from docs.drawing import Curve, Panel
from lightning_diag.findings import Finding
from lightning_diag.records import History, Stage
from lightning_diag.rules import Rule, metrics
from lightning_diag.rules.judging import with_loss
from lightning_diag.sinks.wording import short_site

Pair = tuple[Curve, Curve]  # of the sick run and of the mended one
NOTHING = Curve(np.empty(0), np.empty(0))
_VALIDATED = {"score": "higher", "validation loss": "lower"}  # kind of metric -> which way is better


@dataclass(frozen=True)
class View:
    """What to draw of a rule.

    Attributes:
        code: of the rule.
        statistic: a sampled statistic, the beginning of the name of a series, "score" or "validation loss".
        label: what stands beside the axis (default: the statistic's name).
        program: the sick program to take (default: see ``docs/pictures.py``).
        log: whether the axis may be logarithmic.
        depth: draw one sample over the layers with weights instead of all samples over the steps.
        over: for ``depth``, a statistic of the same sites to divide by.
        most: where the finding's site has no value take the largest of all sites, not their median.
    """

    code: str
    statistic: str
    label: str = ""
    program: str = ""
    log: bool = True
    depth: bool = False
    over: str = ""
    most: bool = False


# "Size" is the root mean square, "spread" the standard deviation. Rules that are not here show the first sampled
# statistic that they need, else what was logged in validation.
_ROWS = (
    View("A001", "activation/dead_fraction", "share of dead units", "dead-by-bias", log=False),
    View("A002", "activation/saturated_units_fraction", "share of saturated units", log=False),
    View("A003", "activation/nonfinite", "NaN and Inf among outputs", most=True),
    View("A004", "activation/rms", "size of the output", depth=True),
    View("A005", "prediction/sample_std", "spread of predictions"),
    View("A006", "activation/sample_std", "spread of features over samples", "no-negatives"),
    View("A008", "activation/min", "smallest output", "deep-sigmoid"),
    View("D001", "batch/nonfinite", "NaN and Inf in the batch"),
    View("D002", "batch/rms", "size of the input"),
    View("D004", "prediction/rms", "size of predictions"),
    View("D007", "validation loss"),
    View("G001", "gradient/rms", "gradient / weight", "deep-sigmoid", depth=True, over="parameter/rms"),
    View("G002", "total/gradient_norm", "gradient norm of the model"),
    View("G003", "gradient/nonfinite", "NaN and Inf in gradients", most=True),
    View("G004", "gradient/rms", "size of the gradient"),
    View("G005", "total/gradient_norm", "gradient norm before clipping", "hot-start"),
    View("G006", "gradient/signal_share", "signal in the gradient", "dead-by-sign"),
    View("H001", "prediction/max", "largest prediction"),
    View("H002", "prediction/min", "smallest prediction"),
    View("H003", "prediction/max", "largest prediction"),
    View("H004", "prediction/min", "smallest prediction"),
    View("H006", "prediction/std", "spread of predictions"),
    View("I001", "activation/std", "spread of outputs", "saturated-by-start", depth=True),
    View("I002", "prediction/rms", "size of predictions"),
    View("L001", "gradient/nonfinite", "NaN and Inf in gradients", most=True),
    View("L003", "update/ratio", "update / weight"),
    View("L004", "update/ratio", "update / weight"),
    View("L005", "loss_call/value", "loss, as called"),
    View("L007", "score"),
    View("L008", "learning_rate", "learning rate", "hot-rmsprop"),
    View("N001", "norm/values", "values behind a mean", log=False),
    View("N002", "gradient/rms", "size of the bias's gradient"),
    View("O001", "update/ratio", "update / weight"),
    View("O002", "update/ratio", "update / weight"),
    View("O003", "total/gradients_left", "gradients not cleared", log=False),
    View("O004", "learning_rate", "learning rate"),
    View("O006", "total/eval_modules", "modules in eval mode", log=False),
    View("O007", "validation loss"),
    View("O008", "update/rms", "size of the update"),
    View("O009", "parameter/rms", "size of the weights", "decay-as-in-adamw"),
    View("O010", "parameter/rms", "size of the weights"),
    View("O011", "total/gradient_scale", "loss scale"),
    View("V001", "validation loss"),
    View("V003", "validation loss"),
    View("V005", "norm/mean_gap", "running against batch mean"),
    View("V006", "validation loss"),
    View("W001", "update/ratio", "update / weight"),
    View("W002", "update/ratio", "update / weight"),
    View("W003", "update/rms", "size of the update"),
    View("W004", "update/rms", "size of the update"),
    View("W006", "parameter/clones", "share of cloned units", log=False),
    View("W007", "parameter/rms", "size of the weights"),
)
VIEWS = {view.code: view for view in _ROWS}


def loss_panel(found: Finding, sick: History, mended: History) -> list[Panel]:
    """Return the panel of the training losses; none where neither run has one."""
    curves = _series(with_loss(sick), "loss"), _series(with_loss(mended), "loss")
    return [Panel("training loss", *curves, _mark(found))] if any(len(c.y) for c in curves) else []


def statistic_panel(rule: type[Rule], found: Finding, sick: History, mended: History) -> list[Panel]:
    """Return the panel of what the rule judges; none where nothing of it was recorded."""
    views = [VIEWS[rule.code]] if rule.code in VIEWS else []
    views += [View(rule.code, name) for name in (*(n for n in rule.needs if "/" in n), *_VALIDATED)]
    for view in views:
        label, curves = _curves(view, found, sick, mended)
        if any(c.finite.any() for c in curves):
            if view.depth:
                across = f"layer with weights, first to last (step {max(found.step, 0)})"
                return [Panel(label, *curves, None, across, view.log)]
            return [Panel(label, *curves, _mark(found), log=view.log)]
    return []


def _mark(found: Finding) -> int | None:
    """Return the step of a finding, None where it was made before the first."""
    return found.step if found.step >= 0 else None


def _curves(view: View, found: Finding, sick: History, mended: History) -> tuple[str, Pair]:
    """Return what stands beside the axis, and both curves; empty where something was not recorded."""
    label = view.label or view.statistic
    if view.statistic in _VALIDATED:
        return _validated(_VALIDATED[view.statistic], sick, mended)
    if view.depth:
        return label, (_profile(view, found.step, sick), _profile(view, found.step, mended))
    if view.statistic in {*sick.statistics, *mended.statistics}:
        (where, one), (there, other) = (_at_site(view, found.site, h) for h in (sick, mended))
        place = where if len(one.y) else there
        return f"{label}{place}", (one, other)
    one, other = (_series(h, _beginning(view.statistic, h)) for h in (sick, mended))
    return label, (one, other)


def _beginning(statistic: str, history: History) -> str:
    """Return the first series of training that is of a kind ("learning_rate"), "" if there is none."""
    return next((n for n in history.series_names() if f"{n}/".startswith(f"{statistic}/")), "")


def _series(history: History, name: str, stage: Stage = "train") -> Curve:
    series = history.series(name, stage)
    return Curve(series.steps.astype(float), series.values)


def _validated(way: str, sick: History, mended: History) -> tuple[str, Pair]:
    """Return a metric that both runs logged in validation, and whose better direction is known."""
    there = [n for n in sick.series_names("validate") if n in mended.series_names("validate")]
    name = next((n for n in there if metrics.direction(sick, n) == way), "")
    return f"{name.removeprefix('metric/')} (validation)", (
        _series(sick, name, "validate"),
        _series(mended, name, "validate"),
    )


def _at_site(view: View, site: str, history: History) -> tuple[str, Curve]:
    """Return a statistic at a site: at the weight of a module; of all sites where it has no value there.

    A sampled value that is NaN is absent, and left out.
    """
    table = history.table(view.statistic)
    called = [s for s in table.sites if site and s.startswith(f"{site}:")]  # functions of what it puts out
    inside = [s for s in table.sites if site and s.startswith((f"{site}.", f"{site}#"))]
    around = [s for s in table.sites if s and site.startswith(f"{s}.")]
    own = (
        called
        or [s for s in table.sites if s == site]
        or sorted(inside, key=lambda s: "weight" not in s)
        or around[-1:]
    )
    matrix = table.matrix[:, [table.sites.index(own[0])]] if own else table.matrix
    kept = ~np.isnan(matrix).all(axis=1) if len(table) else np.zeros(0, dtype=np.bool_)
    reduce = np.nanmax if view.most else np.nanmedian
    values = np.asarray(reduce(matrix[kept], axis=1)) if kept.any() else np.empty(0)
    among = (", largest of all" if view.most else ", median of all") if len(table.sites) > 1 else ""
    return f" at {short_site(own[0], 24)}" if own and own[0] else among, Curve(table.steps[kept].astype(float), values)


def _profile(view: View, step: int, history: History) -> Curve:
    """Return a statistic (over another) of the layers with weights, first to last, at the sample nearest to a step."""
    table = history.table(view.statistic)
    if not len(table):
        return NOTHING
    row = table.matrix[np.abs(table.steps - step).argmin()]
    if view.over:
        below = history.table(view.over)
        divisors = dict(zip(below.sites, below.matrix[np.abs(below.steps - step).argmin()], strict=True))
        row = row / np.array([divisors.get(s) or np.nan for s in table.sites])
    weights = {p for x in history.layers for p in x.parameters if p.rsplit(".", 1)[-1].startswith("weight")}
    weighted = weights | {x.site for x in history.layers if weights & {*x.parameters}}
    values = [v for s, v in zip(table.sites, row, strict=True) if s in weighted and not np.isnan(v)]
    return Curve(np.arange(1.0, len(values) + 1), np.array(values))
