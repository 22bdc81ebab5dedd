"""No finding may appear, vanish or change its severity silently."""

import logging
from pathlib import Path

import pytest

from tests.contracts import confusion
from tests.models import ALL, HEALTHY, SICK, Program

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
_FAULTS = list(dict.fromkeys(p.fault for p in SICK))
_FIRST = [next(p.name for p in SICK if p.fault == fault) for fault in _FAULTS]
QUICK = {*_FIRST, *(f"{name}-mended" for name in _FIRST), *(p.name for p in HEALTHY[1::2])}
CASES = [
    pytest.param(p, seed, id=f"{p.name}-{seed}", marks=[] if seed == 0 and p.name in QUICK else [pytest.mark.full])
    for p in ALL
    for seed in confusion.SEEDS
]


@pytest.mark.parametrize(("program", "seed"), CASES)
def test_judgement(program: Program, seed: int, tmp_path: Path) -> None:
    expected = confusion.load()[program.name][str(seed)]
    report = confusion.observe(program, seed, tmp_path).report
    found = confusion.row(report)
    table = confusion.text([(program, "then", expected), (program, "now", found)])
    assert report.count("crashed") == 0, str(report)
    assert found == expected, f"the judgement changed:\n{table}\n{report}"
    assert not confusion.missed(program, found), f"missed:\n{table}\n{report}"
    assert not confusion.alarmed(program, found), f"false alarm:\n{table}\n{report}"


def test_the_stored_table_is_whole() -> None:
    stored = confusion.load()
    assert list(stored) == [p.name for p in ALL]
    assert all(list(rows) == [str(s) for s in confusion.SEEDS] for rows in stored.values())


def test_the_stored_table_has_no_miss_and_no_false_alarm() -> None:
    stored = confusion.load()
    rows = [(p, seed, found) for p in ALL for seed, found in stored.get(p.name, {}).items()]
    bad = [r for r in rows if confusion.missed(r[0], r[2]) or confusion.alarmed(r[0], r[2])]
    assert not bad, f"\n{confusion.text(bad)}"
