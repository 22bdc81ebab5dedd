"""A full disk, a directory that goes or cannot be written: one warning, the report is kept, the training goes on."""

from __future__ import annotations

import errno
import logging
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from lightning_diag.findings import Report
from lightning_diag.records import History
from lightning_diag.sinks.disk import RunFiles
from lightning_diag.sinks.tensorboard import TensorBoardSink
from tests.contracts.setups import crashes, leftovers, open_files, run, watch

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a training without Diagnostics ends in."""
    return run(tmp_path_factory.mktemp("unseen")).state()


def full(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["start", "append", "report", "tensorboard"])
def test_a_sink_that_fails(
    place: str, unseen: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, method = {
        "start": (RunFiles, "__init__"),
        "append": (RunFiles, "append"),
        "report": (RunFiles, "write_report"),
        "tensorboard": (TensorBoardSink, "write_sample"),
    }[place]
    monkeypatch.setattr(owner, method, full)
    board = place == "tensorboard"
    logger = [L.pytorch.loggers.TensorBoardLogger(str(tmp_path))] if board else False
    done = run(tmp_path, watch(), logger=logger)
    assert done.state() == unseen
    assert len(done.told) == 1 and "No space left" in done.told[0]
    assert crashes(done) == {} and done.report.ok and len(done.history) > 5
    assert leftovers(done.module) == []
    assert [name for name in open_files(tmp_path) if "tfevents" not in name] == []
    assert len(list(tmp_path.rglob("health.json"))) == (1 if board else 0)


def test_a_disk_that_is_full_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written during the fit is written at its end."""
    append = RunFiles.append

    class Space(L.Callback):
        def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
            monkeypatch.setattr(RunFiles, "append", full if 4 <= trainer.global_step < 9 else append)

    done = run(tmp_path, watch(), callbacks=[Space()])
    assert len(done.told) == 1 and crashes(done) == {}
    assert len(History.load(next(tmp_path.rglob("history.jsonl")))) == len(done.history)
    assert Report.load(next(tmp_path.rglob("health.json"))).run["status"] == "finished"


class Vandal(L.Callback):
    """Takes the log directory away, or its permissions, in the middle of training."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root, self.kind = root, kind

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 5:
            for directory in (self.root / "lightning_diag").iterdir():
                shutil.rmtree(directory)
                if self.kind == "file":  # nothing can be made below a file, whoever asks
                    directory.write_text("")


@pytest.mark.parametrize("kind", ["deleted", "file"])
def test_the_log_directory_goes(kind: str, unseen: dict[str, bytes], tmp_path: Path) -> None:
    done = run(tmp_path, watch(), callbacks=[Vandal(tmp_path, kind)])
    assert done.state() == unseen
    assert len(done.told) == (0 if kind == "deleted" else 1)
    assert crashes(done) == {} and done.report.ok
    if kind == "deleted":
        found = History.load(next(tmp_path.rglob("history.jsonl")))
        assert found.steps.tolist() == done.history.steps.tolist()


def test_a_directory_that_cannot_be_written(unseen: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "lightning_diag").write_text("a file in the way")
    done = run(tmp_path, watch())
    assert done.state() == unseen
    assert len(done.told) == 1 and crashes(done) == {} and done.report.ok
