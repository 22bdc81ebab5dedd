"""From paths to decisions: which run a path means, what is judged, what is partial."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lightning_diag.baseline import Baseline
from lightning_diag.checking import Checker, find_runs, partial, places, settled
from lightning_diag.config import Settings
from lightning_diag.gate import Place
from lightning_diag.records import History, HistoryError, Layer
from tests.histories import healthy, history, save, sick


def at(path: Path, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Runs of two models, versions out of order in time."""
    for i, name in enumerate(("a/version_10", "a/version_9", "b/version_0")):
        save(tmp_path / name, healthy())
        at(tmp_path / name / "history.jsonl", 100 + i)
    return tmp_path


def test_a_file_means_itself(logs: Path) -> None:
    path = logs / "a/version_9/history.jsonl"
    assert find_runs(path) == find_runs(str(path), every=True) == [path]


def test_a_run_directory_means_its_last_fit(tmp_path: Path) -> None:
    for i, name in enumerate(("history-10.jsonl", "history-2.jsonl", "history.jsonl")):
        save(tmp_path, healthy(), name)
        at(tmp_path / name, 100 + i)
    save(tmp_path / "nested", healthy())
    every = [tmp_path / f"history{x}.jsonl" for x in ("", "-2", "-10")]
    assert {p.name for p in find_runs(tmp_path, every=True)} == {p.name for p in every}
    save(tmp_path / "version_1", healthy(), "history.jsonl")
    save(tmp_path / "version_1", healthy(), "history-2.jsonl")
    assert find_runs(tmp_path / "version_1")[-1].name == "history-2.jsonl"


def test_a_log_directory_means_its_newest_version(logs: Path) -> None:
    assert find_runs(logs / "a") == [logs / "a/version_10/history.jsonl"]  # though version_9 was touched later
    assert find_runs(logs) == [logs / "b/version_0/history.jsonl"]
    assert len(find_runs(logs, every=True)) == 3


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_path_without_a_run_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    with pytest.raises(HistoryError, match=name):
        find_runs(tmp_path / name)


def test_an_empty_path_is_not_the_working_directory(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(logs)
    assert len(find_runs(".", every=True)) == 3
    with pytest.raises(HistoryError, match="is empty: is a variable unset"):
        find_runs("")


def test_a_report_is_no_history(tmp_path: Path) -> None:
    (tmp_path / "health.json").write_text("{}")
    with pytest.raises(HistoryError, match=r"health\.json is no history; pass the directory"):
        find_runs(tmp_path / "health.json")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_directory_without_permission_is_said(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    save(closed, healthy())
    closed.chmod(0)
    try:
        with pytest.raises(HistoryError, match="closed"):
            find_runs(tmp_path)
    finally:
        closed.chmod(0o700)


def test_settings_are_followed() -> None:
    run = Checker(Settings(select=("L",), ignore=("L002",), require=("L001",))).judge(sick(), "run")
    assert set(run.report.rules) >= {"L001", "L003"}
    assert not {"L002", "A001"} & set(run.report.rules)
    assert run.required == {}
    assert run.exit_code() == 1
    assert Checker(Settings(require=("dead-units",))).judge(healthy(), "run").required["A001"].startswith("unmeasured")


def test_sites_and_limits_are_followed() -> None:
    h = history([1.0, 0.5])
    h.set_sites("activation", ["net.0"])
    h.add_sample(1, 0, {"activation/rms": [1.0], "activation/nonfinite": [3.0], "activation/input_nonfinite": [0.0]})
    assert "A003" in {f.code for f in Checker(Settings()).judge(h, "run").report.findings}
    quiet = Settings(per_site_ignores={"net.*": ("A003",)}, ignore=("V",))
    assert Checker(quiet).judge(h, "run").report.findings == ()
    with pytest.raises(ValueError, match="did you mean"):
        Checker(Settings(rules={"dead-unit": {}}))


@pytest.mark.parametrize(
    "settings",
    [
        Settings(select=("dead-unit",)),
        Settings(ignore=("Q",)),
        Settings(require=("nope",)),
        Settings(per_site_ignores={"a": ("nope",)}),
    ],
)
def test_an_unknown_rule_is_refused(settings: Settings) -> None:
    with pytest.raises(ValueError, match="no rule"):
        Checker(settings)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(select=("A",), require=("L001",)),
        Settings(ignore=("L",), require=("L001",)),
        Settings(per_site_ignores={"*": ("L",)}, require=("L001",)),
    ],
)
def test_what_is_required_must_be_asked(settings: Settings) -> None:
    with pytest.raises(ValueError, match="required but not asked: L001"):
        Checker(settings)


def test_a_baseline_lets_pass_and_tells_what_is_stale(tmp_path: Path) -> None:
    paths = [save(tmp_path / "a", sick()), save(tmp_path / "b", sick())]
    baseline = Baseline((("L001", ""), ("L001", "other"), ("A001", "net.0")))
    decision = settled(paths, Checker(Settings(), baseline))
    assert decision.exit_code == 0
    assert [len(r.known) for r in decision.runs] == [1, 1]
    assert decision.stale == (("L001", "other"),)  # of dead-units nothing is known


def test_what_cannot_be_read_is_a_run_with_a_problem(tmp_path: Path) -> None:
    good = save(tmp_path / "good", healthy())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "history.jsonl").write_text("garbage\n")
    decision = settled([good, str(tmp_path / "bad"), str(tmp_path / "nowhere")], Checker(Settings()))
    assert [bool(r.problem) for r in decision.runs] == [False, True, True]
    assert decision.exit_code == 2


def test_numbers_that_turn_out_damaged_are_a_problem_not_a_crash(tmp_path: Path) -> None:
    run = save(tmp_path, healthy())
    path = tmp_path / "history.jsonl"
    path.write_text(path.read_text().replace('"activation/nonfinite":[0.0]', '"activation/nonfinite":[0..0]'))
    (judged,) = settled([run], Checker(Settings())).runs
    assert "history.jsonl, line 4: activation/nonfinite" in judged.problem
    assert judged.exit_code() == 2


def test_a_history_of_nothing_is_a_problem() -> None:
    assert "nothing was recorded" in Checker(Settings()).judge(History(), "run").problem


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"status": "finished"}, ""),
        ({}, ""),
        ({"status": "running"}, "still running, or died without a word"),
        ({"status": "interrupted"}, "it was interrupted"),
        ({"status": "failed: OSError: disk"}, "failed: OSError"),
        ({"status": "finished", "truncated": "line 3"}, "its last line is unfinished"),
    ],
)
def test_a_partial_run_is_told(facts: dict[str, object], why: str) -> None:
    found = partial(history([1.0], **facts))
    assert why in found
    assert bool(why) == bool(found)


def test_places_come_from_layers_and_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    h = History({"source": f"{tmp_path}/train.py:4"})
    h.set_layers(
        [
            Layer("net.0#1", "Linear", parameters=("net.0.weight",), source="src/net.py:9"),
            Layer("x", "Linear", source="no line"),
            Layer("y", "Linear", source=":3"),
            Layer("z", "Linear", source="a.py:99999999999999999999"),
        ]
    )
    at_net = Place("src/net.py", 9)
    assert places(h) == {"": Place("train.py", 4), "net.0": at_net, "net.0.weight": at_net}
    assert places(History({"source": 3})) == {}
