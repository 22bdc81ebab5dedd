"""The decision of the gate as annotations of a GitHub workflow, and the rest in its job summary."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from lightning_diag.findings import Finding, Severity
from lightning_diag.gate import Decision, Judged
from lightning_diag.sinks.markdown import decided
from lightning_diag.sinks.tally import commandless, ending, tally
from lightning_diag.sinks.wording import printable, when

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}
_MOST = 10  # annotations of one level that GitHub shows per step
_MOST_SUMMARY_BYTES = 900_000  # GitHub refuses a summary above 1 MiB


def github(decision: Decision, *, encoding: str = "utf-8") -> str:
    """Return workflow commands: errors first, at most ten of each level; what is left out is counted."""
    commands: dict[str, list[str]] = {level: [] for level in _LEVELS.values()}
    for run in decision.runs:
        for level, command in _commands(run, decision):
            commands[level].append(command)
    lines = []
    for level, some in commands.items():
        lines += some[:_MOST]
        if left := len(some) - _MOST:
            if left > 0:
                lines.append(f"{left} more of level {level} in the job summary")
    plain = [f"run {run.run}: {tally(run, decision)}" for run in decision.runs]
    lines += [commandless(printable(x, encoding)) for x in [*plain, *ending(decision)]]
    return "\n".join(lines) + "\n"


def write_summary(decision: Decision, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Append the decision as Markdown to ``$GITHUB_STEP_SUMMARY``; return its path, None where there is none.

    Raises:
        OSError: it cannot be written.
    """
    name = environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return None
    text = decided(decision).encode("utf-8", "replace")
    if len(text) > _MOST_SUMMARY_BYTES:
        text = text[:_MOST_SUMMARY_BYTES].rsplit(b"\n", 1)[0] + b"\n\nCut: the summary was too long.\n"
    path = Path(name)
    with path.open("ab") as file:
        file.write(text + b"\n")
    return path


def _commands(run: Judged, decision: Decision) -> Iterator[tuple[str, str]]:
    if run.trouble:
        yield "error", _command("error", {"title": "Training health: not judged"}, f"{run.run}: {run.trouble}")
    if run.partial:
        yield "notice", _command("notice", {"title": "Training health: partial"}, f"{run.run}: {run.partial}")
    for code, why in run.required.items():
        yield "error", _command("error", {"title": f"{code} is required"}, f"{run.run}: {why}")
    for f in run.report.findings:
        level = _LEVELS[f.severity]
        place = run.place(f.site)
        at = {"file": place.file, "line": str(place.line)} if place else {}
        yield level, _command(level, {**at, "title": f"{f.code} {f.name}"}, _text(f))


def _text(f: Finding) -> str:
    advice = f" To do: {f.prescriptions[0].text}" if f.prescriptions else ""
    return f"{f.site or 'whole model'}, {when(f)}: {f.message}{advice}"


def _command(level: str, properties: Mapping[str, str], message: str) -> str:
    """Return a workflow command; in GitHub's escapes no name can end the line or begin a command of its own."""
    given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{level} {commandless(given)}::{commandless(_data(printable(message, limit=4000)))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(printable(text, limit=400)).replace(":", "%3A").replace(",", "%2C")
