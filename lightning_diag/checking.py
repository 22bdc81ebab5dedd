"""From paths and settings to verdicts: finds runs, judges them, compares them with a baseline."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning_diag import rules
from lightning_diag.baseline import Baseline
from lightning_diag.config import Settings
from lightning_diag.findings import Severity
from lightning_diag.gate import Decision, Judged, Place, unmet, without
from lightning_diag.records import History, HistoryError

_PLACE = re.compile(r"(.+):(\d+)\Z", re.DOTALL)
_VERSION = re.compile(r"(.*?)(\d+)\Z", re.DOTALL)


class Checker:
    """Judges histories as settings ask.

    Args:
        settings: what is asked for.
        baseline: findings that pass.

    Raises:
        ValueError: a rule, a parameter or its value does not exist, or a required rule is not asked.
        TypeError: a parameter is of another type.
    """

    def __init__(self, settings: Settings, baseline: Baseline | None = None) -> None:
        self.settings, self.baseline = settings, baseline or Baseline()
        self.rules = rules.with_limits(settings.rules, rules.RULES)
        self.required = rules.resolve(settings.require)
        asked = set(rules.resolve(settings.select)) or {r.code for r in rules.RULES}
        asked -= set(rules.resolve((*settings.ignore, *settings.per_site_ignores.get("*", ()))))
        for codes in settings.per_site_ignores.values():
            rules.resolve(codes)
        if absent := [code for code in self.required if code not in asked]:
            raise ValueError(f"required but not asked: {', '.join(absent)}; see select and ignore")

    def judge(self, history: History, name: str) -> Judged:
        """Return what becomes of a history at the gate."""
        try:
            report = rules.check(history, self.settings.select, self.settings.ignores, rules=self.rules)
        except HistoryError as error:
            return Judged(name, problem=str(error))
        except Exception as error:  # a file from anywhere may hold anything; the type tells what is left to tell
            return Judged(name, problem=f"cannot judge {name}: {type(error).__name__}: {error}")
        if not history:
            return Judged(name, problem=f"nothing was recorded in {name}: the run ended before its first step was seen")
        left, known = without(report, self.baseline.keys)
        return Judged(name, left, known, unmet(report, self.required), places(history), partial(history))

    def judge_path(self, path: Path) -> Judged:
        """Return what becomes of a stored history at the gate."""
        name = str(path)
        try:
            history = History.load(path)
        except HistoryError as error:
            return Judged(name, problem=str(error))
        except Exception as error:
            return Judged(name, problem=f"cannot read {name}: {type(error).__name__}: {error}")
        return self.judge(history, name)

    def decision(self, runs: Iterable[Judged]) -> Decision:
        """Return the verdict on these runs."""
        judged = tuple(runs)
        return Decision(judged, Severity(self.settings.fail_on), self.baseline.stale(judged))


def find_runs(path: str | Path, *, every: bool = False) -> list[Path]:
    """Return the history files that a path means.

    Args:
        path: a history file, the directory of a run, or a directory with runs anywhere beneath it.
        every: all runs instead of the newest one (the highest ``version_N`` of a folder, else the last one written).

    Raises:
        HistoryError: there is none; the message says where was looked.
    """
    if not os.fspath(path):
        raise HistoryError("the path of a run is empty: is a variable unset?")  # the working directory is "."
    path = Path(path)
    try:
        if path.suffix == ".json" and path.is_file():
            raise HistoryError(f"{path} is no history; pass the directory of the run, or its history.jsonl")
        if not path.is_dir():
            if not path.exists():
                raise HistoryError(f"cannot read {path}: No such file or directory")
            return [path]
        found, hidden = _walk(path)
    except (OSError, ValueError) as error:
        if isinstance(error, HistoryError):
            raise
        raise HistoryError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not found:
        why = f" (not readable: {', '.join(hidden[:3])})" if hidden else ""
        raise HistoryError(f"no history.jsonl in {path} or beneath it{why}; a run with Diagnostics() leaves one")
    found.sort(key=_age)
    return found if every else found[-1:]


def _walk(path: Path) -> tuple[list[Path], list[str]]:
    hidden: list[str] = []
    found = []
    for directory, _, files in os.walk(path, onerror=lambda e: hidden.append(str(e.filename))):
        found += [Path(directory, f) for f in files if f.startswith("history") and f.endswith(".jsonl")]
        if found and Path(directory) == path:  # the directory of a run: what lies beneath it is another's
            return found, hidden
    return found, hidden


def _age(path: Path) -> tuple[Any, ...]:
    """Return what sorts histories by age: versions of one folder by their number, others by when they were written."""
    named = _VERSION.match(path.parent.name)
    try:
        written = path.stat().st_mtime_ns
        together = max((p.stat().st_mtime_ns for p in path.parent.parent.glob("version_*")), default=written)
    except OSError:
        written = together = 0
    if named and named[1] == "version_":
        return (together, str(path.parent.parent), int(named[2]), _fit(path))
    return (written, str(path.parent), 0, _fit(path))


def _fit(path: Path) -> int:
    """Return which fit of its directory a history is: ``history-2.jsonl`` is the second."""
    number = path.stem.removeprefix("history").removeprefix("-")
    return int(number) if number.isascii() and number.isdigit() else 1


def places(history: History) -> dict[str, Place]:
    """Return site -> line of the user's code, of layers, of their parameters and of the whole model ("")."""
    known: dict[str, Place] = {}
    for layer in history.layers:
        if place := _place(layer.source):
            known.setdefault(layer.site.split("#", 1)[0], place)
            known.update({p: place for p in layer.parameters if p not in known})
    if place := _place(history.run.get("source", "")):
        known.setdefault("", place)
    return known


def _place(text: object) -> Place | None:
    match = _PLACE.match(text) if isinstance(text, str) else None
    if match is None or len(match[2]) > 9:
        return None
    file = match[1]
    if os.path.isabs(file):  # where the run was made; shown relative where it lies beneath us
        here = os.path.join(os.getcwd(), "")
        file = file[len(here) :] if file.startswith(here) else file
    return Place(file.replace("\\", "/"), int(match[2]))


def partial(history: History) -> str:
    """Return why a history is not that of a whole run, "" if it is."""
    status = history.run.get("status")
    if history.run.get("truncated"):
        return "its last line is unfinished: it is still being written, or the run died"
    if status == "running":
        return "it has not ended: it is still running, or died without a word"
    return "" if status in (None, "finished") else f"it was {status}"


def settled(paths: Sequence[str], checker: Checker, *, every: bool = False) -> Decision:
    """Return the verdict on the runs that these paths mean; what cannot be read is a run with a problem."""
    judged: list[Judged] = []
    for path in paths:
        try:
            judged += [checker.judge_path(run) for run in find_runs(path, every=every)]
        except HistoryError as error:
            judged.append(Judged(str(path), problem=str(error)))
    return checker.decision(judged)
