"""Reports: their JSON, their exit codes, what they say first, and that hostile text stays text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lightning_diag.findings import (
    Finding,
    Outcome,
    Prescription,
    Report,
    RuleInfo,
    Severity,
    UnhealthyTraining,
    severity,
)  # fmt: skip

NAN, INF = float("nan"), float("inf")
numbers = st.floats(-1e308, 1e308) | st.sampled_from([NAN, INF, -INF])  # the largest double stands for infinity
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
mappings = st.dictionaries(st.text(max_size=5), plain | st.lists(plain, max_size=2), max_size=3)
findings = st.builds(
    Finding, st.text(max_size=5), st.text(max_size=5), st.sampled_from(Severity), st.text(max_size=5),
    st.integers(-1, 2**53), numbers, numbers, st.text(max_size=20), st.integers(-1, 2**53), st.text(max_size=4),
    st.lists(st.builds(Prescription, st.text(max_size=9), mappings), max_size=2).map(tuple),
)  # fmt: skip
outcomes = st.builds(Outcome, st.sampled_from(["clean", "found", "unmeasured", "crashed"]), st.text(max_size=9))
infos = st.builds(RuleInfo, *[st.text(max_size=5)] * 5)
reports = st.builds(
    Report, st.lists(findings, max_size=4).map(tuple), st.dictionaries(st.text(max_size=5), outcomes, max_size=3),
    st.dictionaries(st.text(max_size=5), infos, max_size=2), mappings,
)  # fmt: skip


def finding(level: str = "error", code: str = "A001", *, because: str = "", **more: Any) -> Finding:
    given = {"site": "net.1", "step": 3, "value": 0.9, "limit": 0.5, "message": "So it is."} | more
    return Finding(code, "dead-units", Severity(level), because=because, **given)


def report(*found: Finding, **verdicts: Any) -> Report:
    return Report(found, {name: Outcome(verdict) for name, verdict in verdicts.items()})


@given(report=reports)
def test_json_round_trip(report: Report) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    text = report.to_json()
    json.loads(text, parse_constant=refuse)
    again = Report.from_json(text)
    assert again == report
    assert again.to_json() == text


@pytest.mark.parametrize("value", [NAN, INF, -INF, 0.0, 1e308, 5e-324])
def test_every_number_comes_back(value: float) -> None:
    (again,) = Report.from_json(report(finding(value=value, limit=value)).to_json()).findings
    assert repr((again.value, again.limit)) == repr((value, value))


def test_facts_that_json_cannot_hold_become_what_it_can() -> None:
    facts = {"seconds": NAN, "nested": {1: (INF, Severity.INFO)}, "object": math}
    again = Report.from_json(Report(run=facts).to_json()).run
    assert again["seconds"] is None
    assert again["nested"] == {"1": [1.7976931348623157e308, "info"]}
    assert "math" in again["object"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "{}", '{"lightning_diag_report":2}', '{"lightning_diag_report":1}', "[" * 100_000,
     '{"lightning_diag_report":1,"findings":3,"outcomes":{},"rules":{},"run":{}}',
     '{"lightning_diag_report":1,"findings":[{}],"outcomes":{},"rules":{},"run":{}}',
     '{"lightning_diag_report":1,"findings":[],"outcomes":{"a":{"verdict":"clean","x":1}},"rules":{},"run":{}}'],
    ids=range(12),
)  # fmt: skip
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Report.from_json(text)


def test_a_finding_of_unknown_severity_is_refused() -> None:
    with pytest.raises(ValueError, match="fatal"):
        finding("fatal")
    with pytest.raises(ValueError, match="fatal"):
        Report.from_json(report(finding()).to_json().replace('"error"', '"fatal"'))
    with pytest.raises(ValueError, match="severity 'fatal' is none of info, warning, error"):
        severity("fatal")
    with pytest.raises(ValueError, match="is none of"):
        Report().exit_code("fatal")


EXITS: list[tuple[str, Report, Mapping[str, int], bool]] = [
    ("nothing judged", report(), {"info": 2, "warning": 2, "error": 2}, False),
    ("all unmeasured", report(a="unmeasured", b="unmeasured"), {"info": 2, "warning": 2, "error": 2}, False),
    ("clean", report(a="clean"), {"info": 0, "warning": 0, "error": 0}, True),
    ("clean, rest unmeasured", report(a="clean", b="unmeasured"), {"info": 0, "warning": 0, "error": 0}, True),
    ("info", report(finding("info"), a="found"), {"info": 1, "warning": 0, "error": 0}, True),
    ("warning", report(finding("warning"), a="found"), {"info": 1, "warning": 1, "error": 0}, False),
    ("error", report(finding("error"), a="found"), {"info": 1, "warning": 1, "error": 1}, False),
    ("error, rest unmeasured", report(finding(), a="found", b="unmeasured"), {"error": 1}, False),
    ("one crashed", report(a="clean", b="crashed"), {"info": 2, "warning": 2, "error": 2}, False),
    ("found and crashed", report(finding(), a="found", b="crashed"), {"info": 2, "warning": 2, "error": 2}, False),
    ("all crashed", report(a="crashed"), {"info": 2, "error": 2}, False),
]


@pytest.mark.parametrize(("made", "codes", "ok"), [e[1:] for e in EXITS], ids=[e[0] for e in EXITS])
def test_exit_codes(made: Report, codes: Mapping[str, int], ok: bool) -> None:
    assert {level: made.exit_code(level) for level in codes} == codes
    assert made.exit_code() == codes["error"]
    assert made.ok == ok


@given(report=reports)
def test_exit_codes_hang_together(report: Report) -> None:
    codes = [report.exit_code(level) for level in ("info", "warning", "error")]
    assert report.ok == (codes[1] == 0)
    assert (2 in codes) == (codes[2] == 2)
    assert report.ok or report.primary is not None or codes[1] == 2 or any(f.because for f in report.findings)
    assert report.verdict in ("healthy", "sick", "warnings", "not judged", "crashed")
    assert report.verdict != "healthy" or report.ok


def test_the_primary_finding_is_the_first_cause_at_warning_or_above() -> None:
    info, folded, cause = finding("info"), finding("error", because="G001"), finding("warning", "G001")
    assert report(info, folded, cause, a="found").primary == cause
    assert report(info, folded).primary is None
    assert report().primary is None


def test_outcomes_compare_with_their_verdict() -> None:
    outcome = Outcome("unmeasured", "no sample")
    assert outcome == "unmeasured"
    assert outcome != "clean"
    assert outcome != Outcome("unmeasured")
    assert str(outcome) == "unmeasured"


def test_severities_are_strings_in_order() -> None:
    assert [s.rank for s in (Severity.INFO, Severity.WARNING, Severity.ERROR)] == [0, 1, 2]
    assert Severity.ERROR == "error"
    assert f"{Severity.ERROR}" == "error"
    assert finding().key == ("A001", "net.1")


def test_a_report_is_readable() -> None:
    cure, folded = (Prescription("Do this."),), finding("warning", "G001", because="A001", message="It follows.")
    made = Report(
        (finding(prescriptions=cure), folded),
        {"a": Outcome("found"), "b": Outcome("unmeasured", "no loss"), "c": Outcome("crashed", "Traceback\nE: x\n")},
        run={"samples": 5, "steps": 9},
    )
    text = str(made)
    assert "crashed: 2 finding(s); 1 of 3 rules judged, 1 unmeasured, 1 crashed; 5 of 9 steps sampled" in text
    assert "A001 dead-units [error] at net.1, step 3: So it is." in text
    assert "-> Do this." in text
    assert "because of it: G001" in text
    assert "b: unmeasured (no loss)" in text
    assert "c: crashed (E: x)" in text
    assert str(UnhealthyTraining(made)) == text


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert not attrs
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


EVIL = "<script>alert(1)</script><img src=x onerror='x'>&amp;\"\u202e"


def test_hostile_text_stays_text_in_notebooks() -> None:
    evil = Finding(EVIL, EVIL, Severity.ERROR, EVIL, 1, NAN, NAN, EVIL, prescriptions=(Prescription(EVIL),))
    parsed = Tags()
    parsed.feed(Report((evil,), {EVIL: Outcome("crashed", EVIL)}, run={"samples": EVIL, "steps": EVIL})._repr_html_())
    assert parsed.tags <= {"p", "b", "br", "table", "tr", "td", "th"}
    assert parsed.text.count(EVIL) == 7


@given(report=reports)
def test_every_report_can_be_shown(report: Report) -> None:
    assert "Training health" in str(report)
    parsed = Tags()
    parsed.feed(report._repr_html_())
    assert parsed.tags <= {"p", "b", "br", "table", "tr", "td", "th"}
