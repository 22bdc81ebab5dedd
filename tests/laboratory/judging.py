"""What a tool says of a recorded fit, and when it said it first; needs neither torch nor lightning."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_diag.findings import Report, Severity
from lightning_diag.records import History
from lightning_diag.rules import check
from lightning_diag.rules.catalogue import RULES
from tests.laboratory import pool
from tests.laboratory.store import load

_GROWTH = 1.4  # of the number of samples between two judgements of a growing history
Row = dict[str, str]  # code -> "error" or "warning" and whether it is the primary finding: "error*"
Task = tuple[str, int, str, tuple[str, ...], bool]  # program, seed, file, accepted codes, whether to ask when


@dataclass(frozen=True)
class Said:
    """One finding at warning or above, of whatever tool.

    Attributes:
        label: its name in its tool ("A001", "saturation", "TA105").
        codes: the codes of lightning_diag that mean the same; of a peer there may be several, or none.
        severity: "warning" or "error".
        sites: modules and parameters that it names.
        root: False where the tool itself says that another finding explains it.
        step: when it was first seen; -1 where the tool does not say.
    """

    label: str
    codes: tuple[str, ...]
    severity: str
    sites: tuple[str, ...] = ()
    root: bool = True
    step: int = -1


@dataclass(frozen=True)
class Verdict:
    """What a tool says of one fit.

    Attributes:
        program: name of the program.
        seed: its seed.
        said: the findings at warning or above, the most important first.
        steps: optimizer steps of the run.
        first: steps taken when an accepted code was named first (-1: never, or not asked).
        crash: what crashed, "" if nothing.
        cpu_seconds: what recording took.
    """

    program: str
    seed: int
    said: tuple[Said, ...] = ()
    steps: int = 0
    first: int = -1
    crash: str = ""
    cpu_seconds: float = 0.0

    @property
    def primary(self) -> Said | None:
        """The finding that is named first as a root cause."""
        return next((s for s in self.said if s.root), None)


def said(report: Report, accepted: Collection[str] = ()) -> tuple[Said, ...]:
    """Return the findings of a report at warning or above.

    And those of rules that never say more than info, where such a rule names the fault rightly.
    """
    infos = {r.code for r in RULES if r.severity is Severity.INFO} & set(accepted)
    return tuple(
        Said(f.code, (f.code,), str(f.severity), (f.site,), not f.because, f.step)
        for f in report.findings
        if f.severity.rank >= 1 or f.code in infos
    )


def row(findings: Sequence[Said]) -> Row:
    """Return the labels found with the worst severity, a star at the primary one."""
    worst: dict[str, str] = {}
    for s in sorted(findings, key=lambda s: ("info", "warning", "error").index(s.severity)):
        worst[s.label] = s.severity
    primary = next((s.label for s in findings if s.root), "")
    return {label: value + ("*" if label == primary else "") for label, value in sorted(worst.items())}


def prefix(history: History, step: int) -> History:
    """Return what the history was when ``step`` steps had been taken, as of a run that goes on; ``history`` stays."""
    part = copy.copy(history)
    part._points = {k: copy.copy(p) for k, p in history._points.items()}
    part._tables = {}
    part.run = {**history.run, "steps": step, "status": "running"}
    part.truncate(step)
    return part


def moments(history: History) -> Iterator[int]:
    """Yield numbers of steps at geometrically spaced samples, up to the last one."""
    steps, n = history.steps, 1
    while n < len(steps):
        yield int(steps[n - 1]) + 1
        n = max(n + 1, int(n * _GROWTH))
    if len(steps):
        yield int(steps[-1]) + 1


def first_named(history: History, accepted: Collection[str]) -> int:
    """Return the number of steps taken when an accepted code was first found at warning or above, -1 if never."""
    known = sorted(set(accepted) & set(check(History()).rules))
    for step in moments(history) if known else ():
        report = check(prefix(history, step), select=known)
        if any(f.severity.rank >= 1 for f in report.findings):
            return step
    return -1


def judge_file(task: Task) -> Verdict:
    """Judge one recorded fit."""
    name, seed, file, accepted, when = task
    history = load(Path(file))
    report = check(history)
    crash = next((o.reason for o in report.outcomes.values() if o == "crashed"), "")
    found = said(report, accepted)
    named = any(set(s.codes) & set(accepted) for s in found)
    first = first_named(history, accepted) if when and named else -1
    steps = int(history.steps[-1]) + 1 if len(history.steps) else 0
    steps = max(steps, int(history.run.get("steps") or 0))
    first = steps if named and when and first < 0 else first  # at the end of fit, not before
    return Verdict(name, seed, found, steps, first, crash, float(history.run.get("cpu_seconds", 0.0)))


def judge(tasks: Sequence[Task], workers: int = 0) -> tuple[list[Verdict], float]:
    """Judge recorded fits in parallel; return the verdicts in order, and the seconds it took."""
    start = time.perf_counter()
    done: dict[tuple[str, int], Verdict] = {}
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(tasks) < 16:
        done = {t[:2]: judge_file(t) for t in tasks}
    else:
        size = max(1, len(tasks) // (8 * workers))
        pool.run(judge_files, [tasks[i : i + size] for i in range(0, len(tasks), size)], workers, _taker(done))
    return [done[t[:2]] for t in tasks], time.perf_counter() - start


def judge_files(tasks: Sequence[Task]) -> list[Verdict]:
    """Judge several recorded fits."""
    return [judge_file(t) for t in tasks]


def _taker(done: dict[tuple[str, int], Verdict]):  # type: ignore[no-untyped-def]
    def take(tasks: Sequence[Task], outcome: list[Verdict] | Exception) -> None:
        if isinstance(outcome, Exception):
            outcome = [Verdict(t[0], t[1], crash=repr(outcome)) for t in tasks]
        done.update({(v.program, v.seed): v for v in outcome})

    return take
