"""The table program x finding: what Diagnostics says of every program, against what is stored.

``python -m tests.contracts.confusion`` judges the recorded fits of all programs and seeds (those not recorded yet are
recorded first, see :mod:`tests.laboratory`), prints misses, false alarms and what changed against the stored table;
``--write`` stores the table as the new expectation, ``--stale`` judges what is there although the recorder has changed,
words choose programs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.laboratory import judging, keys, record
from tests.laboratory.judging import Row, Verdict
from tests.laboratory.store import Store
from tests.models import ALL, HEALTHY, SICK, Program

EXPECTED = Path(__file__).with_name("confusion.json")
Table = dict[str, dict[str, Row]]  # program -> seed -> row
Judged = tuple[Program, str, Row]

# Fitted live by `make test`, with seed 0: a sick program of every fault, its twin, and every third control.
_FIRST = [next(p.name for p in SICK if p.fault == fault) for fault in dict.fromkeys(p.fault for p in SICK)]
QUICK = {*_FIRST, *(f"{name}-mended" for name in _FIRST), *(p.name for p in HEALTHY[1::3])}


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


def essence(program: Program, found: Row) -> tuple[str, str]:
    """Return what must be the same on every machine: the word of :func:`verdict`, and what is named first."""
    return verdict(program, found), next((code for code, value in found.items() if value.endswith("*")), "")


def text(rows: Iterable[Judged]) -> str:
    """Return the table for people."""
    lines = [f"{'program':34}{'seed':5}{'accepted':16}{'verdict':17}found at warning or above (* primary)"]
    for program, seed, found in rows:
        accepted = " ".join(program.accepted) or "-"
        listed = ", ".join(f"{code} {value}" for code, value in found.items()) or "-"
        lines.append(f"{program.name:34}{seed:5}{accepted:16}{verdict(program, found):17}{listed}")
    return "\n".join(lines)


def load(path: Path = EXPECTED) -> Table:
    """Read the stored table."""
    return _read(path).get("judgements", {})


def known(what: str, path: Path = EXPECTED) -> dict[str, list[str]]:
    """Return the stored list of what is known to be judged wrongly ("misses", "false alarms"): program -> seeds."""
    return _read(path).get(what, {})


def wrong(table: Table, is_wrong: Callable[[Program, Row], bool]) -> dict[str, list[str]]:
    """Return the programs and seeds that a table judges wrongly."""
    chosen = {p.name: [s for s, found in table.get(p.name, {}).items() if is_wrong(p, found)] for p in ALL}
    return {name: seeds for name, seeds in chosen.items() if seeds}


def dump(table: Table, path: Path = EXPECTED) -> None:
    """Store the table and what it misses and wrongly accuses, one line a program."""
    parts = {"misses": wrong(table, missed), "false alarms": wrong(table, alarmed), "judgements": table}
    blocks = []
    for title, rows in parts.items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
        blocks.append(f' "{title}": {{\n{lines}\n }}' if rows else f' "{title}": {{}}')
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


def judged(cases: Sequence[tuple[Program, int]], store: Store, workers: int) -> tuple[list[Judged], list[Verdict]]:
    """Return the rows of recorded fits, and the verdicts in which something crashed (they have no row)."""
    crashed = record.record(cases, store, workers=workers)
    tasks = []
    for p, seed in cases:
        file = store.find(p.name, seed, keys.key(p))
        if file is not None and (p.name, seed) not in crashed:
            tasks.append((p.name, seed, str(file), p.accepted, False))
    found, seconds = judging.judge(tasks, workers)
    print(
        f"{len(found)} fits judged in {seconds:.1f} s; fitting them took {sum(v.cpu_seconds for v in found):.0f} s CPU"
    )
    quick = sum(v.cpu_seconds for v in found if v.program in QUICK and v.seed == 0)
    print(f"the quick ones, which `make test` fits, took {quick:.0f} s CPU")
    bad = [Verdict(name, seed, crash=said) for (name, seed), said in crashed.items()] + [v for v in found if v.crash]
    names = record.programs()
    rows = [(names[v.program], str(v.seed), judging.row(v.said)) for v in found if not v.crash]
    return rows, bad


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 if something crashed, was missed or falsely accused."""
    parser = argparse.ArgumentParser(prog="python -m tests.contracts.confusion", description=__doc__)
    parser.add_argument("names", nargs="*", help="only programs whose name holds one of these words")
    record.add_options(parser)
    parser.add_argument("--stale", action="store_true", help="judge what is there, although the recorder has changed")
    parser.add_argument("--write", action="store_true", help="store the table as the new expectation")
    parser.add_argument("--whole", action="store_true", help="print all rows, not only those that are wrong or changed")
    args = parser.parse_args(argv)
    store, table = Store(args.histories, stale=args.stale), load()
    rows, crashed = judged(record.choose(args.names, args.seeds), store, args.workers)
    bad = [r for r in rows if missed(r[0], r[2]) or alarmed(r[0], r[2])]
    changed = [r for r in rows if table.get(r[0].name, {}).get(r[1]) != r[2]]
    then = [(p, f"{s} was", table[p.name][s]) for p, s, _ in changed if s in table.get(p.name, {})]
    misses, alarms = (sum(is_so(p, f) for p, _, f in rows) for is_so in (missed, alarmed))
    print(f"{len(rows)} fits, {misses} missed, {alarms} false alarms, {len(changed)} changed, {len(crashed)} crashed")
    print(text(rows if args.whole else bad))
    if changed:
        print(
            f"\nchanged against the stored table:\n{text(sorted([*changed, *then], key=lambda r: (r[0].name, r[1])))}"
        )
    for v in crashed:
        print(f"CRASHED {v.program} {v.seed}: {v.crash.strip().splitlines()[-1]}")
    if args.write:
        for program, seed, found in rows:
            table.setdefault(program.name, {})[seed] = found
        dump({p.name: dict(sorted(table[p.name].items())) for p in ALL if p.name in table})
    return int(bool(bad or crashed))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


if __name__ == "__main__":
    raise SystemExit(main())
