"""No judgement may change silently: whether a fault is named, what is named first, who is accused.

What stands beside the first finding may differ with the processor: its kernels round differently, and a sick training
magnifies that. ``python -m tests.contracts.confusion`` compares every finding and its severity on one machine.
"""

import logging
from pathlib import Path

import pytest

from lightning_diag import History, check
from tests.contracts import confusion
from tests.laboratory import judging
from tests.laboratory.record import SEEDS, observe
from tests.models import ALL, Program

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
# Programs without a fault that are accused all the same, each with its reason; misses are listed in confusion.json.
KNOWN_ALARMS: tuple[str, ...] = (
    "few-have-left-mended",  # L004 with seed 2, which is not run any more; why was not looked into
    "empty-mask-mended",  # O001: a very noisy loss whose flatness cannot be told from a slow fall
    "zero-probability-mended",  # V001: a small validation set
)
CASES = [
    pytest.param(
        p, seed, id=f"{p.name}-{seed}", marks=[] if seed == 0 and p.name in confusion.QUICK else [pytest.mark.full]
    )
    for p in ALL
    for seed in SEEDS
]


@pytest.mark.parametrize(("program", "seed"), CASES)
def test_judgement(program: Program, seed: int, tmp_path: Path) -> None:
    expected = confusion.load()[program.name][str(seed)]
    diagnostics = observe(program, seed, tmp_path)
    report = diagnostics.report
    found = judging.row(judging.said(report, program.accepted))
    table = confusion.text([(program, "then", expected), (program, "now", found)])
    assert report.count("crashed") == 0, str(report)
    assert confusion.essence(program, found) == confusion.essence(program, expected), f"changed:\n{table}\n{report}"
    again = check(History.from_lines(diagnostics.history.lines()))
    assert judging.row(judging.said(again, program.accepted)) == found, (
        "a recorded history is judged otherwise than the fit was"
    )


def test_what_may_differ_between_processors_and_what_may_not() -> None:
    sick, healthy = ALL[0], next(p for p in ALL if p.kind == "healthy")
    (right, *_), other = sick.accepted, "Z999"
    stored = {right: "error*", other: "warning"}
    assert confusion.essence(sick, stored) == confusion.essence(sick, {right: "warning*"})
    assert confusion.essence(sick, stored) != confusion.essence(sick, {right: "error", other: "error*"})
    assert confusion.essence(sick, stored) != confusion.essence(sick, {other: "error*"})
    assert confusion.essence(sick, {other: "error*"}) != confusion.essence(sick, {})
    assert confusion.essence(healthy, {}) != confusion.essence(healthy, {other: "warning*"})


def test_the_stored_table_is_whole() -> None:
    stored = confusion.load()
    assert list(stored) == [p.name for p in ALL]
    assert all(list(rows) == [str(s) for s in SEEDS] for rows in stored.values())


def test_the_stored_lists_are_what_the_stored_table_misses_and_accuses() -> None:
    stored = confusion.load()
    assert confusion.known("misses") == confusion.wrong(stored, confusion.missed)
    assert confusion.known("false alarms") == confusion.wrong(stored, confusion.alarmed)


def test_nothing_healthy_is_accused() -> None:
    assert set(confusion.known("false alarms")) <= set(KNOWN_ALARMS)


def test_the_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    sick, twin = ALL[0], next(p for p in ALL if p.kind == "twin")
    table: confusion.Table = {sick.name: {"0": {sick.fault: "error*"}, "1": {}}, twin.name: {"0": {"L002": "warning*"}}}
    confusion.dump(table, tmp_path / "table.json")
    assert confusion.load(tmp_path / "table.json") == table
    assert confusion.known("misses", tmp_path / "table.json") == {sick.name: ["1"]}
    assert confusion.known("false alarms", tmp_path / "table.json") == {twin.name: ["0"]}


def test_every_fault_and_its_twin_are_fitted_by_the_quick_tests() -> None:
    quick = [p for p in ALL if p.name in confusion.QUICK]
    assert {p.fault for p in quick if p.kind == "sick"} == {p.fault for p in ALL if p.kind == "sick"}
    assert {f"{p.name}-mended" for p in quick if p.kind == "sick"} == {p.name for p in quick if p.kind == "twin"}
