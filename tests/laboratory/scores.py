"""How good a tool is: shares with intervals, the table fault x finding, when it speaks. Programs are the unit.

The seeds of one program are no independent trials: a program counts by the mean over its seeds, and an interval is
that of as many trials as there are programs.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.laboratory.judging import Said, Verdict

if TYPE_CHECKING:
    from tests.programs.program import Program

Pair = tuple["Program", Verdict]
_Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True)
class Share:
    """A share of programs with its 95 % interval (Wilson), and how many programs it is of; NaN of none."""

    value: float
    low: float
    high: float
    programs: int

    def __str__(self) -> str:
        if not self.programs:
            return "-"
        return f"{100 * self.value:.0f} % ({100 * self.low:.0f}-{100 * self.high:.0f}, n={self.programs})"


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share of ``n`` independent trials; NaN where there is none.

    Example:
        >>> [round(x, 4) for x in wilson(0.9, 10)]
        [0.5958, 0.9821]
    """
    if n == 0:
        return math.nan, math.nan
    z = _Z * _Z / n
    middle, half = share + z / 2, _Z * math.sqrt(share * (1 - share) / n + z / (4 * n))
    return max(0.0, (middle - half) / (1 + z)), min(1.0, (middle + half) / (1 + z))


def share(pairs: Iterable[Pair], is_so: Callable[[Program, Verdict], bool]) -> Share:
    """Return the share of programs of which something is so, each counted by the mean over its seeds."""
    by_program: dict[str, list[bool]] = defaultdict(list)
    for p, v in pairs:
        by_program[p.name].append(is_so(p, v))
    if not by_program:
        return Share(math.nan, math.nan, math.nan, 0)
    value = statistics.fmean(statistics.fmean(x) for x in by_program.values())
    return Share(value, *wilson(value, len(by_program)), len(by_program))


# -- what one verdict is worth -----------------------------------------------------------------------------


def right(program: Program, finding: Said) -> bool:
    """Whether a finding names the program's fault."""
    return bool(set(finding.codes) & set(program.accepted))


def within(site: str, prefixes: Iterable[str]) -> bool:
    """Whether a site is one of the places, or inside one ("net.1" does not hold "net.10")."""
    return any(site == p or site.startswith((p if p.endswith(".") else f"{p}.", f"{p}#")) for p in prefixes)


def named(program: Program, verdict: Verdict) -> bool:
    """Whether the fault is named at warning or above."""
    return any(right(program, s) for s in verdict.said)


def named_first(program: Program, verdict: Verdict) -> bool:
    """Whether the fault is what is named first, as a root cause."""
    return verdict.primary is not None and right(program, verdict.primary)


def located(program: Program, verdict: Verdict) -> bool:
    """Whether the fault is named at the right place."""
    return any(right(program, s) and any(within(x, program.sites) for x in s.sites) for s in verdict.said)


def located_first(program: Program, verdict: Verdict) -> bool:
    """Whether what is named first is the fault at the right place."""
    first = verdict.primary
    return first is not None and located(program, Verdict(verdict.program, verdict.seed, (first,)))


def alarmed(program: Program, verdict: Verdict) -> bool:
    """Whether a program without a fault was accused."""
    return program.kind != "sick" and bool(verdict.said)


# -- of many -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """What a tool is worth on some programs; a fit that crashed misses its fault and accuses nobody."""

    named: Share
    first: Share
    located: Share
    located_first: Share
    alarms: Mapping[str, Share]  # kind ("healthy", "twin") -> share of fits that were accused
    alarms_by_rule: Mapping[str, Mapping[str, int]]  # kind -> label -> fits
    step: float  # median number of steps before the fault was named, over the programs where it was; NaN if unknown
    part: float  # the same as a share of the run
    crashes: Sequence[Pair]
    misses: Sequence[Pair]
    accused: Sequence[Pair]
    fits: int


def score(pairs: Sequence[Pair]) -> Scores:
    """Return the scores of one tool's verdicts."""
    sick = [(p, v) for p, v in pairs if p.kind == "sick"]
    placed = [(p, v) for p, v in sick if p.sites]
    others = {kind: [(p, v) for p, v in pairs if p.kind == kind] for kind in ("healthy", "twin")}
    step, part = when(sick)
    return Scores(
        named=share(sick, named),
        first=share(sick, named_first),
        located=share(placed, located),
        located_first=share(placed, located_first),
        alarms={kind: share(x, alarmed) for kind, x in others.items()},
        alarms_by_rule={kind: counted(x) for kind, x in others.items()},
        step=step,
        part=part,
        crashes=[(p, v) for p, v in pairs if v.crash],
        misses=[(p, v) for p, v in sick if not named(p, v)],
        accused=[(p, v) for p, v in pairs if alarmed(p, v)],
        fits=len(pairs),
    )


def when(sick: Iterable[Pair]) -> tuple[float, float]:
    """Return the median, over programs, of the step of the first right naming, and of its share of the run."""
    steps: dict[str, list[int]] = defaultdict(list)
    parts: dict[str, list[float]] = defaultdict(list)
    for p, v in sick:
        if v.first >= 0 and v.steps:
            steps[p.name].append(v.first)
            parts[p.name].append(v.first / v.steps)
    if not steps:
        return math.nan, math.nan
    medians = [statistics.median(map(statistics.median, x.values())) for x in (steps, parts)]
    return float(medians[0]), float(medians[1])


def counted(pairs: Iterable[Pair]) -> dict[str, int]:
    """Return label -> number of fits in which it was found, most frequent first."""
    found = Counter(label for _, v in pairs for label in {s.label for s in v.said})
    return dict(sorted(found.items(), key=lambda x: (-x[1], x[0])))


def confusion(pairs: Sequence[Pair]) -> dict[str, dict[str, int]]:
    """Return fault code ("twins" and "controls" for none) -> label found -> number of fits; "fits" is their number."""
    rows: dict[str, list[Pair]] = defaultdict(list)
    for p, v in pairs:
        rows[{"twin": "twins", "healthy": "controls"}.get(p.kind, p.fault)].append((p, v))
    order = sorted(rows, key=lambda r: (r in ("twins", "controls"), r))
    return {r: {"fits": len(rows[r]), **counted(rows[r])} for r in order}


def by_fault(pairs: Sequence[Pair]) -> dict[str, tuple[Share, Share, Share]]:
    """Return fault code -> shares named, named first, named at the right place."""
    faults = sorted({p.fault for p, _ in pairs if p.kind == "sick"})
    chosen = {f: [(p, v) for p, v in pairs if p.kind == "sick" and p.fault == f] for f in faults}
    return {
        f: (share(x, named), share(x, named_first), share([(p, v) for p, v in x if p.sites], located))
        for f, x in chosen.items()
    }
