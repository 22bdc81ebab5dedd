"""The files of a run: where they lie, what they hold, and that no other run's file is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lightning_diag
from lightning_diag import Diagnostics, Report
from lightning_diag.records import History

from .fits import Blobs, Net, Watch, fit, quietly, trainer

ROOT = Path(__file__).resolve().parents[2]


def written(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_without_a_logger_a_directory_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        fit(tmp_path, Diagnostics(verbose=False), max_epochs=1)
    assert written(tmp_path) == [
        f"lightning_diag/version_{n}/{name}" for n in (0, 1) for name in ("health.json", "history.jsonl")
    ]


def test_the_directory_of_the_logger(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(tmp_path, diagnostics := Diagnostics(verbose=False), logger=logger, max_epochs=1)
    directory = Path(logger.log_dir)
    assert diagnostics.history.run["log_dir"] == str(directory)
    assert {"health.json", "history.jsonl"} <= {p.name for p in directory.iterdir()}
    assert not (tmp_path / "lightning_diag").exists()


def test_a_second_fit_starts_a_new_history_beside_the_first(tmp_path: Path) -> None:
    diagnostics, logger = Diagnostics(verbose=False), CSVLogger(tmp_path)
    fit(tmp_path, diagnostics, logger=logger, max_epochs=1)
    directory = Path(logger.log_dir)
    first = (directory / "history.jsonl").read_bytes(), (directory / "health.json").read_bytes()
    fit(tmp_path, diagnostics, logger=logger, max_epochs=1, module=Net(dead=True))
    assert ((directory / "history.jsonl").read_bytes(), (directory / "health.json").read_bytes()) == first
    again = History.load(directory / "history-2.jsonl")
    assert again.run["run_id"] == diagnostics.history.run["run_id"]
    assert Report.load(directory / "health-2.json").findings == diagnostics.report.findings


def test_fast_dev_run_writes_nothing(tmp_path: Path) -> None:
    fit(tmp_path, diagnostics := Diagnostics(verbose=False), fast_dev_run=True)
    assert written(tmp_path) == []
    assert diagnostics.history.steps.tolist() == [0]
    assert diagnostics.report.count("crashed") == 0


def test_health_json_holds_the_report_and_how_it_came_about(tmp_path: Path) -> None:
    fit(tmp_path, diagnostics := Diagnostics(verbose=False), module=Net(dead=True))
    directory = Path(diagnostics.history.run["log_dir"])
    text = (directory / "health.json").read_text(encoding="utf-8")
    data = json.loads(text)
    assert data["lightning_diag_report"] == 1
    assert (data["verdict"], data["ok"], data["primary"]) == ("sick", False, ["A001", "net.3"])
    run = data["run"]
    assert run["versions"]["lightning_diag"] == lightning_diag.__version__
    assert {"torch", "lightning", "python"} <= run["versions"].keys()
    assert (run["steps"], run["samples"], run["status"]) == (20, 20, "finished")
    assert 0 < run["overhead_fraction"] < 1
    assert Report.from_json(text) == Report.from_json(diagnostics.report.to_json())


def test_the_history_on_disk_is_that_in_memory(tmp_path: Path) -> None:
    fit(tmp_path, diagnostics := Diagnostics(verbose=False))
    stored, live = History.load(diagnostics.history.run["log_dir"]), diagnostics.history
    assert stored.statistics == live.statistics
    assert stored.layers == live.layers
    for statistic in live.statistics:
        a, b = stored.table(statistic), live.table(statistic)
        assert (a.steps.tolist(), a.sites) == (b.steps.tolist(), b.sites)
        np.testing.assert_array_equal(a.matrix, b.matrix)
    assert stored.run == json.loads(json.dumps(live.run))


def test_written_as_training_goes(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False)
    sizes: list[int] = []

    def look(trainer: L.Trainer) -> None:
        sizes.append(len(History.load(diagnostics.history.run["log_dir"])))

    fit(tmp_path, diagnostics, Watch(look), max_epochs=1)
    assert sizes == list(range(1, 11)), "after each sample it is on disk"


KILLED = """
import os, signal, sys
from pathlib import Path
from lightning_diag import Diagnostics
from tests.callbacks.fits import Net, Watch, fit

def end(trainer):
    if trainer.global_step == 7:
        os.kill(os.getpid(), signal.SIGKILL)

fit(Path(sys.argv[1]), Diagnostics(verbose=False), Watch(end), module=Net(dead=True))
"""


@pytest.mark.full
def test_a_killed_run_leaves_what_it_saw(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    history = History.load(tmp_path / "lightning_diag" / "version_0")
    assert history.steps.tolist() == list(range(7))
    assert len(history.series("loss")) == 7


def test_a_resumed_run_says_what_it_continues(tmp_path: Path) -> None:
    first = Diagnostics(verbose=False)
    module = fit(tmp_path, first, max_epochs=1)
    checkpoint = tmp_path / "last.ckpt"
    module.trainer.save_checkpoint(checkpoint)
    second = Diagnostics(verbose=False)
    with quietly():
        trainer(tmp_path, [second]).fit(Net(), datamodule=Blobs(), ckpt_path=str(checkpoint))
    continues = second.history.run["continues"]
    assert continues["run_id"] == first.history.run["run_id"]
    assert continues["at_step"] == 10
    assert second.history.steps.tolist() == list(range(20)), "it goes on with what was seen"
    assert second.history.run["log_dir"] != first.history.run["log_dir"]
    assert len(History.load(first.history.run["log_dir"])) == 10, "the first run's file stays as it was"


def test_a_directory_that_cannot_be_written_to_never_ends_the_training(tmp_path: Path) -> None:
    (tmp_path / "lightning_diag").write_text("a file is in the way", encoding="utf-8")
    diagnostics = Diagnostics(verbose=False)
    with pytest.warns(UserWarning, match="lightning_diag stops writing here, the training goes on"):
        module = fit(tmp_path, diagnostics, max_epochs=1)
    assert module.trainer.global_step == 10
    assert len(diagnostics.history) == 10
    assert diagnostics.report.count("crashed") == 0


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("board")
    fit(root, Diagnostics(verbose=False), logger=TensorBoardLogger(root))
    events = EventAccumulator(str(next(root.rglob("events.*")).parent), size_guidance={"histograms": 0})
    events.Reload()
    return events


def test_tensorboard_has_histograms_per_layer(board: Any) -> None:
    tags = set(board.Tags()["histograms"])
    assert {f"activations/net.{i}" for i in range(5)} <= tags
    parameters = [f"net.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")]
    assert {f"{family}/{name}" for family in ("gradients", "weights", "updates") for name in parameters} <= tags
    assert [h.step for h in board.Histograms("activations/net.1")] == list(range(20))
    assert sum(board.Histograms("activations/net.1")[0].histogram_value.bucket) == 16 * 16


def test_tensorboard_has_a_handful_of_scalars_a_report_and_heatmaps(board: Any) -> None:
    scalars = [tag for tag in board.Tags()["scalars"] if tag.startswith("lightning_diag/")]
    assert 2 <= len(scalars) <= 12
    assert "lightning_diag/gradient_norm" in scalars
    assert any(tag.startswith("lightning_diag/report") for tag in board.Tags()["tensors"])
    assert any(tag.startswith("lightning_diag/") for tag in board.Tags()["images"])


def test_histograms_can_be_left_out(tmp_path: Path) -> None:
    fit(tmp_path, Diagnostics(histograms=False, verbose=False), logger=TensorBoardLogger(tmp_path), max_epochs=1)
    events = EventAccumulator(str(next(tmp_path.rglob("events.*")).parent))
    events.Reload()
    assert events.Tags()["histograms"] == []
    assert "lightning_diag/gradient_norm" in events.Tags()["scalars"]
