"""One line a finding, as compilers and linters print them."""

from __future__ import annotations

from lightning_diag.findings import Finding
from lightning_diag.gate import Decision, Judged
from lightning_diag.sinks.tally import commandless, ending, remarks, tally
from lightning_diag.sinks.wording import printable, when


def concise(decision: Decision, *, encoding: str = "utf-8") -> str:
    """Return the verdict as lines: ``place: code name [severity] site, steps: message``, then one line a run."""
    lines: list[str] = []
    for run in decision.runs:
        lines += [printable(_line(run, f), encoding) for f in run.report.findings]
        lines += [printable(f"{run.run}: {text}", encoding) for text in [*remarks(run), tally(run, decision)]]
    lines += [printable(x, encoding) for x in ending(decision)]
    return "\n".join(map(commandless, lines)) + "\n"


def _line(run: Judged, f: Finding) -> str:
    because = f" (because of {f.because})" if f.because else ""
    where = run.place(f.site) or run.run
    return f"{where}: {f.code} {f.name} [{f.severity}] {f.site or 'whole model'}, {when(f)}: {f.message}{because}"
