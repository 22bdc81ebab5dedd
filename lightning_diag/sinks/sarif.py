"""The decision of the gate as SARIF 2.1.0, which code hosts show at the lines of the code."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from lightning_diag.findings import Finding, RuleInfo, Severity
from lightning_diag.gate import Decision, Judged, fingerprint
from lightning_diag.sinks.wording import when

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def sarif(decision: Decision) -> str:
    """Return the decision as SARIF in ASCII: known findings suppressed, what was not judged as notifications."""
    rules = {code: info for run in decision.runs for code, info in run.report.rules.items()}
    index = {code: i for i, code in enumerate(rules)}
    findings = [
        _result(run, f, index, suppressed=suppressed)
        for run in decision.runs
        for some, suppressed in ((run.report.findings, False), (run.known, True))
        for f in some
    ]
    driver = {
        "name": "lightning-diag",
        "semanticVersion": _version(),
        "rules": [_rule(info) for info in rules.values()],
    }
    one = {
        "tool": {"driver": driver},
        "invocations": [_invocation(decision)],
        "columnKind": "unicodeCodePoints",
        "results": findings,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [one]}, indent=1, allow_nan=False) + "\n"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lightning-diag")
    except PackageNotFoundError:
        return "0.0.0"


def _rule(info: RuleInfo) -> dict[str, Any]:
    help_text = info.help or info.summary or info.name
    rule: dict[str, Any] = {
        "id": info.code,
        "name": "".join(part.capitalize() for part in info.name.split("-")),
        "shortDescription": {"text": info.summary or info.name},
        "help": {"text": help_text, "markdown": help_text.replace("``", "`")},
    }
    return {**rule, "helpUri": info.url} if info.url else rule


def _result(run: Judged, f: Finding, index: dict[str, int], *, suppressed: bool) -> dict[str, Any]:
    place = run.place(f.site)
    file, line = (place.file, place.line) if place else (run.run, 1)
    message = f"{f.site or 'whole model'}, {when(f)}: {f.message}"
    advice = [p.text for p in f.prescriptions]
    result: dict[str, Any] = {
        "ruleId": f.code,
        "level": _LEVELS[f.severity],
        "message": {"text": _well_formed(" ".join([message, *(["What to do:", *advice[:3]] if advice else [])]))},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(file)},
                    "region": {"startLine": max(1, line)},
                },
                "logicalLocations": [{"fullyQualifiedName": _well_formed(f.site or "(model)"), "kind": "module"}],
            }
        ],
        "partialFingerprints": {"lightningDiag/v1": fingerprint(f.code, f.site)},
        "properties": {"step": f.step, "lastStep": f.last_step, "run": _well_formed(run.run), "because": f.because},
    }
    if f.code in index:
        result["ruleIndex"] = index[f.code]
    if suppressed:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": "in the baseline"}]
    return result


def _invocation(decision: Decision) -> dict[str, Any]:
    notes = []
    for run in decision.runs:
        notes += [_note("error", f"{run.run}: {run.trouble}")] if run.trouble else []
        notes += [_note("error", f"{run.run}: {code} is required, but {why}") for code, why in run.required.items()]
        notes += [_note("warning", f"{run.run}: this is not the whole run: {run.partial}")] if run.partial else []
        for rule, o in run.report.outcomes.items():
            if o.verdict in ("crashed", "unmeasured"):
                level = "error" if o.verdict == "crashed" else "note"
                notes.append(_note(level, f"{run.run}: {rule} is {o.verdict}: {o.reason or 'no reason given'}"))
    return {
        "executionSuccessful": decision.exit_code != 2,
        "exitCode": decision.exit_code,
        "toolExecutionNotifications": notes,
    }


def _note(level: str, text: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": _well_formed(text)}}


def _uri(file: str) -> str:
    """Return a file as URI reference, relative to the repository where it lies in it."""
    path = PurePath(file)
    for root in _roots():
        if path.is_absolute() and path.is_relative_to(root):
            path = path.relative_to(root)
            break
    text = quote(path.as_posix(), errors="replace", safe="/")
    return ("file://" if path.is_absolute() else "") + (text or ".")


@lru_cache(maxsize=1)
def _roots() -> Sequence[str]:
    return tuple(r for r in (os.environ.get("GITHUB_WORKSPACE", ""), os.getcwd()) if r)


def _well_formed(text: str) -> str:
    """Return text without half surrogates, which no encoding has."""
    return text.encode("utf-8", "replace").decode("utf-8")
