"""What was found: severities, findings, prescriptions, outcomes and the report; standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeAlias

REPORT_SCHEMA = 1
_MOST_BYTES = 64 << 20


class Severity(str, Enum):
    """How bad a finding is.

    error: this run cannot reach its goal. warning: it is costing you. info: you may want to know.
    """

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for error."""
        return ("info", "warning", "error").index(self.value)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Prescription:
    """One change that treats a fault: a sentence, and the training settings to change where they have a name.

    ``changes`` maps a setting (``lr``, ``init``, ``norm``, ``gradient_clip_val``, ...) to its new value.
    """

    text: str
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Finding:
    """One fault at one place.

    Attributes:
        code: rule code, "A001".
        name: rule name, "dead-units".
        severity: info, warning or error.
        site: qualified module or parameter name; "" is the whole model.
        step: optimizer step at which it was first seen.
        value: what was measured; NaN where it has no number.
        limit: what it was compared with; NaN where there is none.
        message: one sentence of evidence with numbers, one of meaning.
        last_step: last step at which it was still so.
        because: code of the finding that explains this one, "" for a root cause.
        prescriptions: what to change, most promising first.
    """

    code: str
    name: str
    severity: Severity
    site: str
    step: int
    value: float
    limit: float
    message: str
    last_step: int = -1
    because: str = ""
    prescriptions: tuple[Prescription, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "severity", Severity(self.severity))
        for name in ("value", "limit"):  # one NaN object, so that equal findings compare equal
            number = float(getattr(self, name))
            object.__setattr__(self, name, math.nan if math.isnan(number) else number)

    @property
    def key(self) -> tuple[str, str]:
        """Code and site: what stays the same when the same fault is found again."""
        return self.code, self.site

    def __str__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        return f"{self.code} {self.name} [{self.severity}]{where}, step {self.step}: {self.message}"


Verdict: TypeAlias = Literal["clean", "found", "unmeasured", "crashed"]


@dataclass(frozen=True)
class Outcome:
    """What one rule came to; ``reason`` says why it is unmeasured, or holds the traceback of a crash.

    Compares equal to its verdict: ``report.outcomes["dead-units"] == "clean"``.
    """

    verdict: Verdict
    reason: str = ""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return self.verdict == other
        return isinstance(other, Outcome) and (self.verdict, self.reason) == (other.verdict, other.reason)

    def __hash__(self) -> int:
        return hash(self.verdict)

    def __str__(self) -> str:
        return self.verdict


@dataclass(frozen=True)
class RuleInfo:
    """What a reader needs to know of a rule; sinks need no import of the rules."""

    code: str
    name: str
    summary: str
    help: str = ""
    url: str = ""


@dataclass(frozen=True)
class Report:
    """The judgement of one history.

    Attributes:
        findings: root causes first, each followed by what it explains; within that the worst first.
        outcomes: rule name -> :class:`Outcome`, one per rule that was asked.
        rules: rule code -> :class:`RuleInfo` of the rules asked.
        run: facts on the run that was judged (steps seen and sampled, versions, cost of looking).
    """

    findings: tuple[Finding, ...] = ()
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    rules: Mapping[str, RuleInfo] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def primary(self) -> Finding | None:
        """The most probable root cause at warning or above; None if there is none."""
        return next((f for f in self.findings if not f.because and f.severity.rank >= 1), None)

    @property
    def ok(self) -> bool:
        """True if at least one rule judged, none crashed, and nothing at warning or above was found."""
        return self.exit_code("warning") == 0

    def count(self, verdict: Verdict) -> int:
        """Return the number of rules with this outcome."""
        return sum(o.verdict == verdict for o in self.outcomes.values())

    def exit_code(self, fail_on: Severity | str = "error") -> int:
        """Return 2 where nothing could be judged or a rule crashed, 1 for findings from ``fail_on`` up, else 0.

        Raises:
            ValueError: ``fail_on`` is none of info, warning, error.
        """
        limit = severity(fail_on).rank
        if any(f.severity.rank >= limit for f in self.findings):
            return 2 if self.count("crashed") else 1
        return 0 if self.count("clean") + self.count("found") and not self.count("crashed") else 2

    @property
    def verdict(self) -> str:
        """One word for people: "healthy", "sick", "warnings", "not judged" or "crashed"."""
        if self.count("crashed"):
            return "crashed"
        worst = max((f.severity.rank for f in self.findings), default=0)
        if worst:
            return ("", "warnings", "sick")[worst]
        return "healthy" if self.count("clean") + self.count("found") else "not judged"

    # -- JSON --------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Return strict JSON (NaN is null, infinity the largest double); ``from_json`` gives back an equal report."""
        data = {
            "lightning_diag_report": REPORT_SCHEMA,
            "verdict": self.verdict,
            "ok": self.ok,
            "primary": None if self.primary is None else list(self.primary.key),
            "findings": [asdict(f) for f in self.findings],
            "outcomes": {name: asdict(o) for name, o in self.outcomes.items()},
            "rules": {code: asdict(r) for code, r in self.rules.items()},
            "run": dict(self.run),
        }
        return json.dumps(_strict(data), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return the report that ``to_json`` wrote.

        Raises:
            ValueError: not JSON, not a report, or of another schema.
        """
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.get("lightning_diag_report") != REPORT_SCHEMA:
                raise ValueError(f"not a report of schema {REPORT_SCHEMA}")
            return cls(
                findings=tuple(_finding(x) for x in data["findings"]),
                outcomes={name: Outcome(**o) for name, o in data["outcomes"].items()},
                rules={code: RuleInfo(**r) for code, r in data["rules"].items()},
                run=data["run"],
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a report: {error!r}") from error

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read ``health.json``.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no regular file, larger than 64 MiB, or no report.
        """
        path = Path(path)
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path} is no report: not a regular file, or larger than {_MOST_BYTES} bytes")
        return cls.from_json(path.read_text(encoding="utf-8"))

    # -- for people --------------------------------------------------------------------------------------

    def summary(self) -> str:
        """Return one line: the verdict and what was looked at."""
        judged = self.count("clean") + self.count("found")
        text = f"{self.verdict}: {len(self.findings)} finding(s); {judged} of {len(self.outcomes)} rules judged"
        text += f", {self.count('unmeasured')} unmeasured" if self.count("unmeasured") else ""
        text += f", {self.count('crashed')} crashed" if self.count("crashed") else ""
        if "samples" in self.run and "steps" in self.run:
            text += f"; {self.run['samples']} of {self.run['steps']} steps sampled"
        return text

    def __str__(self) -> str:
        lines = [f"Training health: {self.summary()}"]
        for f in self.findings:
            lines.append(("  because of it: " if f.because else "") + str(f))
            lines += [f"    -> {p.text}" for p in f.prescriptions if not f.because]
        for name, o in self.outcomes.items():
            if o.verdict in ("unmeasured", "crashed"):
                reason = o.reason.strip().splitlines()[-1] if o.reason.strip() else ""
                lines.append(f"  {name}: {o.verdict}" + (f" ({reason})" if reason else ""))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        import html

        e = html.escape
        rows = "".join(
            f"<tr><td>{e(f.code)}</td><td>{e(f.name)}</td><td>{e(str(f.severity))}</td><td>{e(f.site)}</td>"
            f"<td>{e(str(f.step))}</td><td>{text}</td></tr>"
            for f in self.findings
            for text in ["<br>".join(map(e, (f.message, *(p.text for p in f.prescriptions))))]
        )
        head = "".join(f"<th>{x}</th>" for x in ("code", "name", "severity", "site", "step", "what, and what to do"))
        return f"<p><b>Training health</b>: {e(self.summary())}</p><table><tr>{head}</tr>{rows}</table>"


class UnhealthyTraining(RuntimeError):  # noqa: N818 - the public name says what happened
    """Raised at the end of fit when ``fail_on`` asks for it; the report is in ``.report``."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


def severity(value: Severity | str) -> Severity:
    """Return the severity of that name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    try:
        return Severity(value)
    except ValueError:
        raise ValueError(f"severity {value!r} is none of {', '.join(s.value for s in Severity)}") from None


_LARGEST = 1.7976931348623157e308


def _strict(x: Any) -> Any:
    """Return ``x`` as strict JSON can hold it."""
    if isinstance(x, Enum):
        return x.value
    if isinstance(x, float):
        return None if math.isnan(x) else max(-_LARGEST, min(_LARGEST, x))
    if isinstance(x, Mapping):
        return {str(k): _strict(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_strict(v) for v in x]
    return x if isinstance(x, (str, int, bool)) or x is None else str(x)


def _number(x: Any) -> float:
    if x is None:
        return math.nan
    return math.copysign(math.inf, x) if abs(x) >= _LARGEST else float(x)


def _finding(x: Mapping[str, Any]) -> Finding:
    prescriptions = tuple(Prescription(p["text"], p.get("changes", {})) for p in x["prescriptions"])
    numbers = {"value": _number(x["value"]), "limit": _number(x["limit"])}
    steps = {"step": int(x["step"]), "last_step": int(x.get("last_step", -1))}
    return Finding(**{**x, **numbers, **steps, "prescriptions": prescriptions})
