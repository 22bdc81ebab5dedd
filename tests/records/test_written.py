"""Samples whose numbers stay text: the same history, parsed later; damage is named when it is met."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lightning_diag.records import History, HistoryError, jsonlines
from lightning_diag.records.written import Written, matrix_of, numbers_of, written_sample
from tests.records.test_jsonlines import content, histories

NAN, INF = float("nan"), float("inf")
LINE = '{"step":5,"epoch":1,"stage":"train","values":{"a/x":[1.5,null],"a/y":[],"b/z":[-1e-7]}}'


def sample(line: str = LINE) -> Written:
    found = written_sample(line, "run, line 2")
    assert found is not None
    return found


def test_a_sample_is_read() -> None:
    row = sample()
    assert (row.step, row.epoch, row.stage) == (5, 1, "train")
    assert list(row) == ["a/x", "a/y", "b/z"]
    assert len(row) == 3
    assert "a/x" in row
    assert "a" not in row
    assert [row.count(name) for name in row] == [2, 0, 1]
    np.testing.assert_array_equal(row["a/x"], [1.5, NAN])
    assert row["a/y"].tolist() == []
    with pytest.raises(KeyError):
        row["nothing"]


@given(history=histories())
def test_it_is_the_history_that_parsing_at_once_gives(history: History) -> None:
    lines = list(history.lines())
    at_once, keep = [], jsonlines.written_sample
    try:
        jsonlines.written_sample = lambda line, where: None
        at_once = [History.from_lines(lines)]
    finally:
        jsonlines.written_sample = keep
    assert content(History.from_lines(lines)) == content(at_once[0])


@given(history=histories())
def test_a_pickle_holds_numbers(history: History) -> None:
    again = History.from_lines(list(history.lines()))
    assert content(pickle.loads(pickle.dumps(again))) == content(again)


@pytest.mark.parametrize(
    "line",
    [
        '{"run":{}}',
        '{"layers":[]}',
        LINE[:-1],
        LINE[:-5],
        LINE + "x",
        LINE.replace("5", '"5"', 1),
        LINE.replace("[1.5,null]", '["x"]'),
        LINE.replace("[1.5,null]", "[[1],2]"),
        LINE.replace('"a/y"', '"a/x"'),
        LINE.replace('"a/y"', '"a\\u002fy"'),
        LINE.replace(",", ", "),
        '{"step":99999999999999999999,"epoch":1,"stage":"train","values":{"a/x":[1]}}',
        "[" * 1000,
    ],
)
def test_what_is_written_otherwise_is_left_to_the_parser(line: str) -> None:
    assert written_sample(line, "") is None


@pytest.mark.parametrize("damaged", ["1..5", "1-5", "nul", "1.5,,2", ",", "e", "--", "1.5null"])
def test_a_damaged_number_is_named_when_it_is_asked_for(damaged: str) -> None:
    row = sample(LINE.replace("1.5,null", damaged))
    for read in (lambda: row["a/x"], lambda: matrix_of([row], "a/x")):
        with pytest.raises(HistoryError, match="run, line 2: a/x: "):
            read()
    assert row["b/z"].tolist() == [-1e-7]


def test_a_rule_that_meets_a_damaged_number_does_not_crash_but_the_reading_fails() -> None:
    from lightning_diag.rules import check

    lines = ['{"lightning_diag_history":1,"run":{}}', '{"sites":{"activation":["n"]}}']
    head = '{"step":0,"epoch":0,"stage":"train","values":'
    names = ("rms", "nonfinite", "input_nonfinite")
    lines.append(head + "{" + ",".join(f'"activation/{n}":[1..0]' for n in names) + "}}")
    history = History.from_lines(lines)
    with pytest.raises(HistoryError, match="history, line 3: activation/"):
        check(history, select=["A003"])


def test_the_largest_double_is_infinity() -> None:
    largest = 1.7976931348623157e308
    assert numbers_of([largest, -largest, None, 1e400, 0]).tolist()[:2] == [INF, -INF]
    row = sample(LINE.replace("-1e-7", f"{largest!r}"))
    assert row["b/z"].tolist() == [INF]


numbers: Any = st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=3)


@given(rows=st.lists(numbers.map(lambda x: (x * 3)[:3]), min_size=1, max_size=40))
def test_a_matrix_is_that_of_its_rows(rows: list[list[float | None]]) -> None:
    samples = [sample(LINE.replace("[1.5,null]", json.dumps(r, separators=(",", ":")))) for r in rows]
    expected = np.array(rows, dtype=np.float64)
    np.testing.assert_array_equal(matrix_of(samples, "a/x"), expected)
    np.testing.assert_array_equal(matrix_of([dict(s) for s in samples], "a/x"), expected)
    np.testing.assert_array_equal(matrix_of([*samples, dict(samples[0])], "a/x"), [*expected, expected[0]])
