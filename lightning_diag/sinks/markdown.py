"""The report as Markdown, as TensorBoard's text tab and code hosts show it."""

from __future__ import annotations

import re

from lightning_diag.findings import Finding, Report
from lightning_diag.gate import Decision
from lightning_diag.sinks.tally import counted, ending, remarks
from lightning_diag.sinks.wording import Group, grouped, looked_at, printable, unjudged, when

_SPECIAL = re.compile(r"([\\`*_\[\]|#])")
_MOST_LINES = 60


def escaped(text: object) -> str:
    r"""Return text that Markdown shows as it is, also in a table's cell.

    Example:
        >>> print(escaped("a|b_c\n<b>"))
        a\|b\_c &lt;b&gt;
    """
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)


def markdown(report: Report) -> str:
    """Return the report as Markdown: verdict, findings under their causes, what to do, what was not judged."""
    groups = grouped(report.findings)
    parts = [f"## Training health: {escaped(report.verdict)}", escaped("; ".join(looked_at(report))) + "."]
    lines = [line for group in groups for line in _lines(group)]
    if lines:
        parts.append("\n".join(lines[:_MOST_LINES]))
    if len(lines) > _MOST_LINES:
        parts.append(f"{len(lines) - _MOST_LINES} more in health.json.")
    cures = [(f"{g.head.code} {g.head.name}", advice) for g in groups for advice in g.advice()]
    if cures:
        parts += ["### What to do", "\n".join(f"- {escaped(advice)} ({escaped(rule)})" for rule, advice in cures)]
    if unjudged(report):
        table = _table(("rule", "verdict", "reason"), [tuple(map(escaped, row)) for row in unjudged(report)])
        parts += ["### Not judged", table]
    return "\n\n".join(parts) + "\n"


def decided(decision: Decision) -> str:
    """Return the decision of the gate on all runs as Markdown."""
    parts = ["# Training health\n"]
    for run in decision.runs:
        parts.append(f"Run: {escaped(run.run)}\n")
        if run.problem:
            parts.append(f"## Training health: not judged\n\n{escaped(run.problem)}\n")
            continue
        parts += [f"**{escaped(text)}**\n" for text in remarks(run)]
        parts += [f"{counted(run.known)} known to the baseline, not shown.\n"] if run.known else []
        parts.append(markdown(run.report))
    parts += [f"{escaped(line)}\n" for line in ending(decision)]
    return "\n".join(parts)


def _lines(group: Group) -> list[str]:
    """Return list items, for a table's cells are too narrow in TensorBoard: causes, and what they explain below."""
    below = [f for some in group.consequences.values() for f in some]
    return [f"- **{f.severity}** {_line(f)}" for f in group.findings] + [
        f"    - because of {escaped(group.head.code)}: {_line(f)}" for f in below
    ]


def _line(f: Finding) -> str:
    place = escaped(f.site or "whole model")
    return f"**{escaped(f'{f.code} {f.name}')}**, {place}, {when(f)}: {escaped(f.message)}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
