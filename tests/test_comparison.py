"""Is B sicker than A: new, worse, gone findings; metrics and layers beyond noise, and nothing within it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lightning_diag.comparison import GONE, METRIC, MOVED, compared
from lightning_diag.findings import Finding, Outcome, Report, Severity
from lightning_diag.records import History
from tests.sinks.reports import SICK

NONE = Report(outcomes={name: Outcome("clean") for name in SICK.outcomes})


def run(
    seed: int, *, end: float = 0.2, rms: float = 1.0, dead: float = 0.0, n: int = 200, name: str = "val_loss"
) -> History:
    """A run whose loss falls to ``end`` with noise of 0.02."""
    rng = np.random.default_rng(seed)
    h = History({"status": "finished", "steps": n})
    steps = np.arange(n)
    curve = end + (1 - end) * np.exp(-steps / (n / 8)) + 0.02 * rng.standard_normal(n)
    h.add_points("loss", steps.tolist(), curve)
    h.add_points(f"metric/{name}", steps[::5].tolist(), curve[::5], stage="validate")
    h.set_sites("activation", ["a", "b"])
    for step in range(0, n, 10):
        values = rms * np.exp(0.1 * rng.standard_normal(2))
        h.add_sample(step, 0, {"activation/rms": values, "activation/dead_fraction": [0.0, dead]})
    return h


def codes(report: Report) -> list[str]:
    return [f.code for f in report.findings]


def test_a_run_is_no_sicker_than_itself() -> None:
    report = compared(run(0), run(0), SICK, SICK)
    assert report.findings == ()
    assert report.exit_code("info") == 0
    assert [report.outcomes[r.name].verdict for r in (METRIC, MOVED, GONE)] == ["clean"] * 3


def test_noise_is_no_difference() -> None:
    alarms = sum(bool(compared(run(2 * s), run(2 * s + 1), NONE, NONE).findings) for s in range(40))
    assert alarms == 0


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"end": 0.3}, "C001", "ends at 0."),
        ({"rms": 10.0}, "C002", "RMS of the output"),
        ({"dead": 0.6}, "C002", "share of dead units of b lies at 0.6"),
    ],
)
def test_what_lies_beyond_noise_is_found_and_only_that(change: dict[str, Any], code: str, words: str) -> None:
    for seed in range(5):
        report = compared(run(seed), run(seed + 100, **change), NONE, NONE)
        assert set(codes(report)) == {code}
        assert words in report.findings[0].message


def test_a_better_metric_is_no_finding_and_a_higher_accuracy_is_better() -> None:
    assert codes(compared(run(0), run(1, end=0.1), NONE, NONE)) == []
    kind = {"name": "val_acc"}
    assert METRIC.code not in {
        f.code for f in compared(run(0, **kind), run(1, end=0.3, **kind), NONE, NONE).findings if "val_acc" in f.message
    }
    worse = compared(run(0, **kind), run(1, end=0.1, **kind), NONE, NONE)
    assert ["val_acc" in f.message for f in worse.findings] == [True]


def test_a_metric_that_became_nan_is_worse() -> None:
    b = run(1)
    b.add_points("metric/val_loss", [200, 205, 210, 215, 220, 225, 230, 235, 240, 245], [np.nan] * 10, stage="validate")
    b.add_points("loss", list(range(200, 260)), [np.nan] * 60)
    a = run(0, n=260)
    assert codes(compared(a, b, NONE, NONE))[:1] == ["C001"]


def test_a_shorter_run_is_compared_up_to_its_end() -> None:
    """After a third of the steps no loss is down yet: that is no fault of the shorter run."""
    whole, part = run(0, n=300), History({"status": "running"})
    series = run(1, n=300).series("loss")
    part.add_points("loss", series.steps[:40].tolist(), series.values[:40])
    assert codes(compared(whole, part, NONE, NONE)) == []


def test_findings_are_new_worse_or_gone() -> None:
    dead, *_ = SICK.findings
    before = replace(SICK, findings=(replace(dead, severity=Severity.WARNING), SICK.findings[-1]))
    after = replace(SICK, findings=(dead, replace(dead, site="net.9", message="New.")))
    report = compared(run(0), run(1), before, after)
    assert [(f.code, f.site) for f in report.findings] == [("A001", "net.5"), ("A001", "net.9"), (GONE.code, "")]
    assert report.findings[0].message.startswith("Worse, was warning in the other run: ")
    assert report.findings[1].message == "New."
    assert "Gone: V001 overfitting" in report.findings[2].message
    assert report.exit_code("error") == 1
    assert report.outcomes["overfitting"] == "clean"


@pytest.mark.parametrize(("value", "worse"), [(0.9, False), (0.95, False), (1.2, True), (float("nan"), False)])
def test_the_same_finding_further_beyond_its_limit_is_worse(value: float, worse: bool) -> None:
    first = replace(SICK, findings=SICK.findings[:1])
    second = replace(SICK, findings=(replace(SICK.findings[0], value=value),))
    assert bool(compared(run(0), run(0), first, second).findings) == worse


def test_what_was_not_judged_before_is_said() -> None:
    unseen = replace(NONE, outcomes={**NONE.outcomes, "dead-units": Outcome("unmeasured", "x")})
    after = replace(SICK, findings=SICK.findings[:1])
    (found,) = compared(run(0), run(0), unseen, after).findings
    assert found.message.endswith("(Not judged in the other run.)")


def test_nothing_to_compare_is_unmeasured() -> None:
    report = compared(History(), History(), Report(), Report())
    assert [report.outcomes[r.name].verdict for r in (METRIC, MOVED)] == ["unmeasured", "unmeasured"]


def test_what_became_unmeasured_is_not_gone() -> None:
    before = replace(SICK, findings=SICK.findings[:1])
    after = replace(NONE, outcomes={**NONE.outcomes, "dead-units": Outcome("unmeasured", "x")})
    assert compared(run(0), run(0), before, after).findings == ()


@pytest.mark.parametrize("make", [lambda f: f, lambda f: replace(f, because="A001")])
def test_a_cause_that_is_not_new_explains_nothing(make: Callable[[Finding], Finding]) -> None:
    gradient = make(SICK.findings[2])
    report = compared(run(0), run(0), NONE, replace(SICK, findings=(gradient,)))
    assert [f.because for f in report.findings] == [""]
