"""When a running fit is judged, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lightning_diag import rules
from lightning_diag.callbacks.asked import Asked
from lightning_diag.findings import Finding, Outcome, Report, Severity
from lightning_diag.records import History

_FIRST, _GROWTH = 8, 1.4
_GAP, _GAP_TO_STOP = 16, 3  # most samples between two judgements; fewer where a finding ends the training
_LATEST = 32  # samples that the tripwires see
_SHARE, _FREE = 0.01, 0.2  # of the time since the start that judging may take while training runs; seconds on top


class Judgement:
    """Judges a growing history: a few tripwires at every sample, all rules at geometrically spaced ones.

    All rules together wait while they have had more than their share of the time, unless a finding ends the training.

    Args:
        history: what is judged.
        asked: the rules, with their limits.
        often: whether a finding must be known soon, because it ends the training.
        clock: gives seconds.
    """

    def __init__(
        self,
        history: History,
        asked: Asked | None = None,
        *,
        often: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._often, self._gap = often, _GAP_TO_STOP if often else _GAP
        self._clock = clock
        self.history, self.asked = history, asked or Asked()
        self.crash: str = ""
        self.report = self._judged()
        self._told: set[tuple[str, str]] = set()
        self._next = {"sample": _FIRST, "epoch": 1}
        self._began, self._spent = clock(), 0.0

    def due(self, kind: str, count: int) -> bool:
        """Return whether all rules are due at this number of samples or epochs."""
        if count < self._next[kind] or not self._affordable():
            return False
        self._next[kind] = max(count + 1, min(count + self._gap, int(count * _GROWTH)))
        return True

    def _affordable(self) -> bool:
        return self._often or self._spent <= _FREE + _SHARE * (self._clock() - self._began)

    def judge(self) -> Report:
        """Judge with all rules and return the report."""
        start = self._clock()
        self.report = self._judged()
        self._spent += self._clock() - start
        return self.report

    def trip(self) -> list[Finding]:
        """Judge with the tripwires alone; return the findings."""
        return list(self._asked(self.history.tail(_LATEST), self.asked.tripwires).findings)

    def _judged(self) -> Report:
        report = self._asked(self.history, self.asked.rules)
        return self._with_crash(report) if self.crash else report

    def _asked(self, history: History, which: rules.Rules) -> Report:
        return rules.check(history, self.asked.select, self.asked.ignore, rules=which)

    def last(self) -> Report:
        """Return the last report, with the outcome "crashed": where judging itself is what failed."""
        self.report = self._with_crash(self.report)
        return self.report

    def _with_crash(self, report: Report) -> Report:
        outcomes = {**report.outcomes, "diagnostics": Outcome("crashed", self.crash)}
        return Report(report.findings, outcomes, report.rules, report.run)

    def news(self, findings: Sequence[Finding]) -> list[Finding]:
        """Return the error-level findings not told before, once per code and site."""
        new = [f for f in findings if f.severity is Severity.ERROR and f.key not in self._told]
        self._told |= {f.key for f in new}
        return new
