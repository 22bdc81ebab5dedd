"""What passes the gate: exit codes, the baseline, required rules, places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from lightning_diag.baseline import Baseline, BaselineError
from lightning_diag.findings import Outcome, Report, RuleInfo, Severity
from lightning_diag.gate import Decision, Judged, Place, fingerprint, unmet, without
from tests.sinks.decisions import SICK_RUN, asked
from tests.sinks.reports import CRASHED, HEALTHY, SICK, UNJUDGED

WARNINGS = Report(SICK.findings[-1:], {"overfitting": Outcome("found")})


@pytest.mark.parametrize(
    ("run", "fail_on", "code"),
    [
        (Judged("r", HEALTHY), "info", 0),
        (Judged("r", WARNINGS), "error", 0),
        (Judged("r", WARNINGS), "warning", 1),
        (Judged("r", SICK), "error", 1),
        (Judged("r", UNJUDGED), "error", 2),
        (Judged("r", CRASHED), "error", 2),
        (Judged("r", problem="gone"), "error", 2),
        (Judged("r", HEALTHY, required={"A002": "unmeasured"}), "error", 1),
        (Judged("r", UNJUDGED, required={"A002": "unmeasured"}), "error", 2),
    ],
)
def test_exit_codes(run: Judged, fail_on: str, code: int) -> None:
    assert run.exit_code(fail_on) == code
    assert Decision((run,), Severity(fail_on)).exit_code == code
    assert bool(run.trouble) == (code == 2)


def test_the_worst_run_decides_and_none_is_not_green() -> None:
    good, bad, gone = Judged("a", HEALTHY), Judged("b", SICK), Judged("c", problem="gone")
    assert Decision((good, bad)).exit_code == 1
    assert Decision((bad, gone, good)).exit_code == 2
    assert Decision(()).exit_code == 2


@pytest.mark.parametrize(
    ("run", "word"),
    [
        (Judged("r", HEALTHY), "healthy"),
        (Judged("r", HEALTHY, required={"A": "x"}), "incomplete"),
        (Judged("r", SICK, required={"A": "x"}), "sick"),
        (Judged("r", problem="x"), "not judged"),
    ],
)
def test_the_verdict_in_a_word(run: Judged, word: str) -> None:
    assert run.verdict("error") == word


def test_a_wrong_severity_is_refused() -> None:
    with pytest.raises(ValueError, match="none of info, warning, error"):
        Decision((), "never")  # type: ignore[arg-type]


def test_known_findings_go_and_what_they_explained_stands_alone() -> None:
    left, known = without(SICK, [("A001", "net.5"), ("A001", "net.3"), ("X", "y")])
    assert [f.key for f in known] == [("A001", "net.5"), ("A001", "net.3")]
    assert [(f.code, f.because) for f in left.findings][:2] == [("G001", ""), ("G001", "")]
    assert left.findings[2].because == "G001"
    assert left.outcomes == SICK.outcomes
    assert without(SICK, []) == (SICK, ())


def test_required_rules_that_gave_no_judgement() -> None:
    report = asked(SICK)
    assert unmet(report, ["A001", "G002"]) == {}
    assert unmet(report, ["A002", "O001"]) == {
        "A002": "unmeasured: the model has no bounded activation",
        "O001": "it was not asked",
    }
    assert unmet(asked(CRASHED), ["A001"]) == {"A001": "crashed: ZeroDivisionError: division by zero"}


@pytest.mark.parametrize(
    ("site", "place"),
    [
        ("", "src/model.py:7"),
        ("net", "src/model.py:12"),
        ("net.5", "src/model.py:12"),
        ("net.5#2", "src/model.py:12"),
        ("net.0.weight", "src/net.py:3"),
        ("network", "src/model.py:7"),
    ],
)
def test_the_place_is_that_of_the_nearest_module(site: str, place: str) -> None:
    assert str(SICK_RUN.place(site)) == place
    assert Judged("r").place(site) is None


@given(a=st.tuples(st.text(), st.text()), b=st.tuples(st.text(), st.text()))
def test_fingerprints_are_stable_and_differ(a: tuple[str, str], b: tuple[str, str]) -> None:
    assert fingerprint(*a) == fingerprint(*a)
    if "|".join(a) != "|".join(b):
        assert fingerprint(*a) != fingerprint(*b)


# -- the baseline ------------------------------------------------------------------------------------------------------

keys = st.lists(st.tuples(st.text(), st.text()), unique=True).map(lambda x: tuple(sorted(x)))


@given(known=keys)
def test_a_baseline_comes_back(known: tuple[tuple[str, str], ...], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("baseline") / "known.json"
    Baseline(known).write(path)
    assert Baseline.load(path) == Baseline(known)
    assert [p.name for p in path.parent.iterdir()] == ["known.json"]
    rows = json.loads(path.read_text())["findings"]
    assert [r["fingerprint"] for r in rows] == [fingerprint(*k) for k in known]


def test_a_baseline_of_reports_lets_them_pass() -> None:
    baseline = Baseline.of([SICK, WARNINGS])
    assert without(SICK, baseline.keys)[0].findings == ()
    assert baseline.keys == tuple(sorted({f.key for f in SICK.findings}))


def test_stale_entries_are_those_whose_rule_judged_and_is_silent() -> None:
    rules = {c: RuleInfo(c, n, "") for c, n in (("A001", "dead-units"), ("A002", "saturated-units"))}
    clean = Report(outcomes={"dead-units": Outcome("clean"), "saturated-units": Outcome("unmeasured")}, rules=rules)
    baseline = Baseline((("A001", "net.5"), ("A002", "x"), ("V001", "")))
    assert baseline.stale([Judged("r", clean)]) == (("A001", "net.5"),)
    assert baseline.stale([Judged("r", clean), Judged("s", asked(SICK))]) == ()  # the other run still shows it
    assert baseline.stale([Judged("r", clean), Judged("s", problem="gone")]) == ()  # who knows
    assert baseline.stale([]) == ()


WRONG = {
    "": "is no baseline",
    "[]": "no baseline of schema 1",
    "{}": "no baseline of schema 1",
    '{"lightning_diag_baseline": 2, "findings": []}': "no baseline of schema 1",
    '{"lightning_diag_baseline": 1}': "KeyError",
    '{"lightning_diag_baseline": 1, "findings": [3]}': "TypeError",
    '{"lightning_diag_baseline": 1, "findings": [{"code": "A"}]}': "KeyError: 'site'",
    "[" * 100_000: "is no baseline",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda t: t[:60])
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "known.json").write_text(text)
    with pytest.raises(BaselineError, match=WRONG[text]):
        Baseline.load(tmp_path / "known.json")


def test_a_missing_or_binary_baseline_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.json"):
        with pytest.raises(BaselineError, match="no baseline at"):
            Baseline.load(path)
    (tmp_path / "binary").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(BaselineError, match="is no baseline"):
        Baseline.load(tmp_path / "binary")


def test_places_are_lines() -> None:
    assert str(Place("a b.py", 3)) == "a b.py:3"
