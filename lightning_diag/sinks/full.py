"""Verdicts for people at a terminal: the report of every run, then what comes of it."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from lightning_diag.gate import Decision, Judged
from lightning_diag.sinks.plain import text
from lightning_diag.sinks.tally import commandless, counted, ending, remarks
from lightning_diag.sinks.wording import printable


def full(decision: Decision, *, encoding: str = "utf-8", problems: bool = True) -> str:
    """Return the verdict as plain lines; without ``problems`` runs that could not be judged are left out."""
    lines: list[str] = []
    for run in (r for r in decision.runs if problems or not r.problem):
        if not run.problem:
            lines += [text(run.report, [run.run], encoding=encoding)]
        lines += [f"  {printable(x, encoding)}" for x in _remarks(run)]
    lines += [printable(x, encoding) for x in ending(decision)]
    return "\n".join(commandless(line) for some in lines for line in some.split("\n")) + "\n"


def print_full(decision: Decision, stream: TextIO | None = None) -> None:
    """Print the verdict: tables on a terminal, plain lines elsewhere or with ``NO_COLOR`` set.

    Runs that could not be judged are left out: standard error is for them.
    """
    stream = stream or sys.stdout
    forced = os.environ.get("FORCE_COLOR") or os.environ.get("TTY_COMPATIBLE") == "1"
    if os.environ.get("NO_COLOR") or not (stream.isatty() or forced):
        stream.write(full(decision, encoding=stream.encoding or "utf-8", problems=False))
        return
    from rich.console import Console
    from rich.text import Text

    from lightning_diag.sinks.console import table

    console = Console(file=stream, highlight=False)
    for run in (r for r in decision.runs if not r.problem):
        console.print(table(run.report, [run.run]))
        for line in _remarks(run):
            style = "bold red" if run.required else "yellow"
            console.print(Text(f"  {printable(line, console.encoding)}", style), soft_wrap=True)
    for line in ending(decision):
        console.print(
            Text(printable(line, console.encoding), "bold" if "exit code" in line else "yellow"), soft_wrap=True
        )


def _remarks(run: Judged) -> list[str]:
    known = [f"{counted(run.known)} known to the baseline, not shown"] if run.known else []
    return [f"error: {run.problem}"] if run.problem else [*remarks(run), *known]
