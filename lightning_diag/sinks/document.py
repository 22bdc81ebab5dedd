"""The decision of the gate as JSON for programs; ``docs/check.schema.json`` is its schema."""

from __future__ import annotations

import json
import math
from typing import Any

from lightning_diag.findings import Finding
from lightning_diag.gate import Decision, Judged, fingerprint

SCHEMA = 1  # grows when a field changes its meaning or goes; new fields may come without
_FACTS = ("steps", "samples", "status", "run_id", "model", "versions", "seconds", "overhead_fraction")


def document(decision: Decision) -> str:
    """Return the decision as strict JSON in ASCII: a number that is not finite is null."""
    data = {
        "lightning_diag_check": SCHEMA,
        "exit_code": decision.exit_code,
        "fail_on": decision.fail_on.value,
        "runs": [_run(run, decision) for run in decision.runs],
        "stale": [{"code": c, "site": s, "fingerprint": fingerprint(c, s)} for c, s in decision.stale],
    }
    return json.dumps(_finite(data), indent=1, allow_nan=False) + "\n"


def _run(run: Judged, decision: Decision) -> dict[str, Any]:
    report = run.report
    codes = {info.name: code for code, info in report.rules.items()}
    return {
        "run": run.run,
        "verdict": run.verdict(decision.fail_on),
        "exit_code": run.exit_code(decision.fail_on),
        "problem": run.problem or None,
        "partial": run.partial or None,
        "findings": [_finding(run, f) for f in report.findings],
        "known": [_finding(run, f) for f in run.known],
        "outcomes": [
            {"rule": name, "code": codes.get(name), "verdict": o.verdict, "reason": o.reason}
            for name, o in report.outcomes.items()
        ],
        "required": [{"code": code, "reason": why} for code, why in run.required.items()],
        "notes": list(run.notes),
        "facts": {key: report.run[key] for key in _FACTS if key in report.run},
    }


def _finding(run: Judged, f: Finding) -> dict[str, Any]:
    place = run.place(f.site)
    return {
        "code": f.code,
        "name": f.name,
        "severity": f.severity.value,
        "site": f.site,
        "step": f.step,
        "last_step": f.last_step,
        "value": f.value,
        "limit": f.limit,
        "message": f.message,
        "because": f.because or None,
        "prescriptions": [{"text": p.text, "changes": dict(p.changes)} for p in f.prescriptions],
        "fingerprint": fingerprint(f.code, f.site),
        "file": None if place is None else place.file,
        "line": None if place is None else place.line,
    }


def _finite(x: Any) -> Any:
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    if isinstance(x, dict):
        return {str(k): _finite(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_finite(v) for v in x]
    return x if isinstance(x, (str, int)) or x is None else str(x)
