"""Decisions of the gate made by hand, for the tests of its formats."""

from __future__ import annotations

from dataclasses import replace

from lightning_diag.findings import Outcome, Report, RuleInfo, Severity
from lightning_diag.gate import Decision, Judged, Place
from tests.sinks.reports import CRASHED, EVIL, HEALTHY, HOSTILE, SICK, UNJUDGED, finding

_NAMES = {
    "A001": "dead-units", "A002": "saturated-units", "G001": "vanishing-gradients", "G002": "exploding-gradients",
    "L002": "loss-not-decreasing", "V001": "overfitting",
}  # fmt: skip
RULES = {c: RuleInfo(c, n, f"Rule {n}.", f"Rule {n}.\n\nWhat to do:\n    Mend ``it``.") for c, n in _NAMES.items()}
_PLACES = {"": Place("src/model.py", 7), "net": Place("src/model.py", 12), "net.0.weight": Place("src/net.py", 3)}


def asked(report: Report) -> Report:
    """The report with what is known of its rules."""
    names = set(report.outcomes)
    return replace(report, rules={c: r for c, r in RULES.items() if r.name in names})


SICK_RUN = Judged(
    "logs/version_3/history.jsonl",
    asked(SICK),
    known=(finding("V001", "overfitting", Severity.WARNING, "head", 9, "Known."),),
    required={"A002": "unmeasured: the model has no bounded activation"},
    places=_PLACES,
    partial="it was interrupted",
)
HEALTHY_RUN = Judged("logs/version_4/history.jsonl", asked(HEALTHY))
UNREAD_RUN = Judged("logs/version_5", problem="no history.jsonl in logs/version_5 or beneath it")
CRASHED_RUN = Judged("logs/version_6/history.jsonl", asked(CRASHED))
UNJUDGED_RUN = Judged("logs/version_7/history.jsonl", asked(UNJUDGED))
HOSTILE_RUN = Judged(
    EVIL, asked(HOSTILE), known=HOSTILE.findings, places={EVIL: Place(EVIL, 3)}, partial=EVIL, notes=(EVIL,)
)  # fmt: skip

ALL = Decision(
    (SICK_RUN, HEALTHY_RUN, UNREAD_RUN, CRASHED_RUN, UNJUDGED_RUN), Severity.ERROR, (("A001", "net.9"), ("L002", ""))
)
ONE = Decision((SICK_RUN,))
GOOD = Decision((HEALTHY_RUN,))
HOSTILE_DECISION = Decision((HOSTILE_RUN, Judged(EVIL, problem=EVIL)), Severity.INFO, ((EVIL, EVIL),))


def many(count: int) -> Decision:
    """A run with so many findings."""
    sites = [f"layers.{i}.{EVIL if i % 100 == 0 else 'x'}" for i in range(count)]
    severities = tuple(Severity)
    found = tuple(
        finding("A001", "dead-units", severities[i % 3], s, i, f"Message {i} of 100 % | *x*")
        for i, s in enumerate(sites)
    )
    report = asked(Report(found, {"dead-units": Outcome("found")}, run={"samples": 5, "steps": 9}))
    return Decision((Judged("run", report, found),))
