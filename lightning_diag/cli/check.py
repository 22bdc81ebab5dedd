"""``lightning-diag check``: the gate."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_diag.baseline import Baseline
from lightning_diag.checking import settled
from lightning_diag.cli.options import add_judging, add_output, checker_of, emit, outputs, settings_of
from lightning_diag.cli.refusal import Refused
from lightning_diag.gate import Decision

_EPILOG = """examples:
  lightning-diag check lightning_logs                        the newest run beneath
  lightning-diag check lightning_logs --all                  every run beneath
  lightning-diag check RUN --require A,G,L001                red where these rules could not judge
  lightning-diag check RUN --format github --format junit:health.xml --format sarif:health.sarif
  lightning-diag check RUN --baseline health-baseline.json --write-baseline      accept what is found today
  lightning-diag check RUN --baseline health-baseline.json                       fail on new findings alone

exit codes:
  0  every run was judged, and nothing from --fail-on up was found
  1  something was found, or a rule named by --require could not judge
  2  a run could not be judged: missing, unreadable, nothing recorded, no rule had what it needs, or a rule crashed;
     or the command is wrong

A run that is still being written, or that died, is judged by what is there, and said to be partial.
Settings may stand in [tool.lightning-diag] of pyproject.toml, and in LIGHTNING_DIAG_SELECT and so on; the command line
wins over the environment, the environment over the file."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _EPILOG
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directory of a run or of many, or a history.jsonl")
    parser.add_argument("--all", action="store_true", help="judge all runs of a directory, not only the newest")
    add_judging(parser)
    parser.add_argument("--write-baseline", action="store_true", help="write what is found now to --baseline, exit 0")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Judge, write, and return the exit code."""
    settings = settings_of(options)
    chosen = outputs(settings, options.output)
    if options.write_baseline and not settings.baseline:
        raise Refused("--write-baseline needs a file", "add --baseline FILE, or baseline = ... in pyproject.toml")
    decision = settled(options.runs, checker_of(settings, baseline=not options.write_baseline), every=options.all)
    if options.write_baseline:
        return _write_baseline(decision, settings.baseline)
    return emit(decision, chosen)


def _write_baseline(decision: Decision, file: str) -> int:
    """Accept what was found; not where something could not be judged, which would then pass for known."""
    for one in decision.runs:
        if one.exit_code("error") == 2:
            raise Refused(f"no baseline was written: {one.problem or one.run + ' could not be judged'}", "see the run")
    baseline = Baseline.of(one.report for one in decision.runs)
    try:
        baseline.write(Path(file))
    except OSError as error:
        raise Refused(f"cannot write {file}: {error.strerror or error}", "choose another --baseline") from error
    print(f"{file}: {len(baseline.keys)} finding(s) are known from now on")
    return 0
