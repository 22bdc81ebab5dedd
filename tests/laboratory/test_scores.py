import math

import pytest

from tests.laboratory import scores, tables
from tests.laboratory.judging import Said, Verdict
from tests.models import SICK, Fit
from tests.programs.program import Program


def build(seed: int) -> Fit:
    raise NotImplementedError


def program(name: str, kind: str = "sick", accepted: tuple[str, ...] = ("A001", "W001"), sites: tuple[str, ...] = ()):
    sick = kind == "sick"
    fault = "" if kind == "healthy" else "A001"
    return Program(name, kind, build, SICK[0].verify, fault, accepted if sick else (), sites)  # type: ignore[arg-type]


def verdict(p: Program, seed: int, *said: Said, steps: int = 100, first: int = -1, crash: str = ""):
    return p, Verdict(p.name, seed, said, steps, first, crash)


def found(code: str, site: str = "", root: bool = True) -> Said:
    return Said(code, (code,), "warning", (site,), root)


A, B = program("a", sites=("net.1",)), program("b")
TWIN, CONTROL = program("a-mended", "twin"), program("c", "healthy")
PAIRS = [
    verdict(A, 0, found("A001", "net.1.weight"), first=10),
    verdict(A, 1, found("G001"), found("W001", "net.10"), first=30),
    verdict(A, 2, found("W001", "net.1", root=False), first=40),
    verdict(A, 3, crash="boom"),
    verdict(B, 0, found("G001"), found("A001"), first=50),
    verdict(TWIN, 0, found("L002"), found("G001")),
    verdict(TWIN, 1),
    verdict(CONTROL, 0),
]


def test_wilson_against_known_values() -> None:
    assert scores.wilson(0.9, 10) == pytest.approx((0.59585, 0.98212), abs=1e-5)
    assert scores.wilson(0.0, 50) == pytest.approx((0.0, 0.07135), abs=1e-5)
    assert scores.wilson(1.0, 50) == pytest.approx((0.92865, 1.0), abs=1e-5)
    assert all(math.isnan(x) for x in scores.wilson(0.5, 0))


def test_a_program_counts_by_the_mean_of_its_seeds_and_once_for_the_interval() -> None:
    share = scores.share([x for x in PAIRS if x[0].kind == "sick"], scores.named)
    assert (share.value, share.programs) == ((3 / 4 + 1) / 2, 2)
    assert (share.low, share.high) == scores.wilson(0.875, 2)
    assert str(scores.share([], scores.named)) == "-"


def test_a_site_is_within_a_place_but_not_within_one_that_begins_alike() -> None:
    assert all(scores.within(s, ("net.1",)) for s in ("net.1", "net.1.weight", "net.1#1"))
    assert scores.within("net.4", ("net.",))
    assert not any(scores.within(s, ("net.1",)) for s in ("net.10", "net", ""))
    assert not scores.within("net.1", ())


def test_scores_of_hand_made_verdicts() -> None:
    s = scores.score(PAIRS)
    assert (s.named.value, s.first.value) == (0.875, (1 / 4 + 0) / 2)
    assert (s.located.value, s.located.programs) == (2 / 4, 1)  # only of programs whose fault has a place
    assert s.located_first.value == 1 / 4
    assert (s.alarms["twin"].value, s.alarms["healthy"].value) == (0.5, 0.0)
    assert s.alarms_by_rule == {"twin": {"G001": 1, "L002": 1}, "healthy": {}}
    assert (s.step, s.part) == (40.0, 0.4)  # the median over programs of 30 and 50
    assert [(p.name, v.seed) for p, v in s.misses] == [("a", 3)]
    assert [(p.name, v.seed) for p, v in s.crashes] == [("a", 3)]
    assert [(p.name, v.seed) for p, v in s.accused] == [("a-mended", 0)]
    assert s.fits == len(PAIRS)


def test_nothing_at_all_has_no_scores() -> None:
    s = scores.score([])
    assert math.isnan(s.named.value) and math.isnan(s.step)


def test_the_table_fault_by_finding_counts_fits() -> None:
    assert scores.confusion(PAIRS) == {
        "A001": {"fits": 5, "A001": 2, "G001": 2, "W001": 2},
        "twins": {"fits": 2, "G001": 1, "L002": 1},
        "controls": {"fits": 1},
    }


def test_a_peer_may_mean_several_faults() -> None:
    said = Said("TA102", ("G002", "W001"), "warning")
    assert scores.named(*verdict(A, 0, said)) and not scores.located(*verdict(A, 0, said))


def test_tables_have_a_cell_for_every_column() -> None:
    of_tools = {"one": scores.score(PAIRS), "two": scores.score(PAIRS[:1])}
    made = [tables.summary(of_tools), tables.faults({"one": PAIRS, "two": PAIRS[:1]}), tables.crossed(PAIRS)]
    made += [tables.alarms(of_tools, "twin"), tables.listed(PAIRS)]
    for heading, rows in made:
        assert rows and all(len(r) == len(heading) for r in rows)
        assert tables.markdown((heading, rows)).count("\n") == len(rows) + 1
        assert tables.plain((heading, rows)).count("\n") == len(rows)
    assert "| fault named at warning or above | 88 % (" in tables.markdown(made[0])
