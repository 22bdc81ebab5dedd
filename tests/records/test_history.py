"""A history holds what was put in, bounded in memory, and says what is absent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lightning_diag.records import History, Layer, Series

NAN = float("nan")


def filled(steps: int, *, max_samples: int = 2000, max_points: int = 16_384) -> History:
    history = History(max_samples=max_samples, max_points=max_points)
    history.set_sites("activation", ["a", "b"])
    for step in range(steps):
        history.add_sample(step, step // 10, {"activation/rms": [step, -step], "activation/nan": [NAN, 0.0]})
        history.add_points("loss", [step], [1.0 / (1 + step)])
    return history


def test_a_table_has_steps_sites_and_values() -> None:
    table = filled(3).table("activation/rms")
    assert table.steps.tolist() == [0, 1, 2]
    assert table.sites == ("a", "b")
    assert table.matrix.tolist() == [[0, 0], [1, -1], [2, -2]]
    assert len(table) == 3


def test_absent_is_absent() -> None:
    history = filled(3)
    assert len(history.table("activation/dead_fraction")) == 0
    assert len(history.table("activation/rms", "validate")) == 0
    assert len(history.series("nothing")) == 0
    assert len(history["activation/nan", "a"]) == 0, "NaN in a sample means absent"
    assert history["activation/nan", "b"].values.tolist() == [0, 0, 0]
    assert not History()
    assert filled(1)


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(KeyError, match=r"no 'activation/rms' at 'c'; statistics: activation/rms.*sites: a, b"):
        filled(1)["activation/rms", "c"]


@pytest.mark.parametrize(
    ("values", "message"),
    [({"gradient/rms": [1.0]}, "no sites stated for 'gradient/rms'"), ({"activation/rms": [1.0]}, "1 values for 2")],
)
def test_a_sample_that_does_not_fit_is_refused(values: dict[str, list[float]], message: str) -> None:
    history = filled(1)
    with pytest.raises(ValueError, match=message):
        history.add_sample(1, 0, values)
    assert len(history) == 1


def test_sites_are_unique() -> None:
    with pytest.raises(ValueError, match="must be unique"):
        History().set_sites("activation", ["a", "a"])


def test_points_need_a_step_each() -> None:
    with pytest.raises(ValueError, match="2 steps for 1 values"):
        History().add_points("loss", [0, 1], [1.0])


def test_the_site_list_may_change() -> None:
    history = filled(1)
    history.set_sites("activation", ["b", "c"])
    history.add_sample(1, 0, {"activation/rms": [5, 6]})
    table = history.table("activation/rms")
    assert table.sites == ("b", "c", "a")
    np.testing.assert_array_equal(table.matrix, [[0, NAN, 0], [5, 6, NAN]])
    assert history["activation/rms", "c"].steps.tolist() == [1]


def test_a_table_grows_after_it_was_read() -> None:
    history = filled(2)
    assert len(history.table("activation/rms")) == 2
    history.add_sample(2, 0, {"activation/rms": [2, 2]})
    assert len(history.table("activation/rms")) == 3


def test_series_are_sorted_by_step() -> None:
    history = History()
    history.add_points("loss", [5, 1, 3], [50, 10, 30])
    assert history.series("loss").steps.tolist() == [1, 3, 5]
    assert history.series("loss").values.tolist() == [10, 30, 50]


def test_stages_are_kept_apart() -> None:
    history = filled(2)
    history.add_points("metric/acc", [1], [0.5], stage="validate")
    history.add_sample(1, 0, {"activation/rms": [7, 7]}, stage="validate")
    assert history.series_names() == ("loss",)
    assert history.series_names("validate") == ("metric/acc",)
    assert history.steps.tolist() == [0, 1]
    assert history.table("activation/rms", "validate").matrix.tolist() == [[7, 7]]


@given(steps=st.integers(1, 400), most=st.integers(70, 150))
def test_thinning_bounds_memory_and_keeps_the_head_and_the_newest(steps: int, most: int) -> None:
    history = filled(steps, max_samples=most, max_points=most)
    for kept in (history.steps, history.series("loss").steps):
        assert len(kept) <= most
        assert len(kept) >= min(steps, most // 2)
        head = min(steps, 32, most // 8)
        assert kept[:head].tolist() == list(range(head))
        recent = min(steps, 16)
        assert kept[-recent:].tolist() == list(range(steps - recent, steps))
        assert (np.diff(kept) > 0).all()
    assert history.generation > 0 or steps <= most
    assert history["activation/rms", "a"].values.tolist() == history.steps.tolist()
    assert history.epochs.tolist() == (history.steps // 10).tolist()


def test_thinning_leaves_no_large_gap() -> None:
    history = filled(5000, max_samples=200, max_points=200)
    for steps in (history.steps, history.series("loss").steps):
        assert np.diff(steps).max() < 15 * 5000 / 200


def test_the_tail_has_the_last_samples_and_all_points() -> None:
    history = filled(10)
    history.set_layers([Layer("a", "Linear")])
    tail = history.tail(3)
    assert tail.steps.tolist() == [7, 8, 9]
    assert tail.table("activation/rms").matrix[0].tolist() == [7, -7]
    assert len(tail.series("loss")) == 10
    assert tail.layers == history.layers
    assert len(history) == 10


def test_truncation_forgets_steps_that_are_taken_again() -> None:
    history = filled(10)
    assert len(history.table("activation/rms")) == 10
    history.truncate(4)
    assert history.steps.tolist() == [0, 1, 2, 3]
    assert history.series("loss").steps.tolist() == [0, 1, 2, 3]
    assert len(history.table("activation/rms")) == 4
    history.add_points("loss", [4], [9.0])
    assert history.series("loss").values[-1] == 9


def test_layers_are_found_by_site() -> None:
    history = History()
    history.set_layers([Layer("a", "Linear", units=3), Layer("b", "ReLU", activation="relu", follows="a")])
    assert history.layer("b") == Layer("b", "ReLU", activation="relu", follows="a")
    assert history.layer("c") is None


def test_facts_change_only_where_they_are_new() -> None:
    history = History({"a": 1})
    history.new_lines()
    history.update_run(a=1)
    assert history.new_lines() == []
    history.update_run(a=2, b=3)
    assert history.new_lines() == ['{"run":{"a":2,"b":3}}']


@given(x=st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_keep_six_digits(x: float) -> None:
    history = History()
    history.add_points("loss", [0], [x])
    (kept,) = history.series("loss").values
    assert kept == pytest.approx(x, rel=6e-6, abs=0, nan_ok=True)
    history.add_points("again", [0], [kept])
    assert history.series("again").values.tolist() == pytest.approx([kept], rel=0, abs=0, nan_ok=True)


def test_a_series_knows_its_length() -> None:
    assert len(Series(np.arange(3), np.zeros(3))) == 3
    assert "2 samples" in repr(filled(2))
