"""``lightning-diag compare``: is one run sicker than another."""

from __future__ import annotations

import argparse
from dataclasses import replace

from lightning_diag.checking import Checker, find_runs, partial, places
from lightning_diag.cli.options import add_judging, add_output, checker_of, emit, outputs, settings_of
from lightning_diag.findings import Report
from lightning_diag.gate import Judged, unmet, without
from lightning_diag.records import History, HistoryError
from lightning_diag.sinks.tally import counted

_EPILOG = """\
Reported are findings that B has and A has not; findings that are worse in B (of a higher severity, or one and a half
times as far beyond the limit); metrics that end worse by more than their noise and 5 % (C001, a warning); layers whose
statistics moved (C002, an info); and findings that are gone (C003, an info). --fail-on says which of them fail.

examples:
  lightning-diag compare lightning_logs/version_0 lightning_logs/version_1
  lightning-diag compare main-run this-run --fail-on warning --format markdown:comparison.md

exit codes: 0 B is no sicker than A, 1 it is, 2 one of them could not be judged"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _EPILOG
    parser.add_argument("run_a", metavar="RUN_A", help="the run to compare with")
    parser.add_argument("run_b", metavar="RUN_B", help="the run in question")
    add_judging(parser)
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Compare, write, and return the exit code."""
    settings = settings_of(options)
    chosen = outputs(settings, options.output)
    checker = checker_of(settings)
    return emit(checker.decision([_judged(checker, options.run_a, options.run_b)]), chosen)


def _judged(checker: Checker, path_a: str, path_b: str) -> Judged:
    from lightning_diag.comparison import compared

    histories, runs = [], []
    for path in (path_a, path_b):
        try:
            file = find_runs(path)[-1]
            history = History.load(file)
        except HistoryError as error:
            return Judged(path, problem=str(error))
        one = checker.judge(history, str(file))
        if one.problem or one.exit_code("error") == 2:
            return one if one.problem else replace(one, problem=f"{file} could not be judged: {one.report.summary()}")
        histories.append(history)
        runs.append(replace(one, report=_whole(one)))
    name = f"{runs[1].run} against {runs[0].run}"
    try:
        report = compared(histories[0], histories[1], runs[0].report, runs[1].report)
    except HistoryError as error:
        return Judged(name, problem=str(error))
    left, known = without(report, checker.baseline.keys)
    parts = [f"{r.run}: {why}" for r, h in zip(runs, histories, strict=True) if (why := partial(h))]
    required = unmet(report, checker.required)
    alone = [f"{r.run} alone: {r.report.verdict}, {counted(r.report.findings)}" for r in runs]
    note = f"only what is new, worse or gone is shown ({'; '.join(alone)})"
    return Judged(name, left, known, required, places(histories[1]), "; ".join(parts), notes=(note,))


def _whole(one: Judged) -> Report:
    return replace(one.report, findings=(*one.report.findings, *one.known))
