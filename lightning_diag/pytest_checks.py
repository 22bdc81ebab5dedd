"""What ``training_health.check`` does; loaded by the first check, so that other pytest sessions pay nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_diag import rules
from lightning_diag.baseline import Baseline
from lightning_diag.checking import Checker, find_runs
from lightning_diag.config import Settings, load, split
from lightning_diag.findings import Report, severity
from lightning_diag.gate import Decision, Judged, unmet, without
from lightning_diag.records import History, HistoryError
from lightning_diag.sinks.tally import remarks, tally
from lightning_diag.sinks.wording import printable, when

_MOST = 20  # findings that a failure shows


def decided(subject: Any, options: Mapping[str, Any], root: str) -> tuple[Decision, Judged]:
    """Return the decision on a subject, and the run in it.

    Raises:
        ValueError: a rule, limit or setting does not exist, or a trainer has no Diagnostics.
        TypeError: the subject is nothing that can be judged.
    """
    settings = _settings(options, root)
    checker = Checker(settings, Baseline.load(settings.baseline) if settings.baseline else None)
    run = _judged(subject, checker)
    return checker.decision([run]), run


def message(decision: Decision, run: Judged) -> str:
    """Return what a failed check shows: the verdict, each finding with its place and what to do about it."""
    lines = [f"training health: {printable(tally(run, decision))}"]
    lines += [f"  {printable(text)}" for text in remarks(run)]
    shown = sorted(run.report.findings, key=lambda f: not decision.fails(f))[:_MOST]  # what fails first
    for f in shown:
        place = run.place(f.site)
        where = f"{f.site or 'whole model'}{f' ({place})' if place else ''}"
        lines.append(printable(f"{f.code} {f.name} [{f.severity}] {where}, {when(f)}: {f.message}"))
        lines += [printable(f"to do: {p.text}") for p in f.prescriptions[:2]]
    if left := len(run.report.findings) - len(shown):
        lines.append(f"and {left} more findings")
    crashed = [(n, o.reason) for n, o in run.report.outcomes.items() if o.verdict == "crashed"]
    lines += [f"{name} crashed:\n{reason}" for name, reason in crashed]
    return "\n  ".join(lines)


def _settings(options: Mapping[str, Any], root: str) -> Settings:
    made: dict[str, Any] = {}
    for name, value in options.items():
        if name == "fail_on":
            made[name] = severity(value).value
        else:
            made[name] = split(value) if isinstance(value, str) else tuple(value)
    return replace(load(root), **made)


def _judged(subject: Any, checker: Checker) -> Judged:
    if isinstance(subject, History):
        return checker.judge(subject, "history")
    if isinstance(subject, Report):
        return _of_report(subject, checker)
    if isinstance(subject, (str, os.PathLike)):
        try:
            return checker.judge_path(find_runs(Path(subject))[-1])
        except HistoryError as error:
            return Judged(str(subject), problem=str(error))
    callbacks = getattr(subject, "callbacks", None)
    if isinstance(callbacks, (list, tuple)):
        subject = _diagnostics(callbacks)
    if isinstance(history := getattr(subject, "history", None), History):
        return checker.judge(history, str(history.run.get("log_dir", "history")))
    raise TypeError(
        f"training_health.check takes a Trainer, a Diagnostics, a run directory, a History or a Report, got {subject!r}"
    )


def _diagnostics(callbacks: list[Any] | tuple[Any, ...]) -> Any:
    found = [c for c in callbacks if isinstance(getattr(c, "history", None), History)]
    active = [c for c in found if not getattr(c, "aside", False)]
    if not active:
        raise ValueError("the Trainer has no Diagnostics among its callbacks: add lightning_diag.Diagnostics()")
    return active[0]


def _of_report(report: Report, checker: Checker) -> Judged:
    """Return a report, judged before, as far as it is asked for."""
    settings = checker.settings
    asked = set(rules.resolve(settings.select)) or set(report.rules)
    asked -= set(rules.resolve(settings.ignore))
    names = {info.name for code, info in report.rules.items() if code in asked}
    own = {info.name for info in report.rules.values()}
    kept = replace(
        report,
        findings=tuple(f for f in report.findings if f.code in asked),
        outcomes={n: o for n, o in report.outcomes.items() if n in names or n not in own},
        rules={code: info for code, info in report.rules.items() if code in asked},
    )
    left, known = without(kept, checker.baseline.keys)
    return Judged("report", left, known, unmet(left, checker.required))
