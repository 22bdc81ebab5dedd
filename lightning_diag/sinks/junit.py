"""The decision of the gate as JUnit XML: a suite per run, a test case per rule, the passed ones too."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Tree

from lightning_diag.findings import Finding
from lightning_diag.gate import Decision, Judged
from lightning_diag.sinks.tally import remarks, tally
from lightning_diag.sinks.wording import when

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(decision: Decision) -> str:
    """Return the decision as XML in ASCII, without the characters that XML does not have."""
    root = Tree.Element("testsuites", name="lightning-diag")
    for run in decision.runs:
        root.append(_suite(run, decision))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    Tree.indent(root, " ")
    text: bytes = Tree.tostring(root, encoding="us-ascii", xml_declaration=True)
    return text.decode() + "\n"


def _suite(run: Judged, decision: Decision) -> Tree.Element:
    suite = Tree.Element("testsuite", name=_legal(run.run))
    cases = [*([_unread(run)] if run.trouble else []), *_cases(run, decision)]
    suite.extend(cases)
    for name, tag in (("tests", ""), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(not tag or case.find(tag) is not None for case in cases)))
    lines = [tally(run, decision), *remarks(run)]
    Tree.SubElement(suite, "system-out").text = _legal("\n".join(lines))
    return suite


def _unread(run: Judged) -> Tree.Element:
    """Return a case that is red where all the others would be skipped."""
    case = Tree.Element("testcase", classname="training_health", name="the run can be judged")
    _add(case, "error", run.trouble, "not judged", run.trouble)
    return case


def _cases(run: Judged, decision: Decision) -> list[Tree.Element]:
    codes = {info.name: code for code, info in run.report.rules.items()}
    cases = []
    for rule, outcome in run.report.outcomes.items():
        code = codes.get(rule, "")
        label = f"{code} {rule}".strip()
        case = Tree.Element("testcase", classname=f"training_health.{_legal(rule)}", name=_legal(label))
        found = [f for f in run.report.findings if f.name == rule]
        failing = [f for f in found if decision.fails(f)]
        if outcome.verdict == "crashed":
            _add(case, "error", "the rule crashed", "crashed", outcome.reason)
        elif code in run.required:
            _add(case, "failure", f"required, but {run.required[code]}", "unmeasured", outcome.reason)
        elif failing:
            _add(case, "failure", _line(run, failing[0]), failing[0].severity.value, _lines(run, failing))
        elif outcome.verdict == "unmeasured":
            Tree.SubElement(case, "skipped", message=_legal(f"unmeasured: {outcome.reason}"))
        if passing := [f for f in found if not decision.fails(f)]:
            Tree.SubElement(case, "system-out").text = _legal(_lines(run, passing))
        cases.append(case)
    return cases


def _add(case: Tree.Element, tag: str, message: str, kind: str, text: str) -> None:
    Tree.SubElement(case, tag, message=_legal(message), type=kind).text = _legal(text)


def _line(run: Judged, f: Finding) -> str:
    place = run.place(f.site)
    where = f"{f.site or 'whole model'}{f' ({place})' if place else ''}"
    return f"{f.code} {f.name} [{f.severity}] {where}, {when(f)}: {f.message}"


def _lines(run: Judged, findings: list[Finding]) -> str:
    advice = dict.fromkeys(p.text for f in findings for p in f.prescriptions)
    return "\n".join([*(_line(run, f) for f in findings), *(f"to do: {text}" for text in advice)])


def _legal(text: str) -> str:
    return _ILLEGAL.sub("?", text)
