"""The findings that are known and let pass: a file of (code, site), written by one check and read by the next."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_diag.findings import Finding, Report
from lightning_diag.gate import Judged, fingerprint, without

SCHEMA = 1
_MOST_BYTES = 64 << 20


class BaselineError(ValueError):
    """A baseline cannot be read; the message says where and why."""


@dataclass(frozen=True)
class Baseline:
    """Known findings.

    Attributes:
        keys: (code, site) of each.
    """

    keys: tuple[tuple[str, str], ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> Baseline:
        """Read a baseline.

        Raises:
            BaselineError: there is no such file, or it is no baseline.
        """
        path = Path(path)
        try:
            if not path.is_file() or path.stat().st_size > _MOST_BYTES:
                raise BaselineError(f"no baseline at {path}: write one with --write-baseline")
            data = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(data, dict) or data.get("lightning_diag_baseline") != SCHEMA:
                raise BaselineError(f"{path} is no baseline of schema {SCHEMA}")
            return cls(tuple((str(x["code"]), str(x["site"])) for x in data["findings"]))
        except OSError as error:
            raise BaselineError(f"cannot read the baseline {path}: {error.strerror or error}") from error
        except BaselineError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BaselineError(f"{path} is no baseline: {type(error).__name__}: {error}") from error

    @classmethod
    def of(cls, reports: Iterable[Report]) -> Baseline:
        """Return what would let all findings of these reports pass."""
        return cls(tuple(sorted({f.key for report in reports for f in report.findings})))

    def write(self, path: str | Path) -> None:
        """Write the file, sorted, so that it reads well in a diff; it is there whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        path = Path(path)
        rows = [{"code": c, "site": s, "fingerprint": fingerprint(c, s)} for c, s in sorted(self.keys)]
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            text = json.dumps({"lightning_diag_baseline": SCHEMA, "findings": rows}, indent=1)
            part.write_text(text + "\n", encoding="utf-8")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def split(self, report: Report) -> tuple[Report, tuple[Finding, ...]]:
        """Return the report without the known findings, and those."""
        return without(report, self.keys)

    def stale(self, runs: Sequence[Judged]) -> tuple[tuple[str, str], ...]:
        """Return the entries that no run shows any more although its rule judged in all of them."""
        seen = {f.key for run in runs for f in (*run.known, *run.report.findings)}
        judged = [{c for c, r in run.report.rules.items() if _has_judged(run.report, r.name)} for run in runs]
        everywhere = set.intersection(*judged) if judged else set()
        return tuple(key for key in self.keys if key not in seen and key[0] in everywhere)


def _has_judged(report: Report, rule: str) -> bool:
    outcome = report.outcomes.get(rule)
    return outcome is not None and outcome.verdict in ("clean", "found")
