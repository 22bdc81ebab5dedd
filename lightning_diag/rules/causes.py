"""The folding of findings along the causal table, root causes first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lightning_diag.findings import Finding, Severity
from lightning_diag.rules.causal_table import CAUSES

_PHASE = {
    "D": 0,
    "I": 1,
    "H": 2,
    "A": 3,
    "L": 4,
    "G": 5,
    "W": 6,
    "V": 7,
    "O": 8,
}


def _time(f: Finding) -> tuple[int, int]:
    return f.step, _PHASE.get(f.code[:1], 0)


def cause_of(finding: Finding, findings: Iterable[Finding]) -> Finding | None:
    """Return the finding that explains this one best, None for a root cause.

    A cause is never an info: what merely may be of interest explains no damage.
    """
    others = [f for f in findings if f.severity.rank >= 1 and f.name != finding.name]
    for row in CAUSES:
        if row.consequence == finding.name:
            for f in others:
                before = f.step < finding.step if row.strict else not row.timed or _time(f) <= _time(finding)
                if f.name == row.cause and before:
                    if f.severity is Severity.ERROR or not row.grave:
                        return f
    return None


def fold(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings with ``because`` filled in, root causes first, each followed by what it explains.

    Roots are ordered by severity, then by how much they explain, then by time.

    Example:
        >>> from lightning_diag.findings import Severity
        >>> def make(code, name): return Finding(code, name, Severity.ERROR, "", 0, 0.0, 0.0, "")
        >>> found = fold([make("L002", "loss-not-decreasing"), make("A001", "dead-units")])
        >>> [(f.name, f.because) for f in found]
        [('dead-units', ''), ('loss-not-decreasing', 'A001')]
    """
    given = list(findings)
    causes = [cause_of(f, given) for f in given]
    marked = [replace(f, because="" if c is None else c.code) for f, c in zip(given, causes, strict=True)]
    explained = {f.code: sum(x.because == f.code for x in marked) for f in marked}
    marked.sort(key=lambda f: (-f.severity.rank, -explained[f.code], _time(f), f.code))
    placed: set[str] = set()
    roots = [f for f in marked if not f.because]
    order = [x for code in dict.fromkeys(f.code for f in roots) for x in _family(code, roots, marked, placed)]
    return (*order, *(f for f in marked if not any(f is x for x in order)))


def _family(code: str, roots: list[Finding], marked: list[Finding], placed: set[str]) -> Iterator[Finding]:
    """Yield the roots of one code and, after them, everything they explain, directly or not."""
    yield from (f for f in roots if f.code == code)
    waiting = [code]
    while waiting:
        cause = waiting.pop(0)
        if cause not in placed:
            placed.add(cause)
            below = [f for f in marked if f.because == cause]
            yield from below
            waiting += dict.fromkeys(f.code for f in below)
