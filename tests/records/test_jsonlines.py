"""What is written comes back equal; what is damaged is named, and a torn last line costs that line alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, strategies as st

from lightning_diag.records import History, HistoryError, Layer
from lightning_diag.records.jsonlines import SCHEMA

NAN, INF = float("nan"), float("inf")
names = st.lists(st.text(max_size=9), unique=True, min_size=1, max_size=4)
facts = st.fixed_dictionaries(
    {}, optional={"a": st.integers(-(2**60), 2**60), "status": st.text(), "nested": st.lists(st.booleans() | st.none())}
)
SPECIAL = np.array([NAN, INF, -INF, 0.0, -0.0, 1e-320, 1.7976931348623157e308, 1 / 3, -7.0, 123456789.0])


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Histories of all shapes; the numbers come from a seed, which is quicker."""
    history, sites = History(draw(facts)), draw(names)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def numbers(n: int) -> npt.NDArray[np.float64]:
        return np.where(
            rng.random(n) < 0.3, rng.choice(SPECIAL, n), rng.standard_normal(n) * 10.0 ** rng.uniform(-9, 9)
        )

    history.set_sites("total", [""])
    for step in range(int(rng.integers(0, 6))):
        if step == 0 or rng.random() < 0.4:
            sites = list(rng.permutation(sites)[: rng.integers(0, len(sites) + 1)]) if step else sites
            history.set_sites("activation", sites)
            history.set_layers([Layer(x, "Linear", "output", x, "é", step, (x, ""), x[::-1]) for x in sites])
        values = {"activation/rms": numbers(len(sites)), "total/gradient_norm": numbers(1)}
        history.add_sample(10 * step, step, values, stage="train" if rng.random() < 0.8 else "validate")
        sites = sites or ["a"]
        history.set_sites("activation", sites)
    for name in draw(names):
        n = int(rng.integers(0, 6))
        history.add_points(name, rng.integers(0, 2**62, n).tolist(), numbers(n), stage="validate")
    return history


def content(history: History) -> dict[str, Any]:
    """All that a history holds, comparable."""
    tables = {
        (s, stage): (t.steps.tolist(), t.sites, repr(t.matrix.tolist()))
        for s in sorted(history.statistics)
        for stage in ("train", "validate")
        if len(t := history.table(s, stage))
    }
    series = {
        (n, stage): (x.steps.tolist(), [repr(v) for v in x.values.tolist()])
        for stage in ("train", "validate")
        for n in sorted(history.series_names(stage))
        for x in [history.series(n, stage)]
    }
    return {
        "run": history.run, "layers": history.layers, "tables": tables, "series": series,
        "steps": history.steps.tolist(), "epochs": history.epochs.tolist(),
    }  # fmt: skip


@given(history=histories())
def test_round_trip(history: History) -> None:
    again = History.from_lines(list(history.lines()))
    assert content(again) == content(history)
    assert list(again.lines()) == list(history.lines())


@given(history=histories())
def test_lines_taken_as_training_goes_say_the_same(history: History) -> None:
    """Layers come when they are known, so only their last version is compared; the header is the writer's."""
    lines = [next(iter(history.lines())), *history.new_lines()]
    assert content(History.from_lines(lines)) == content(history)
    assert history.new_lines() == []


@given(history=histories())
def test_every_line_is_strict_json(history: History) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    for line in history.lines():
        assert "\n" not in line
        assert isinstance(json.loads(line, parse_constant=refuse), dict)


def some() -> History:
    history = History({"batch_size": 32})
    history.set_layers([Layer("a", "Linear", units=2, parameters=("a.weight",))])
    history.set_sites("activation", ["a", "b"])
    history.add_sample(0, 0, {"activation/rms": [1.5, NAN], "activation/max": [INF, -INF]})
    history.add_sample(7, 1, {"activation/rms": [2.5, 0.0]})
    history.add_points("loss", [0, 7], [NAN, -INF])
    return history


def test_nan_and_infinity_come_back() -> None:
    again = History.from_lines(list(some().lines()))
    np.testing.assert_array_equal(again.table("activation/rms").matrix, [[1.5, NAN], [2.5, 0]])
    assert again.table("activation/max").matrix.tolist() == [[INF, -INF]]
    assert repr(again.series("loss").values.tolist()) == "[nan, -inf]"


def test_facts_with_nan_are_null() -> None:
    again = History.from_lines(list(History({"x": NAN, "y": [INF, {"z": NAN}]}).lines()))
    assert again.run == {"x": None, "y": [1.7976931348623157e308, {"z": None}]}


def test_huge_steps() -> None:
    history = some()
    history.add_sample(2**62, 3, {"activation/rms": [1, 2]})
    history.add_points("loss", [2**62], [1.0])
    again = History.from_lines(list(history.lines()))
    assert again.steps[-1] == again.series("loss").steps[-1] == 2**62


@given(cut=st.integers(1, 10_000))
def test_a_torn_last_line_costs_that_line_alone(cut: int) -> None:
    lines = list(some().lines())
    for n in range(2, len(lines) + 1):
        torn = [*lines[: n - 1], lines[n - 1][: cut % len(lines[n - 1])]]
        history = History.from_lines(torn, name="run")
        whole = History.from_lines(lines[: n - 1])
        truncated = history.run.pop("truncated", "")
        assert content(history) == content(whole)
        assert truncated.startswith(f"run, line {n}") or not torn[-1]


def test_a_torn_line_in_the_middle_is_an_error() -> None:
    lines = list(some().lines())
    with pytest.raises(HistoryError, match="history, line 3"):
        History.from_lines([*lines[:2], lines[2][:-4], *lines[3:]])


BROKEN: dict[str, tuple[str, str]] = {
    "empty": ("", "is empty"),
    "no header": ('{"step":0}\n', "line 1: not a history of schema 1"),
    "another schema": ('{"lightning_diag_history":2,"run":{}}\n', r"not a history of schema 1 \(schema: 2\)"),
    "text": ("hello\n", "line 1"),
    "a list": ("[1]\n", "line 1: not a JSON object"),
    "a number": ("3\n", "line 1: not a JSON object"),
    "deep": ("[" * 100_000 + "\n", "line 1"),
    "run is no mapping": (f'{{"lightning_diag_history":{SCHEMA},"run":[3]}}\n', "line 1"),
}
HEAD = f'{{"lightning_diag_history":{SCHEMA},"run":{{}}}}\n{{"sites":{{"activation":["a"]}}}}\n'
SAMPLE = '{{"step":{step},"epoch":0,"stage":"{stage}","values":{{"activation/rms":{values}}}}}'
DAMAGED: dict[str, str] = {
    "no sites": SAMPLE.format(step=0, stage="train", values="[1]").replace("activation", "gradient"),
    "too many values": SAMPLE.format(step=0, stage="train", values="[1,2]"),
    "values of text": SAMPLE.format(step=0, stage="train", values='["x"]'),
    "values nested": SAMPLE.format(step=0, stage="train", values="[[1],[2,3]]"),
    "unknown stage": SAMPLE.format(step=0, stage="test", values="[1]"),
    "step is text": SAMPLE.format(step='"x"', stage="train", values="[1]"),
    "step is too large": '{"stage":"train","points":{"loss":[[1e400],[1]]}}',
    "step beyond 64 bits": '{"stage":"train","points":{"loss":[[99999999999999999999],[1]]}}',
    "points differ": '{"stage":"train","points":{"loss":[[1,2],[1]]}}',
    "points no pair": '{"stage":"train","points":{"loss":[1]}}',
    "sites not unique": '{"sites":{"activation":["a","a"]}}',
    "layers of another kind": '{"layers":[{"name":"x"}]}',
    "layers no list": '{"layers":3}',
    "not an object": "7",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_history_is_refused(name: str, tmp_path: Path) -> None:
    text, message = BROKEN[name]
    path = tmp_path / "history.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HistoryError, match=message):
        History.load(path)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_line_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(f"{HEAD}{DAMAGED[name]}\n" + '{"run":{"a":1}}\n', encoding="utf-8")
    with pytest.raises(HistoryError, match=r"history\.jsonl, line 3"):
        History.load(path)
    path.write_text(HEAD + DAMAGED[name], encoding="utf-8")
    assert History.load(path).run["truncated"].startswith(f"{path}, line 3")


@given(garbage=st.binary(max_size=300))
def test_garbage_is_an_error_that_says_so(garbage: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("garbage") / "history.jsonl"
    path.write_bytes(garbage)
    with pytest.raises(HistoryError, match=r"history\.jsonl"):
        History.load(path)


@given(history=histories(), line=st.integers(0, 100), at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_never_ends_in_another_exception(history: History, line: int, at: int, byte: int) -> None:
    lines = list(history.lines())
    text = bytearray(lines[line % len(lines)].encode())
    text[at % len(text)] = byte
    lines[line % len(lines)] = text.decode(errors="replace")
    try:
        again = History.from_lines(lines)
        for statistic in again.statistics:  # numbers are parsed here
            again.table(statistic)
    except HistoryError:
        return
    assert again.run is not None


def test_unknown_lines_and_blank_ones_are_passed_over() -> None:
    lines = list(some().lines())
    again = History.from_lines([lines[0], "", '{"of":"a later version"}', *lines[1:]])
    assert content(again) == content(some())


@pytest.mark.parametrize("missing", ["", "history.jsonl", "no/such/place"])
def test_a_missing_file_is_named(missing: str, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"no history\.jsonl in|cannot read"):
        History.load(tmp_path / missing)


def test_a_directory_means_its_newest_history(tmp_path: Path) -> None:
    for i, name in enumerate(("history.jsonl", "history-2.jsonl")):
        (tmp_path / name).write_text("\n".join(History({"fit": i + 1}).lines()), encoding="utf-8")
    assert History.load(tmp_path).run == {"fit": 2}
    assert History.load(str(tmp_path / "history.jsonl")).run == {"fit": 1}


def test_not_text_is_said(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"\xff\xfe\x00" * 10)
    with pytest.raises(HistoryError, match="is not text"):
        History.load(path)
