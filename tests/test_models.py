"""Every program really has its fault, or really trains well; proved without lightning_diag."""

import logging
from pathlib import Path

import pytest

from tests.models import ALL, HEALTHY, SICK, TWINS, Program

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
QUICK = {p.name for p in (*SICK[::4], *TWINS[1::6], *HEALTHY[::6])}
CASES = [
    pytest.param(p, seed, id=f"{p.name}-{seed}", marks=[] if seed == 0 and p.name in QUICK else [pytest.mark.full])
    for p in ALL
    for seed in range(3)
]


@pytest.mark.parametrize(("program", "seed"), CASES)
def test_program_is_what_it_says(program: Program, seed: int) -> None:
    program.proof(seed)


def test_names_are_unique() -> None:
    assert len({p.name for p in ALL}) == len(ALL)


def test_every_sick_program_has_a_twin() -> None:
    assert [f"{p.name}-mended" for p in SICK] == [p.name for p in TWINS]
    assert [p.fault for p in SICK] == [p.fault for p in TWINS]


@pytest.mark.parametrize(
    "code", ["A001", "A002", "A003", "G001", "G002", "G003", "W001", "W002", "L001", "L002", "V001"]
)
def test_every_rule_has_several_sick_programs(code: str) -> None:
    assert sum(p.fault == code for p in SICK) >= 3


def test_faults_are_named() -> None:
    assert all(p.fault == p.accepted[0] for p in SICK)
    assert not any(p.accepted or p.sites for p in (*TWINS, *HEALTHY))


def test_controls_are_many() -> None:
    assert len(HEALTHY) >= 50
    assert len(SICK) >= 80


def test_programs_do_not_know_the_package() -> None:
    files = [*Path(__file__).parent.glob("programs/*.py"), Path(__file__).parent / "models.py"]
    assert len(files) > 5
    assert not [f.name for f in files if "import lightning_diag" in (t := f.read_text()) or "from lightning_diag" in t]
