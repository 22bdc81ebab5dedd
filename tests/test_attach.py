"""LIGHTNING_DIAG=1: on every Trainer, never without the variable, never at the cost of a Trainer."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import pytorch_lightning as pl

from lightning_diag import Diagnostics, History, attach
from tests.callbacks.fits import fit

QUIET: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu", "barebones": False}
GROUPS = ("lightning.pytorch.callbacks_factory", "pytorch_lightning.callbacks_factory")
TRAINERS = pytest.mark.parametrize("trainer", [L.Trainer, pl.Trainer], ids=["lightning", "pytorch_lightning"])


@pytest.mark.parametrize("group", GROUPS)
def test_the_entry_points_are_installed(group: str) -> None:
    (point,) = entry_points(group=group, name="lightning_diag")
    assert point.load() is attach.callbacks


@pytest.mark.parametrize("value", [None, "", "0", "false", " No ", "OFF"])
def test_without_the_variable_nothing_is_attached(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(attach.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(attach.VARIABLE, value)
    assert attach.callbacks() == []


@TRAINERS
def test_with_the_variable_every_trainer_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trainer: Any) -> None:
    monkeypatch.setenv(attach.VARIABLE, "1")
    monkeypatch.chdir(tmp_path)
    found = [c for c in trainer(**QUIET).callbacks if isinstance(c, Diagnostics)]
    assert len(found) == 1
    assert found[0].automatic


@TRAINERS
def test_it_stands_aside_where_the_user_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trainer: Any) -> None:
    monkeypatch.setenv(attach.VARIABLE, "1")
    monkeypatch.chdir(tmp_path)
    own = Diagnostics()
    callbacks = [c for c in trainer(**QUIET, callbacks=[own]).callbacks if isinstance(c, Diagnostics)]
    assert len(callbacks) == 2
    both = type("Trainer", (), {"callbacks": callbacks})()
    for c in callbacks:
        c.setup(both, None, "fit")
    assert [c.aside for c in callbacks if c is not own] == [True]
    assert not own.aside


def test_of_two_automatic_ones_one_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(attach.VARIABLE, "1")
    monkeypatch.chdir(tmp_path)
    callbacks = [*attach.callbacks(), *attach.callbacks()]
    both = type("Trainer", (), {"callbacks": callbacks})()
    for c in callbacks:
        c.setup(both, None, "fit")
    assert sorted(c.aside for c in callbacks) == [False, True]


@pytest.mark.parametrize("error", [ImportError("broken"), ValueError("config"), OSError("disk")])
@pytest.mark.parametrize("strict", [False, True])
def test_a_broken_install_gives_a_warning_and_a_trainer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, strict: bool
) -> None:
    def broken(name: str) -> Any:
        raise error

    monkeypatch.setenv(attach.VARIABLE, "1")
    monkeypatch.setattr(attach.importlib, "import_module", broken)
    if strict:  # warnings are errors here
        assert attach.callbacks() == []
        return
    with pytest.warns(UserWarning, match="LIGHTNING_DIAG is set, but Diagnostics cannot be attached"):
        assert attach.callbacks() == []


def test_a_wrong_configuration_gives_a_warning_and_no_diagnostics(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.lightning-diag]\nselekt = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(attach.VARIABLE, "1")
    with pytest.warns(UserWarning, match="did you mean 'select'"):
        assert attach.callbacks() == []


def test_without_the_variable_the_stub_imports_nothing() -> None:
    code = """
import sys
from lightning_diag.attach import callbacks
assert callbacks() == []
ours = {m for m in sys.modules if m.startswith("lightning_diag")}
assert ours == {"lightning_diag", "lightning_diag.attach"}, ours
assert not {"torch", "lightning", "numpy"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_training_is_watched_without_touching_its_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(attach.VARIABLE, "1")
    monkeypatch.chdir(tmp_path)
    fit(tmp_path)
    (path,) = tmp_path.rglob("history.jsonl")
    assert History.load(path).run["status"] == "finished"
    own = Diagnostics(verbose=False)
    fit(tmp_path, own)
    assert len(list(tmp_path.rglob("history.jsonl"))) == 2  # one more, not two
    assert own.report.run["status"] == "finished"
