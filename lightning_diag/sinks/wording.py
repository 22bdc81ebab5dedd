"""Words that several sinks share: cleaned names, what was looked at, findings folded under their cause."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lightning_diag.findings import Finding, Report

_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # control, direction marks, surrogates, unassigned, line ends


def printable(text: object, encoding: str = "utf-8", *, limit: int = 2000) -> str:
    r"""Return one line of text without control characters, of characters the encoding has, cut to ``limit``.

    Example:
        >>> printable("net\x1b[31m\n0")
        'net?[31m 0'
        >>> printable("net→0", "ascii"), printable("a" * 9, limit=5)
        ('net?0', 'aa...')
    """
    spaced = " ".join(str(text).split())
    if not spaced.isascii() or not spaced.isprintable():
        spaced = "".join("?" if unicodedata.category(c) in _HIDDEN else c for c in spaced)
        spaced = spaced.encode(encoding, "replace").decode(encoding, "replace")
    return spaced if len(spaced) <= limit else spaced[: max(limit - 3, 0)] + "..."


def short_site(site: str, width: int) -> str:
    """Return the name of a place in at most ``width`` characters, keeping its end; the whole model has a name too.

    Example:
        >>> short_site("encoder.layers.3.mlp.fc1", 16), short_site("", 16)
        ('...rs.3.mlp.fc1', 'whole model')
    """
    name = printable(site) or "whole model"
    return name if len(name) <= width else "..." + name[len(name) - max(width - 4, 1) :]


def listed(names: Iterable[str], most: int = 4, width: int = 48) -> str:
    """Return the first names of a list and how many more there are.

    Example:
        >>> listed(["a", "b", "c"], most=2), listed(["a"])
        ('a, b and 1 more', 'a')
    """
    unique = list(dict.fromkeys(names))
    shown = ", ".join(short_site(n, width) for n in unique[:most])
    return shown + (f" and {len(unique) - most} more" if len(unique) > most else "")


def when(finding: Finding) -> str:
    """Return the steps of a finding: ``step 8``, or ``steps 8 to 200`` where it lasted."""
    if finding.last_step > finding.step:
        return f"steps {finding.step} to {finding.last_step}"
    return f"step {finding.step}" if finding.step >= 0 else "before the first step"


@dataclass
class Group:
    """Root causes of one rule, and what they explain, in the order of the report."""

    findings: list[Finding]
    consequences: dict[str, list[Finding]] = field(default_factory=dict)

    @property
    def head(self) -> Finding:
        """The first finding: the worst one."""
        return self.findings[0]

    def advice(self, most: int = 3) -> list[str]:
        """Return the prescriptions of all its findings, each once, most promising first."""
        return list(dict.fromkeys(p.text for f in self.findings for p in f.prescriptions))[:most]


def grouped(findings: Sequence[Finding]) -> list[Group]:
    """Return the findings folded: one group per rule and severity of the root causes, consequences beneath."""
    groups: dict[tuple[str, str], Group] = {}
    owner: dict[str, Group] = {}
    last: Group | None = None
    for finding in findings:
        cause = owner.get(finding.because, last) if finding.because else None
        if cause is None:
            cause = groups.setdefault((finding.code, finding.severity.value), Group([]))
            cause.findings.append(finding)
        else:
            cause.consequences.setdefault(finding.code, []).append(finding)
        owner.setdefault(finding.code, cause)
        last = cause
    return list(groups.values())


def looked_at(report: Report) -> list[str]:
    """Return what was looked at, in a few short statements; facts that the run does not state are left out."""
    run, total = report.run, len(report.outcomes)
    parts = [f"{report.count('clean') + report.count('found')} of {total} rules judged"]
    parts += [f"{report.count(v)} {v}" for v in ("unmeasured", "crashed") if report.count(v)]
    if isinstance(run.get("samples"), int) and isinstance(run.get("steps"), int):
        parts.append(f"{run['samples']} of {run['steps']} steps sampled")
    cost = run.get("overhead_fraction")
    if isinstance(cost, (int, float)) and cost == cost:
        parts.append(f"{100 * cost:.2g} % of the time spent looking" if cost < 1 else "most of the time spent looking")
    if run.get("status") not in (None, "finished"):
        parts.append(f"run {printable(run['status'], limit=80)}")
    if run.get("truncated"):
        parts.append("the last line of the history is unfinished")
    return parts


def unjudged(report: Report) -> list[tuple[str, str, str]]:
    """Return (rule, verdict, reason) of every rule that gave no judgement, crashes first."""
    rows = []
    for name, outcome in report.outcomes.items():
        if outcome.verdict in ("crashed", "unmeasured"):
            lines = outcome.reason.strip().splitlines()
            rows.append((printable(name), outcome.verdict, printable(lines[-1] if lines else "no reason given")))
    return sorted(rows, key=lambda row: row[1] != "crashed")
