"""A unit is dead when it was silent on enough examples, in a row, on several steps; not before, and not for ever."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, strategies as st

from lightning_diag.probes.readings import Silence
from lightning_diag.probes.units import SilentUnits

Mask = npt.NDArray[np.bool_]


def silence(*units: int, examples: int = 32, without_bias: list[int] | None = None) -> Silence:
    """Units given as 1 are silent."""
    bias = None if without_bias is None else np.array(without_bias, dtype=bool)
    return Silence(np.array(units, dtype=bool), examples, bias)


def follow(rows: list[Silence], needed: int = 128) -> list[dict[str, float]]:
    """What each step says of one site: statistic without its family -> value, absent ones left out."""
    units, found = SilentUnits(needed), []
    for row in rows:
        values, _ = units.update({"net.1": row}, ["net.0", "net.1"])
        assert all(np.isnan(v[0]) for v in values.values()), "the other site has no numbers"
        found.append({k.removeprefix("activation/"): float(v[1]) for k, v in values.items() if not np.isnan(v[1])})
    return found


def test_no_claim_before_enough_examples_were_seen() -> None:
    found = follow([silence(1, 0)] * 6)
    assert ["dead_fraction" in f for f in found] == [False, False, False, True, True, True]
    assert all(f["silent_fraction"] == 0.5 for f in found)
    assert found[-1]["dead_fraction"] == 0.5
    assert [f["dead_examples"] for f in found[3:]] == [128, 160, 192]


def test_large_batches_still_need_three_steps() -> None:
    found = follow([silence(1, 0, examples=4096)] * 4)
    assert ["dead_fraction" in f for f in found] == [False, False, True, True]


def test_a_unit_that_fires_now_and_then_is_not_dead() -> None:
    rows = [silence(1, step % 3 != 0) for step in range(20)]
    assert follow(rows)[-1] == {
        "silent_fraction": 1.0, "dead_fraction": 0.5, "dead_from_start_fraction": 0.5, "dead_examples": 640,
    }  # fmt: skip


def test_silence_for_a_while_is_not_death() -> None:
    found = follow([silence(0, 0)] * 4 + [silence(1, 0)] * 3 + [silence(0, 0)] * 3)
    assert all(f.get("dead_fraction", 0) == 0 for f in found)


def test_a_unit_that_died_later_was_not_dead_from_the_start() -> None:
    found = follow([silence(1, 0)] + [silence(1, 1)] * 10)[-1]
    assert (found["dead_fraction"], found["dead_from_start_fraction"]) == (1.0, 0.5)


def test_a_revived_unit_is_alive_at_once_and_never_again_dead_from_the_start() -> None:
    found = follow([silence(1)] * 6 + [silence(0)] + [silence(1)] * 6)
    assert (found[5]["dead_fraction"], found[5]["dead_from_start_fraction"]) == (1.0, 1.0)
    assert found[6]["dead_fraction"] == 0.0
    assert "dead_examples" not in found[6]
    assert (found[12]["dead_fraction"], found[12]["dead_from_start_fraction"]) == (1.0, 0.0)


def test_the_part_of_the_bias_is_that_of_the_dead_units() -> None:
    rows = [silence(1, 1, 1, 0, without_bias=[1, 0, 0, 1])] * 5
    assert follow(rows)[-1]["dead_by_bias_fraction"] == pytest.approx(1 / 3)
    assert "dead_by_bias_fraction" not in follow([silence(1, 1, 1, 0)] * 5)[-1], "unknown is absent, not 0"
    assert "dead_by_bias_fraction" not in follow([silence(0, 0, without_bias=[1, 1])] * 5)[-1]


def test_a_bias_of_other_shape_is_left_alone() -> None:
    assert "dead_by_bias_fraction" not in follow([silence(1, 1, without_bias=[1])] * 5)[-1]


def test_a_layer_that_changes_its_width_starts_anew() -> None:
    found = follow([silence(1, 1)] * 6 + [silence(1, 1, 1)] * 3)
    assert "dead_fraction" in found[5]
    assert all("dead_fraction" not in f for f in found[6:])


def test_suspects_are_told_until_they_are_confirmed() -> None:
    units = SilentUnits(128)
    told = [units.update({"a": silence(1, 0)}, ["a"])[1] for _ in range(6)]
    assert told == [0, 0, 0.5, 0, 0, 0]
    assert units.update({"a": silence(0, 0)}, ["a"])[1] == 0


def test_the_worst_layer_counts_as_suspect() -> None:
    units = SilentUnits(1000)
    for _ in range(3):
        _, worst = units.update({"a": silence(1, 0, 0, 0), "b": silence(1, 1, 1, 0)}, ["a", "b"])
    assert worst == 0.75


def test_a_site_that_is_not_listed_is_left_out() -> None:
    assert SilentUnits(64).update({"gone": silence(1)}, ["a"]) == ({}, 0.0)


def test_silent_sites_are_named_also_by_their_module() -> None:
    units = SilentUnits(64)
    units.update({"a": silence(0, 0), "b#2": silence(1, 0)}, ["a", "b#2"])
    assert units.some_silent == {"b#2", "b"}
    units.forget()
    assert units.some_silent == set()


@given(
    masks=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=25),
    sizes=st.lists(st.integers(1, 64), min_size=25, max_size=25),
    needed=st.integers(1, 400),
)
def test_equal_to_looking_back_over_all_steps(masks: list[list[bool]], sizes: list[int], needed: int) -> None:
    rows = [Silence(np.array(m), n) for m, n in zip(masks, sizes, strict=False)]
    found = follow(rows, needed)
    for now in range(len(rows)):
        enough = max(needed, 3 * rows[now].examples)
        dead, born = [], []
        for unit in range(4):
            last = max((i for i in range(now + 1) if not masks[i][unit]), default=-1)
            dead.append(sum(sizes[last + 1 : now + 1]) >= enough)
            born.append(dead[-1] and last == -1)
        if sum(sizes[: now + 1]) < enough:
            assert "dead_fraction" not in found[now]
        else:
            assert found[now]["dead_fraction"] == np.mean(dead)
            assert found[now]["dead_from_start_fraction"] == np.mean(born)
