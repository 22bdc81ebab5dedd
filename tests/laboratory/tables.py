"""Scores as tables: for the terminal, and as Markdown for the README."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tests.laboratory.judging import row
from tests.laboratory.scores import Pair, Scores, Share, by_fault, confusion

Table = tuple[Sequence[str], Sequence[Sequence[str]]]  # heading, rows


def summary(scores: Mapping[str, Scores]) -> Table:
    """Return what the tools are worth, a column each."""
    lines = {
        "fault named at warning or above": lambda s: str(s.named),
        "fault named first, as the root cause": lambda s: str(s.first),
        "fault named at the right place": lambda s: str(s.located),
        "fault named first and at the right place": lambda s: str(s.located_first),
        "false alarms, healthy controls": lambda s: str(s.alarms["healthy"]),
        "false alarms, mended twins": lambda s: str(s.alarms["twin"]),
        "median steps until named (share of the run)": lambda s: _when(s),
        "fits that crashed": lambda s: f"{len(s.crashes)} of {s.fits}",
    }
    return ("", *scores), [(name, *(tell(s) for s in scores.values())) for name, tell in lines.items()]


def alarms(scores: Mapping[str, Scores], kind: str) -> Table:
    """Return how many fits without a fault each rule accused."""
    labels = {tool: s.alarms_by_rule[kind] for tool, s in scores.items()}
    rows = [(tool, ", ".join(f"{label} {n}" for label, n in x.items()) or "none") for tool, x in labels.items()]
    return ("", {"healthy": "controls accused: fits by rule", "twin": "twins accused: fits by rule"}[kind]), rows


def faults(pairs: Mapping[str, Sequence[Pair]]) -> Table:
    """Return fault code -> programs, and of each tool the shares named, named first and at the right place."""
    found = {tool: by_fault(x) for tool, x in pairs.items()}
    codes = sorted({code for x in found.values() for code in x})
    heading = ("fault", "programs", *(f"{tool}: named / first / place" for tool in found))
    return heading, [(c, *_programs(found, c), *(_three(x.get(c)) for x in found.values())) for c in codes]


def crossed(pairs: Sequence[Pair]) -> Table:
    """Return the table fault x finding, in fits."""
    rows = confusion(pairs)
    labels = sorted({label for r in rows.values() for label in r if label != "fits"})
    body = [(code, str(r["fits"]), *(str(r.get(x, "") or ".") for x in labels)) for code, r in rows.items()]
    return ("fault", "fits", *labels), body


def listed(pairs: Sequence[Pair]) -> Table:
    """Return what was said of some fits."""
    rows = []
    for p, v in pairs:
        said = ", ".join(f"{label} {value}" for label, value in row(v.said).items()) or "-"
        rows.append((p.name, str(v.seed), p.kind, " ".join(p.accepted) or "-", said))
    return ("program", "seed", "kind", "accepted", "said at warning or above (* first)"), rows


def plain(table: Table) -> str:
    """Return a table for the terminal."""
    heading, rows = table
    widths = [max(len(x) for x in column) for column in zip(heading, *rows, strict=True)]
    lines = ["  ".join(f"{x:{w}}" for x, w in zip(r, widths, strict=True)).rstrip() for r in (heading, *rows)]
    return "\n".join(lines)


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    heading, rows = table
    rule = "|".join([":--", *("--:" for _ in heading[1:])])
    lines = [f"| {' | '.join(r)} |" for r in (heading, *rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _when(s: Scores) -> str:
    return "-" if math.isnan(s.step) else f"{s.step:.0f} ({100 * s.part:.0f} %)"


def _programs(found: Mapping[str, Mapping[str, tuple[Share, Share, Share]]], code: str) -> tuple[str]:
    return (str(max(x[code][0].programs for x in found.values() if code in x)),)


def _three(shares: tuple[Share, Share, Share] | None) -> str:
    return " / ".join(f"{100 * s.value:.0f} %" if s.programs else "-" for s in shares or ()) or "-"
