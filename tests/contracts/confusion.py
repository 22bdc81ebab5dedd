"""The table program x finding: what Diagnostics says of every program, against what is stored.

``python -m tests.contracts.confusion`` prints the table, misses and false alarms over all programs and seeds;
``--write`` stores it as the new expectation, ``--histories DIR`` keeps the recorded histories, ``--judge DIR`` judges
such histories again instead of training, further words choose programs.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightning_diag import Diagnostics, History, Report, check
from tests.models import ALL, Program

EXPECTED = Path(__file__).with_name("confusion.json")
SEEDS = (0, 1, 2)
Row = dict[str, str]  # code -> "error" or "warning" and whether it is the primary finding: "error*"
Table = dict[str, dict[str, Row]]  # program -> seed -> row


def observe(program: Program, seed: int, root: str | Path) -> Diagnostics:
    """Fit a program with Diagnostics as a user would, but quietly and writing under ``root``."""
    diagnostics = Diagnostics(verbose=False, histograms=False)
    program.fit(seed, [diagnostics], default_root_dir=str(root))
    return diagnostics


def row(report: Report) -> Row:
    """Return the codes found at warning or above with the worst severity, a star at the primary one."""
    worst: dict[str, str] = {}
    for f in sorted(report.findings, key=lambda f: f.severity.rank):
        if f.severity.rank >= 1:
            worst[f.code] = str(f.severity)
    primary = report.primary.code if report.primary else ""
    return {code: value + ("*" if code == primary else "") for code, value in sorted(worst.items())}


def missed(program: Program, found: Row) -> bool:
    """Whether a sick program was not called sick for an accepted reason."""
    return program.kind == "sick" and not set(program.accepted) & set(found)


def alarmed(program: Program, found: Row) -> bool:
    """Whether a program without a fault was accused."""
    return program.kind != "sick" and bool(found)


def verdict(program: Program, found: Row) -> str:
    """Return one word for the table."""
    if missed(program, found):
        return "MISSED"
    if alarmed(program, found):
        return "FALSE ALARM"
    primary = next((c for c, v in found.items() if v.endswith("*")), "")
    return "ok" if program.kind != "sick" or primary in program.accepted else "ok, not primary"


def text(rows: Iterable[tuple[Program, str, Row]]) -> str:
    """Return the table for people."""
    lines = [f"{'program':34}{'seed':5}{'accepted':16}{'verdict':17}found at warning or above (* primary)"]
    for program, seed, found in rows:
        accepted = " ".join(program.accepted) or "-"
        listed = ", ".join(f"{code} {value}" for code, value in found.items()) or "-"
        lines.append(f"{program.name:34}{seed:5}{accepted:16}{verdict(program, found):17}{listed}")
    return "\n".join(lines)


def load(path: Path = EXPECTED) -> Table:
    """Read the stored table."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def dump(table: Table, path: Path = EXPECTED) -> None:
    """Store the table, one line a program."""
    lines = [f" {json.dumps(name)}: {json.dumps(rows)}" for name, rows in table.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 if something was missed or falsely accused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--histories", type=Path)
    parser.add_argument("--judge", type=Path)
    args = parser.parse_args(argv)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows = []
    for program in [p for p in ALL if not args.names or any(n in p.name for n in args.names)]:
        for seed in range(args.seeds):
            found = row(_report(program, seed, args.histories, args.judge))
            rows.append((program, str(seed), found))
            print(text(rows[-1:]).splitlines()[1], flush=True)
    bad = [r for r in rows if missed(r[0], r[2]) or alarmed(r[0], r[2])]
    misses, alarms = sum(missed(p, f) for p, _, f in rows), sum(alarmed(p, f) for p, _, f in rows)
    print(f"\n{len(rows)} fits, {misses} missed, {alarms} false alarms")
    print(text(bad))
    if args.write:
        table = load()
        for program, seed, found in rows:
            table.setdefault(program.name, {})[seed] = found
        dump({p.name: table[p.name] for p in ALL if p.name in table})
    return int(bool(bad))


def _report(program: Program, seed: int, keep: Path | None, stored: Path | None) -> Report:
    name = f"{program.name}-{seed}.jsonl"
    if stored is not None:
        return check(History.load(stored / name))
    with tempfile.TemporaryDirectory() as root:
        diagnostics = observe(program, seed, root)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / name).write_text("\n".join(diagnostics.history.lines()) + "\n", encoding="utf-8")
    return diagnostics.report


if __name__ == "__main__":
    raise SystemExit(main())
