"""What is printed, how the callback is configured from YAML, that it can be pickled and used again."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from lightning_diag import Diagnostics

from .fits import Blobs, Net, Watch, fit, quietly, trainer


def test_one_table_at_the_end_and_each_error_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, Diagnostics(), module=Net(dead=True))
    text = capsys.readouterr().out
    assert text.count("Training health") == 1
    live = [line for line in text.split("Training health")[0].splitlines() if "A001" in line]
    assert len([line for line in live if "net.3" in line]) == 1
    assert "\x1b[" not in text, "plain where it is not a terminal"


def test_nothing_is_printed_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, Diagnostics(verbose=False), module=Net(dead=True))
    assert "A001" not in capsys.readouterr().out


CONFIG = """
trainer:
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  max_epochs: 1
  callbacks:
    - class_path: lightning_diag.Diagnostics
      init_args:
        every_n_steps: 7
        select: [A001, G]
        ignore: {"backbone.*": [A001]}
        histograms: false
        stop_on: error
        verbose: false
"""


def test_configured_by_yaml(tmp_path: Path) -> None:
    from lightning.pytorch.cli import LightningCLI

    path = tmp_path / "config.yaml"
    path.write_text(CONFIG + f"  default_root_dir: {tmp_path}\n", encoding="utf-8")
    with quietly():
        cli = LightningCLI(
            Net, Blobs, args=["fit", "--config", str(path)], save_config_callback=None, seed_everything_default=0
        )
    (diagnostics,) = (c for c in cli.trainer.callbacks if isinstance(c, Diagnostics))  # type: ignore[attr-defined]
    assert (diagnostics.every_n_steps, diagnostics.histograms, diagnostics.stop_on) == (7, False, "error")
    assert diagnostics.ignore == {"backbone.*": ["A001"]}
    assert "dead-units" in diagnostics.report.outcomes
    assert "overfitting" not in diagnostics.report.outcomes


def test_it_can_be_pickled_in_the_middle_of_a_fit(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False)
    copies: list[Diagnostics] = []
    fit(tmp_path, diagnostics, Watch(lambda _: copies.append(pickle.loads(pickle.dumps(diagnostics)))), max_epochs=1)
    assert copies[4].report.run["samples"] == 5
    assert len(copies[4].history) == 5


def test_with_another_trainer_the_same_object_starts_anew(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False)
    fit(tmp_path, diagnostics, module=Net(dead=True))
    first = diagnostics.report.run["run_id"]
    with quietly():
        trainer(tmp_path, [diagnostics], max_epochs=1).fit(Net(), datamodule=Blobs())
    assert diagnostics.report.run["run_id"] != first
    assert diagnostics.history.steps.tolist() == list(range(10))
    assert all(f.code != "A001" for f in diagnostics.report.findings)
