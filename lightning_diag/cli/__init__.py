"""The console script ``lightning-diag``: judge, compare and show recorded runs, explain the rules, see the demo.

Exit codes: 0 healthy, 1 findings at or above ``--fail-on``, 2 could not judge (no run, unreadable, nothing recorded,
unknown rule, wrong usage). Neither torch nor lightning is imported, but for ``demo``. A command is a row of
:data:`COMMANDS` and a module of this package with ``configure(parser)`` and ``run(options)``.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from argparse import Action, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_diag.cli.refusal import Refused, refuse


@dataclass(frozen=True)
class Command:
    """A command: its name, what it does, and the module that does it."""

    name: str
    summary: str
    module: str


COMMANDS: tuple[Command, ...] = (
    Command("demo", "train a sick network and its healthy twin on real digits, and show both reports", "demo"),
    Command("check", "judge recorded runs, without training: exit code 0 healthy, 1 sick, 2 could not judge", "check"),
    Command("compare", "tell whether one run is sicker than another, with the same exit codes", "compare"),
    Command("report", "write one self-contained HTML page on a run, with curves and heatmaps", "report"),
    Command("schedules", "draw what a learning rate will do over a run, before it runs", "schedules"),
    Command("rules", "list the rules: what can be found", "rules"),
    Command("explain", "say what a rule finds, why it matters, when it is silent and what to do", "explain"),
)
_ABOUT = """Finds out why a network does not train: dead units, vanishing gradients, wrong learning rates, overfitting.

Add Diagnostics() to the callbacks of a Lightning Trainer; every run then leaves history.jsonl and health.json in its
log directory, which this command reads. (Or set LIGHTNING_DIAG=1: every Trainer then gets one, without a change.)"""
_EXAMPLES = """examples:
  lightning-diag demo                                            see it work
  lightning-diag check lightning_logs                            judge the newest run
  lightning-diag check lightning_logs/version_0 --ignore V --fail-on warning
  lightning-diag compare lightning_logs/version_0 lightning_logs/version_1
  lightning-diag explain A001                                    what does this finding mean?

`lightning-diag COMMAND --help` says more of each.

exit codes: 0 healthy, 1 findings at or above --fail-on, 2 could not judge (or wrong usage)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    if sys.stdout is None or sys.stderr is None:  # closed by the caller; the exit code still tells
        nowhere = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    try:
        return _run(sys.argv[1:] if argv is None else list(argv))
    except BrokenPipeError:  # the reader (head, say) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _run(argv: list[str]) -> int:
    chosen = next((c for c in COMMANDS if argv and c.name == argv[0]), None)
    try:
        if chosen is not None and chosen.name == "demo":  # the demo has options of its own
            return _code(importlib.import_module("lightning_diag.cli.demo").run(argv[1:]))
        if chosen is None and argv and not argv[0].startswith("-"):
            near = difflib.get_close_matches(argv[0], [c.name for c in COMMANDS], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"commands are {', '.join(c.name for c in COMMANDS)}"
            raise Refused(f"no command {argv[0]!r}", hint)
        parser = _parser(chosen)
        if not argv:
            parser.print_help()
            return 2
        options = parser.parse_args(argv)
        if chosen is None:  # argparse has refused all else
            return 2
        return _code(importlib.import_module(f"lightning_diag.cli.{chosen.module}").run(options))
    except Refused as refused:
        return refuse(str(refused), refused.advice)
    except SystemExit as stop:  # --help, --version, or a usage error that was already told
        return stop.code if isinstance(stop.code, int) else 2


def _code(result: object) -> int:
    return result if isinstance(result, int) else 0


def _parser(chosen: Command | None) -> ArgumentParser:
    """Return the parser; only the chosen command is imported and gets its options."""
    parser = ArgumentParser(
        prog="lightning-diag", description=_ABOUT, epilog=_EXAMPLES, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(required=True, metavar="command", title="commands")
    for command in COMMANDS:
        about = f"{command.summary[0].upper()}{command.summary[1:]}."
        one = commands.add_parser(
            command.name,
            help=command.summary,
            description=about,
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if command is chosen:
            importlib.import_module(f"lightning_diag.cli.{command.module}").configure(one)
    return parser


class _Version(Action):
    """Prints the version; to look it up takes longer than to parse the command line."""

    def __call__(self, parser: ArgumentParser, *args: object, **options: object) -> None:
        print(f"lightning-diag {_version()}")
        parser.exit()


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("lightning-diag")
    except metadata.PackageNotFoundError:
        return "(not installed)"


__all__ = ["COMMANDS", "Command", "main"]
