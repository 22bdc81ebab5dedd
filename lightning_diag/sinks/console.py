"""The report on a terminal: one table at the end of a fit, plain lines where there is no terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, Group as Lines, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lightning_diag.findings import Finding, Report, Severity
from lightning_diag.sinks.plain import log_dir, nothing, text
from lightning_diag.sinks.wording import Group, grouped, listed, looked_at, printable, short_site, unjudged, when

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold cyan"}
_VERDICTS = {"healthy": "green", "sick": "red", "warnings": "yellow", "not judged": "magenta", "crashed": "magenta"}
_SHOWN = 3  # findings of one rule that are shown with their evidence; the sites of the others are listed
_WIDEST = 120
_REASONS = 6  # unmeasured rules that are told with their reasons


@dataclass(frozen=True)
class _Signs:
    error: str = "✖"
    warning: str = "▲"
    info: str = "●"
    cure: str = "→"
    folded: str = "╰"
    dot: str = " · "

    def of(self, severity: Severity) -> str:
        return str(getattr(self, severity.value))


_ASCII = _Signs("x", "!", "i", "->", "`-", ", ")


@dataclass(frozen=True)
class _ReportTable:
    """A report as rich shows it; signs and widths follow the console."""

    report: Report
    files: tuple[str, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        width, encoding = min(options.max_width, _WIDEST), options.encoding or "utf-8"
        signs = _Signs() if encoding.lower().startswith("utf") else _ASCII
        rows = Table.grid(padding=(0, 2, 0, 0), expand=True)
        rows.add_column(no_wrap=True)
        rows.add_column(ratio=1, overflow="fold")
        for number, group in enumerate(grouped(self.report.findings)):
            if number:
                rows.add_row("", "")
            head = group.head
            badge = Text(f"{signs.of(head.severity)} {printable(head.code, encoding)}", _STYLES[head.severity])
            rows.add_row(badge, Lines(*_evidence(group, signs, encoding, width - 16)))
        style = _VERDICTS.get(self.report.verdict, "magenta")
        body = [rows] if self.report.findings else [Text(nothing(self.report), style=f"bold {style}")]
        yield Panel(
            Lines(*body, Text(), *_footer(self.report, self.files, signs, encoding)),
            title=Text.assemble(" Training health: ", (self.report.verdict, f"bold {style}"), " "),
            title_align="left",
            border_style=style,
            box=box.ROUNDED,
            padding=(1, 1, 0, 1),
            width=width,
        )


def table(report: Report, files: Iterable[str | Path] = ()) -> RenderableType:
    """Return the report as a rich renderable: root causes with evidence and cure, consequences folded beneath.

    Args:
        report: what to show.
        files: where more is found; shown as given.
    """
    return _ReportTable(report, tuple(str(f) for f in files) or log_dir(report))


def print_report(report: Report, console: Console | None = None, files: Iterable[str | Path] = ()) -> None:
    """Print the report: a table on a terminal or in a notebook, plain lines elsewhere or with ``NO_COLOR`` set."""
    console = console or Console()
    if (console.is_terminal or console.is_jupyter) and not os.environ.get("NO_COLOR"):
        console.print(table(report, files))
    else:
        plain = text(report, files, encoding=console.encoding)
        console.print(Text(plain), soft_wrap=True, highlight=False)


def live_line(finding: Finding) -> str:
    """Return one line of plain text (no markup) that tells of a new finding while training goes on.

    Example:
        >>> live_line(Finding("L001", "non-finite-loss", Severity.ERROR, "", 12, 0, 0, "The loss is NaN."))
        'lightning_diag: error at step 12: L001 non-finite-loss: The loss is NaN.'
    """
    where = f" in {printable(finding.site)}" if finding.site else ""
    step = f"step {finding.step}" if finding.step >= 0 else "the start"
    what = f"{printable(finding.code)} {printable(finding.name)}"
    return f"lightning_diag: {finding.severity} at {step}: {what}{where}: {printable(finding.message)}"


def _evidence(group: Group, signs: _Signs, encoding: str, width: int) -> Iterator[RenderableType]:
    head = group.head
    count = f"{signs.dot}{len(group.findings)} places" if len(group.findings) > 1 else ""
    name = Text(printable(head.name, encoding), style="bold")
    if not count:
        name.append(_place(head, signs, encoding, width - len(head.name)), style="not bold cyan")
    yield name.append(count, style="not bold dim")
    for finding in group.findings[:_SHOWN]:
        if count:
            yield Text(_place(finding, signs, encoding, width).removeprefix(signs.dot), style="cyan")
        yield Padding(Text(printable(finding.message, encoding)), (0, 0, 0, 2 if count else 0))
    if len(group.findings) > _SHOWN:
        others = listed((f.site for f in group.findings[_SHOWN:]), most=6, width=width // 2)
        yield Text(f"also in {printable(others, encoding)}", style="cyan")
    for advice in group.advice():
        yield _hanging(Text(signs.cure, "bold green"), Text(printable(advice, encoding), "green"))
    for some in group.consequences.values():
        yield _hanging(Text(signs.folded, "dim"), Text(_consequence(some, encoding, width), "dim"))


def _place(finding: Finding, signs: _Signs, encoding: str, width: int) -> str:
    steps = when(finding)
    site = short_site(printable(finding.site, encoding), max(width - len(steps) - 8, 16))
    return f"{signs.dot}{site}{signs.dot}{steps}"


def _consequence(some: Sequence[Finding], encoding: str, width: int) -> str:
    first = some[0]
    where = listed((f.site for f in some), most=3, width=max(width // 3, 16))
    return printable(f"explains {first.code} {first.name} in {where}, from step {min(f.step for f in some)}", encoding)


def _hanging(sign: Text, body: Text) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_row(sign, body)
    return grid


def _footer(report: Report, files: Sequence[str], signs: _Signs, encoding: str) -> Iterator[RenderableType]:
    yield Text(printable(signs.dot.join(looked_at(report)), encoding), style="dim")
    rows = unjudged(report)
    folded = [rule for rule, verdict, _ in rows if verdict == "unmeasured"]
    for rule, verdict, why in rows:
        if verdict == "crashed" or len(folded) <= _REASONS:
            style = "bold magenta" if verdict == "crashed" else "dim"
            yield Text(printable(f"{rule}: {verdict}, {why}", encoding, limit=240), style=style)
    if len(folded) > _REASONS:  # a wall of reasons would push what was found off the screen
        why = "; why is in health.json, and in `lightning-diag check RUN | cat`"
        yield Text(printable(f"unmeasured: {', '.join(folded)}{why}", encoding), style="dim")
    for name in files:
        yield Text(printable(name, encoding), style="dim underline", overflow="fold")
