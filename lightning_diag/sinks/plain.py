"""The report as plain lines, for logs and wherever there is no terminal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lightning_diag.findings import Finding, Report
from lightning_diag.sinks.wording import grouped, looked_at, printable, unjudged, when


def text(report: Report, files: Iterable[str | Path] = (), *, encoding: str = "utf-8") -> str:
    """Return the report as plain lines for logs: one finding a line, nothing folded, nothing wrapped."""
    lines = [f"Training health: {report.verdict}"]
    for group in grouped(report.findings):
        lines += [f"  {_line(f, encoding)}" for f in group.findings]
        lines += [f"      because of it: {_line(f, encoding)}" for some in group.consequences.values() for f in some]
        lines += [f"      to do: {printable(advice, encoding)}" for advice in group.advice()]
    if not report.findings:
        lines.append(f"  {nothing(report)}")
    lines.append("  looked at: " + "; ".join(printable(p, encoding) for p in looked_at(report)))
    lines += ["  " + printable(f"{rule}: {verdict} ({why})", encoding) for rule, verdict, why in unjudged(report)]
    lines += [f"  files: {printable(f, encoding)}" for f in tuple(str(f) for f in files) or log_dir(report)]
    return "\n".join(lines)


def _line(f: Finding, encoding: str) -> str:
    where = f" in {printable(f.site, encoding)}" if f.site else ""
    head = f"{printable(f.code, encoding)} {printable(f.name, encoding)} [{f.severity}]{where}, {when(f)}"
    return f"{head}: {printable(f.message, encoding)}"


def nothing(report: Report) -> str:
    """Return what is said of a report without findings."""
    if report.verdict == "healthy":
        return "Nothing found."
    return "Nothing was judged, so nothing is known." if report.verdict == "not judged" else "No finding."


def log_dir(report: Report) -> tuple[str, ...]:
    """Return the directory of the run, where the report states it."""
    return (str(report.run["log_dir"]),) if report.run.get("log_dir") else ()
