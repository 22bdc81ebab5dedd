"""Sentences on runs at the gate that several formats share."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightning_diag.findings import Finding, Severity
from lightning_diag.gate import Decision, Judged
from lightning_diag.sinks.wording import looked_at

_COMMAND = re.compile(r"##(?=\w*\[)")
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)


def counted(findings: Iterable[Finding]) -> str:
    """Return "2 errors, 1 warning", or "no findings"."""
    given = [f.severity for f in findings]
    parts = [f"{n} {s.value}{'s' * (n > 1)}" for s in _ORDER if (n := given.count(s)) and s is not Severity.INFO]
    if infos := given.count(Severity.INFO):
        parts.append(f"{infos} info")
    return ", ".join(parts) or "no findings"


def tally(run: Judged, decision: Decision) -> str:
    """Return one line on a run: its verdict, how many findings, what was looked at and what was not."""
    if run.problem:
        return f"not judged: {run.problem}"
    parts = [counted(run.report.findings)]
    parts += [f"{len(run.known)} known to the baseline"] if run.known else []
    parts += looked_at(run.report)
    return f"{run.verdict(decision.fail_on)}: {'; '.join(parts)}"


def remarks(run: Judged) -> list[str]:
    """Return what must be said of a run beside its findings: required rules without judgement, a partial run."""
    lines = [run.trouble] if run.trouble and not run.problem else []
    lines += [f"required, but {why} ({code} {_name(run, code)})" for code, why in run.required.items()]
    lines += [f"this is not the whole run: {run.partial}"] if run.partial and not run.problem else []
    return [*lines, *run.notes]


def ending(decision: Decision) -> list[str]:
    """Return the last lines of an output: stale entries of the baseline, and what comes of it all."""
    lines = [f"stale entry of the baseline, remove it: {code} {site or 'whole model'}" for code, site in decision.stale]
    runs, code = len(decision.runs), decision.exit_code
    what = {0: "passes", 1: "fails", 2: "cannot be judged"}[code]
    many = "" if runs == 1 else f" ({runs} runs)"
    return [*lines, f"The gate {what}{many}: exit code {code}, failing on {decision.fail_on.value} or worse."]


def commandless(line: str) -> str:
    """Return a line that no pipeline takes for a command to it, whatever names are in it.

    GitHub obeys lines that begin with ``::``, and ``##[`` anywhere; Azure ``##vso[``, TeamCity ``##teamcity[``.

    Example:
        >>> commandless(" ::error::x"), commandless("a ##vso[task]")
        ('./::error::x', 'a #vso[task]')
    """
    line = _COMMAND.sub("#", line)
    return f"./{line.lstrip()}" if line.lstrip().startswith("::") else line


def _name(run: Judged, code: str) -> str:
    info = run.report.rules.get(code)
    return info.name if info else "not asked"
