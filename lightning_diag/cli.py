"""The console script ``lightning-diag``: look at a recorded run, at the rules, or at the demo.

Exit codes: 0 healthy, 1 findings at or above ``--fail-on``, 2 could not judge (no run, unreadable, nothing recorded,
unknown rule, wrong usage). Neither torch nor lightning is imported, but for ``demo``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning_diag.findings import RuleInfo, Severity

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from rich.console import Console

_HELP = {
    "demo": "train a sick network and its healthy twin on real digits, and show both reports (under a minute)",
    "check": "judge a recorded run again, without training: exit code 0 healthy, 1 sick, 2 could not judge",
    "rules": "list the rules: what can be found",
    "explain": "say what a rule finds, why it matters, when it is silent and what to do",
}
_ABOUT = """Finds out why a network does not train: dead units, vanishing gradients, wrong learning rates, overfitting.

Add Diagnostics() to the callbacks of a Lightning Trainer; every run then leaves history.jsonl and health.json in its
log directory, which this command reads."""
_EXAMPLES = """examples:
  lightning-diag demo                                            see it work
  lightning-diag check lightning_logs/version_0                  judge a run
  lightning-diag check lightning_logs/version_0 --ignore V --fail-on warning
  lightning-diag explain A001                                    what does this finding mean?

exit codes: 0 healthy, 1 findings at or above --fail-on, 2 could not judge (or wrong usage)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        return _run(sys.argv[1:] if argv is None else list(argv))
    except BrokenPipeError:  # the reader (head, say) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _run(argv: list[str]) -> int:
    parser = _parser()
    if not argv:
        parser.print_help()
        return 2
    if argv[0] == "demo":
        return _demo(argv[1:])  # the demo has options of its own
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:  # --help, --version, or a usage error that was already told
        return stop.code if isinstance(stop.code, int) else 2
    command = options.subcommand
    chosen = options[command]
    if command == "check":
        return _check(chosen.run_dir, _split(chosen.select), _split(chosen.ignore), Severity(chosen.fail_on))
    if command == "explain":
        return _explain(chosen.code)
    return _rules()


def _parser() -> ArgumentParser:
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ArgumentParser

    def made(description: str, epilog: str = "", **options: Any) -> ArgumentParser:
        return ArgumentParser(
            description=description,
            epilog=epilog,
            formatter_class=RawDescriptionHelpFormatter,
            default_env=False,
            **options,
        )

    parser = made(_ABOUT, _EXAMPLES, prog="lightning-diag", version=_version())
    commands = parser.add_subcommands(required=True, metavar="command", title="commands", description=None)
    for name, text in _HELP.items():
        one = made(f"{text[0].upper()}{text[1:]}.")
        commands.add_subcommand(name, one, help=text)
        if name == "check":
            one.add_argument("run_dir", metavar="RUN_DIR", help="log directory of a run, or a history.jsonl")
            one.add_argument("--select", default="", metavar="RULES", help="only these rules, as in A,G001,overfitting")
            one.add_argument("--ignore", default="", metavar="RULES", help="all rules but these")
            one.add_argument(
                "--fail-on",
                default="error",
                choices=[s.value for s in Severity],
                help="exit with 1 for findings from this severity up",
            )
        elif name == "explain":
            one.add_argument("code", metavar="CODE", help="code, name or prefix: A001, dead-units, A")
    return parser


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("lightning-diag")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check(run_dir: str, select: tuple[str, ...], ignore: tuple[str, ...], fail_on: Severity) -> int:
    from lightning_diag import rules
    from lightning_diag.records import History, HistoryError
    from lightning_diag.sinks.console import print_report

    try:
        rules.resolve(select), rules.resolve(ignore)
        history = History.load(run_dir)
        report = rules.check(history, select, ignore)
    except HistoryError as error:
        return _refuse(str(error), "a run leaves history.jsonl in its log directory if Diagnostics() is a callback")
    except Exception as error:  # a file from anywhere may hold anything; the type tells what is left to tell
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        return _refuse(f"cannot judge {run_dir}: {kind}{error}", "`lightning-diag rules` lists the rules")
    if not history:
        return _refuse(f"nothing was recorded in {run_dir}", "the run ended before its first step was seen")
    print_report(report, _console(), [run_dir])
    return report.exit_code(fail_on)


def _rules() -> int:
    from rich.table import Table
    from rich.text import Text

    from lightning_diag.rules import rule_infos

    console = _console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("code", style="bold", no_wrap=True)
    table.add_column("name", style="cyan", no_wrap=True)
    table.add_column("what it finds")
    for code, info in rule_infos().items():
        table.add_row(code, info.name, Text(info.summary))
    console.print(table)
    console.print(Text("\n`lightning-diag explain CODE` says more of each.", style="dim"))
    return 0


def _explain(selector: str) -> int:
    from lightning_diag.rules import resolve, rule_infos

    try:
        codes = resolve([selector])
    except ValueError as error:
        return _refuse(str(error), "`lightning-diag rules` lists the rules")
    infos = rule_infos()
    for code in codes:
        _print_rule(infos[code], _console())
    return 0


def _print_rule(info: RuleInfo, console: Console) -> None:
    import textwrap

    from rich.text import Text

    console.print(Text.assemble((f"{info.code} {info.name}", "bold"), "\n", info.summary))
    paragraph: list[str] = []
    for line in [*info.help.removeprefix(info.summary).replace("``", "`").splitlines(), ""]:
        is_heading = line.rstrip().endswith(":") and not line.startswith(" ")
        if paragraph and (is_heading or not line.strip()):
            width = min(console.width, 100)
            filled = textwrap.fill(" ".join(paragraph), width, initial_indent="  ", subsequent_indent="  ")
            console.print(Text(filled), soft_wrap=True)
            paragraph = []
        if is_heading:
            console.print(Text(f"\n{line.strip().rstrip(':')}", style="bold cyan"))
        elif line.strip():
            paragraph.append(line.strip())
    console.print(Text(f"\n{info.url}\n" if info.url else "", style="dim"))


def _demo(argv: Sequence[str]) -> int:
    try:
        code = importlib.import_module("lightning_diag.demo").main(argv)
    except SystemExit as stop:  # --help or a usage error
        return stop.code if isinstance(stop.code, int) else 2
    except ModuleNotFoundError as error:
        return _refuse(f"the demo needs {error.name}, which is not installed", "pip install 'lightning_diag[examples]'")
    return code if isinstance(code, int) else 0


def _refuse(problem: str, advice: str) -> int:
    """Say on standard error what is wrong and what to do; return the exit code for it."""
    from rich.console import Console
    from rich.text import Text

    from lightning_diag.sinks.wording import printable

    console = Console(stderr=True, highlight=False)
    console.print(Text.assemble(("error: ", "bold red"), printable(problem, console.encoding)), soft_wrap=True)
    console.print(Text(f"  {advice}", style="dim"), soft_wrap=True)
    return 2


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


if __name__ == "__main__":
    sys.exit(main())
