from __future__ import annotations

import pytest

from lightning_diag.findings import Finding, Outcome, Report
from lightning_diag.sinks.wording import grouped, looked_at, printable, short_site, unjudged, when
from tests.sinks.reports import ERROR, EVIL, SICK, finding


@pytest.mark.parametrize("text", ["", "plain", EVIL, "\u202eabc", "\ud800", "\x1b]0;title\x07", "a\r\nb\tc", "é→✖"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252", "utf-16"])
def test_printable_is_one_printable_line_that_the_encoding_can_write(text: str, encoding: str) -> None:
    clean = printable(text, encoding)
    assert clean.isprintable()
    clean.encode(encoding)
    assert printable(clean, encoding) == clean


def test_printable_leaves_names_alone() -> None:
    for name in ("net.0", "encoder.layers[3]", "größe/δ", "層"):
        assert printable(name) == name


@pytest.mark.parametrize("width", [8, 16, 40])
def test_short_site_keeps_the_end(width: int) -> None:
    short = short_site("model.encoder.layers.11.attention.out", width)
    assert len(short) <= width
    assert short.endswith("out")


def test_groups_hold_every_finding_once() -> None:
    groups = grouped(SICK.findings)
    held = [f for g in groups for f in (*g.findings, *(f for some in g.consequences.values() for f in some))]
    assert sorted(f.key for f in held) == sorted(f.key for f in SICK.findings)
    assert [g.head.code for g in groups] == ["A001", "V001"]
    assert list(groups[0].consequences) == ["G001", "L002"]


def test_a_finding_explained_by_its_own_code_is_folded() -> None:
    chain = [finding("A001", "n", ERROR, "a", 0, "m"), finding("A001", "n", ERROR, "b", 0, "m", because="A001")]
    (group,) = grouped(chain)
    assert (len(group.findings), len(group.consequences["A001"])) == (1, 1)


def test_steps_read_as_a_range_only_where_it_lasted() -> None:
    def at(step: int, last: int) -> Finding:
        return finding("A001", "n", ERROR, "a", step, "m", last_step=last)

    assert [when(at(*x)) for x in ((3, -1), (3, 3), (3, 9), (-1, -1))] == [
        "step 3",
        "step 3",
        "steps 3 to 9",
        "before the first step",
    ]


def test_facts_that_are_missing_or_odd_are_left_out() -> None:
    odd = {"samples": None, "steps": "many", "overhead_fraction": None, "status": None}
    assert looked_at(Report(run=odd)) == ["0 of 0 rules judged"]
    assert "0 % of the time spent looking" in looked_at(Report(run={"overhead_fraction": 0.0}))
    assert "most of the time spent looking" in looked_at(Report(run={"overhead_fraction": 3.0}))


def test_crashes_come_before_what_is_unmeasured_and_show_their_last_line() -> None:
    outcomes = {
        "a": Outcome("unmeasured", ""),
        "b": Outcome("clean"),
        "c": Outcome("crashed", "Traceback\nE: 1\n"),
    }
    assert unjudged(Report(outcomes=outcomes)) == [("c", "crashed", "E: 1"), ("a", "unmeasured", "no reason given")]
