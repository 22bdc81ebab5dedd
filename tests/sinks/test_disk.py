from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lightning_diag.findings import Report
from lightning_diag.records import History
from lightning_diag.sinks.disk import RunFiles, run_directory
from tests.sinks.reports import HOSTILE, SICK

Opened = Callable[[Path, History], RunFiles]


def history(**limits: int) -> History:
    h = History({"run_id": "r1"}, **limits)
    h.set_sites("activation", ["net.0", "net.1"])
    return h


def sample(h: History, step: int) -> None:
    h.add_sample(step, 0, {"activation/rms": [step + 0.5, float("nan")]})
    h.add_points("loss", [step], [1 / (step + 1)])


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens files that are closed after the test."""
    with ExitStack() as stack:

        def make(directory: Path, h: History) -> RunFiles:
            files = RunFiles(directory, h)
            stack.callback(files.close)
            return files

        yield make


def content(h: History) -> tuple[Any, ...]:
    return (h.run, h.steps.tolist(), h.table("activation/rms").matrix.tobytes(), h.series("loss").values.tolist())


def test_what_was_appended_is_in_the_file_at_once(tmp_path: Path, opened: Opened) -> None:
    h = history()
    files = opened(tmp_path / "new" / "run", h)
    assert files.history_path.name == "history.jsonl"
    for step in range(3):
        sample(h, step)
        files.append()
        assert content(History.load(files.history_path)) == content(h)


def test_a_history_that_holds_something_already_is_written_whole_and_once(tmp_path: Path, opened: Opened) -> None:
    h = history()
    sample(h, 0)
    files = opened(tmp_path, h)
    sample(h, 1)
    files.append()
    assert content(History.load(tmp_path)) == content(h)


def test_thinning_and_truncation_write_the_file_anew(tmp_path: Path, opened: Opened) -> None:
    h = history(max_samples=40)
    files = opened(tmp_path, h)
    for step in range(100):
        sample(h, step)
        files.append()
    assert len(h) < 100
    assert content(History.load(tmp_path)) == content(h)
    h.truncate(10)
    sample(h, 10)
    files.append()
    sample(h, 11)
    files.close()
    assert h.steps.tolist()[:3] == [0, 1, 2]
    assert h.steps.tolist()[-2:] == [10, 11]
    assert History.load(tmp_path).steps.tolist() == h.steps.tolist()


def test_other_fits_in_the_directory_are_never_touched(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "history-2.jsonl").write_text("theirs")
    (tmp_path / "health-3.json").write_text("theirs")
    first, second = opened(tmp_path, history()), opened(tmp_path, history())
    assert (first.history_path.name, first.report_path.name) == ("history.jsonl", "health.json")
    assert (second.history_path.name, second.report_path.name) == ("history-4.jsonl", "health-4.json")
    second.write_report(SICK)
    assert not first.report_path.exists()
    assert (tmp_path / "history-2.jsonl").read_text() == (tmp_path / "health-3.json").read_text() == "theirs"


def test_files_claimed_at_the_same_time_all_differ(tmp_path: Path, opened: Opened) -> None:
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda _: opened(tmp_path, history()), range(24)))
    assert len({f.history_path for f in files}) == 24


@pytest.mark.parametrize("report", [SICK, HOSTILE], ids=["sick", "hostile"])
def test_the_report_is_strict_json_and_replaced_whole(tmp_path: Path, opened: Opened, report: Report) -> None:
    files = opened(tmp_path, history())
    files.write_report(Report())
    files.write_report(report)
    assert Report.load(files.report_path).findings == report.findings
    json.loads(files.report_path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["health.json", "history.jsonl"]


def test_close_writes_what_is_left_and_may_be_called_twice(tmp_path: Path, opened: Opened) -> None:
    h = history()
    files = opened(tmp_path, h)
    sample(h, 0)
    files.close()
    files.close()
    files.write_report(SICK)
    assert content(History.load(tmp_path)) == content(h)


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be deleted there")
def test_a_deleted_directory_is_made_again(tmp_path: Path, opened: Opened) -> None:
    h = history()
    files = opened(tmp_path / "run", h)
    sample(h, 0)
    files.append()
    shutil.rmtree(tmp_path / "run")
    sample(h, 1)
    files.append()
    assert content(History.load(tmp_path / "run")) == content(h)


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be deleted there")
def test_a_name_that_another_run_took_since_is_left_to_it(tmp_path: Path, opened: Opened) -> None:
    h = history()
    files = opened(tmp_path, h)
    (tmp_path / "history.jsonl").unlink()
    (tmp_path / "history.jsonl").write_text("theirs")
    sample(h, 0)
    files.append()
    assert (tmp_path / "history.jsonl").read_text() == "theirs"
    assert content(History.load(files.history_path)) == content(h)


class _Full:
    """A file on a full disk: half of what is written arrives."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, text: str) -> None:
        self.file.write(text[: len(text) // 2])
        self.file.flush()
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        self.file.close()


def test_a_full_disk_is_raised_and_mended_by_the_next_call(tmp_path: Path, opened: Opened) -> None:
    h = history()
    files = opened(tmp_path, h)
    sample(h, 0)
    files._file = _Full(files._file)  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space left"):
        files.append()
    sample(h, 1)
    files.append()
    assert content(History.load(tmp_path)) == content(h)


def test_a_directory_that_cannot_be_made_is_an_oserror(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        opened(tmp_path / "file" / "run", history())


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_a_killed_run_leaves_what_it_saw(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from lightning_diag.records import History
        from lightning_diag.sinks.disk import RunFiles
        h = History()
        h.set_sites("activation", ["net.0"])
        files = RunFiles(sys.argv[1], h)
        for step in range(5):
            h.add_sample(step, 0, {"activation/rms": [1.0]})
            files.append()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    assert History.load(tmp_path).steps.tolist() == [0, 1, 2, 3, 4]


def test_a_run_specific_directory_is_used_as_it_is(tmp_path: Path) -> None:
    assert run_directory(tmp_path / "version_0", tmp_path, True) == tmp_path / "version_0"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("log_dir", "specific"), [(None, False), (None, True), ("s3://b/run", True), ("x", False)])
def test_else_the_next_free_version_is_made(tmp_path: Path, log_dir: str | None, specific: bool) -> None:
    (tmp_path / "lightning_diag" / "version_6").mkdir(parents=True)
    (tmp_path / "lightning_diag" / "version_x").mkdir()
    made = run_directory(log_dir, tmp_path, specific)
    assert made == tmp_path / "lightning_diag" / "version_7"
    assert made.is_dir()


def test_versions_made_at_the_same_time_all_differ(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: run_directory(None, tmp_path, False), range(24)))
    assert len(set(made)) == 24
