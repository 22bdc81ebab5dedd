"""``lightning-diag report``: one HTML page on a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_diag.checking import find_runs
from lightning_diag.cli.options import NO_RUN, add_judging, checker_of, settings_of, write
from lightning_diag.cli.refusal import Refused
from lightning_diag.records import History, HistoryError

_EPILOG = """The page needs no network and no TensorBoard: attach it to a pipeline or a mail.

example:
  lightning-diag report lightning_logs --html health.html

exit codes: those of `lightning-diag check`; the page is written in any case but 2 for an unreadable run"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _EPILOG
    parser.add_argument("run_dir", metavar="RUN", help="directory of a run or of many (the newest), or a history.jsonl")
    parser.add_argument("--html", required=True, metavar="FILE", help="the page to write")
    add_judging(parser)


def run(options: argparse.Namespace) -> int:
    """Judge, write the page, and return the exit code.

    Raises:
        Refused: the run cannot be read, or the page not written.
    """
    checker = checker_of(settings_of(options))
    try:
        file = find_runs(options.run_dir)[-1]
        history = History.load(file)
        judged = checker.judge(history, str(file))
        if judged.problem:
            raise HistoryError(judged.problem)
        decision = checker.decision([judged])
        from lightning_diag.sinks.html import page

        text = page(decision, history)
    except HistoryError as error:
        raise Refused(str(error), NO_RUN) from error
    try:
        write(Path(options.html), text)
    except OSError as error:
        raise Refused(f"cannot write {options.html}: {error.strerror or error}", "choose another --html") from error
    print(f"{options.html}: {judged.report.summary()}")
    return decision.exit_code
