"""What became of a run at the gate: its report, what of it was known before, what was required and not judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lightning_diag.findings import Finding, Report, Severity, severity


@dataclass(frozen=True)
class Place:
    """A line of the user's code."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Judged:
    """One run at the gate.

    Attributes:
        run: its directory or file, as it was named.
        report: the judgement, without the findings that a baseline knows.
        known: the findings that a baseline knows.
        required: code -> why a rule that had to judge did not.
        places: site -> where the user's code makes it; "" is the whole model.
        partial: why this is not the whole run, "" if it is.
        problem: why the run could not be judged at all, "" if it could.
        notes: further sentences on the run, for people.
    """

    run: str
    report: Report = field(default_factory=Report)
    known: tuple[Finding, ...] = ()
    required: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    partial: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()

    def exit_code(self, fail_on: Severity | str = "error") -> int:
        """Return 2 where the run could not be judged, 1 where it fails, else 0.

        It fails for findings from ``fail_on`` up, and for a required rule that did not judge.
        """
        if self.problem:
            return 2
        code = self.report.exit_code(fail_on)
        return 1 if code == 0 and self.required else code

    @property
    def trouble(self) -> str:
        """Why the judgement cannot be trusted, "" if it can: no run, nothing judged, a rule that crashed."""
        if self.problem:
            return self.problem
        crashed = [name for name, o in self.report.outcomes.items() if o.verdict == "crashed"]
        if crashed:
            return f"{', '.join(crashed)} crashed while judging"
        return "" if self.report.exit_code("error") != 2 else "nothing was judged: no rule had what it needs"

    def verdict(self, fail_on: Severity | str = "error") -> str:
        """Return one word or two for people: the report's verdict, "incomplete" or "not judged"."""
        if self.problem:
            return "not judged"
        return "incomplete" if self.required and self.report.exit_code(fail_on) == 0 else self.report.verdict

    def place(self, site: str) -> Place | None:
        """Return the line of a site, or of the nearest module around it; None if it is unknown."""
        name = site.split("#", 1)[0]
        while name and name not in self.places:
            name = name.rpartition(".")[0]
        return self.places.get(name)


@dataclass(frozen=True)
class Decision:
    """All runs at the gate, and what it fails on.

    Attributes:
        runs: one per run, in the order in which they were named.
        fail_on: the least severity that fails.
        stale: (code, site) of the entries of a baseline that nothing matched any more.
    """

    runs: tuple[Judged, ...]
    fail_on: Severity = Severity.ERROR
    stale: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "fail_on", severity(self.fail_on))

    @property
    def exit_code(self) -> int:
        """The worst exit code of all runs; 2 where there is none."""
        return max((run.exit_code(self.fail_on) for run in self.runs), default=2)

    def fails(self, finding: Finding) -> bool:
        """Tell whether a finding makes the gate fail."""
        return finding.severity.rank >= self.fail_on.rank


def without(report: Report, known: Iterable[tuple[str, str]]) -> tuple[Report, tuple[Finding, ...]]:
    """Return a report without the findings of these (code, site), and those findings."""
    keys = set(known)
    left = [f for f in report.findings if f.key not in keys]
    codes = {f.code for f in left}
    told = tuple(f if f.because in codes else replace(f, because="") for f in left)
    return replace(report, findings=told), tuple(f for f in report.findings if f.key in keys)


def unmet(report: Report, required: Sequence[str]) -> dict[str, str]:
    """Return code -> why, for the required rules that gave no judgement."""
    found = {}
    for code in required:
        info = report.rules.get(code)
        outcome = report.outcomes.get(info.name) if info else None
        if outcome is None:
            found[code] = "it was not asked"
        elif outcome.verdict not in ("clean", "found"):
            lines = outcome.reason.strip().splitlines()
            found[code] = f"{outcome.verdict}: {lines[-1] if lines else 'no reason given'}"
    return found


def fingerprint(code: str, site: str) -> str:
    """Return what stays the same when the same fault is found again: 16 hexadecimal digits of code and site.

    Example:
        >>> fingerprint("A001", "net.0") == fingerprint("A001", "net.0") != fingerprint("A001", "net.1")
        True
    """
    import hashlib  # loads OpenSSL, which a check without baseline needs not

    return hashlib.sha256(f"{code}|{site}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
