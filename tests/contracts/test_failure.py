"""Whatever fails, hooks are gone, files are closed, the report is kept, one warning is given, the training goes on."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from lightning_diag import Diagnostics, UnhealthyTraining, rules
from lightning_diag.callbacks.fit import Fit
from lightning_diag.callbacks.observer import Observer
from lightning_diag.findings import Report
from lightning_diag.probes import activations
from lightning_diag.probes.activations import ActivationProbe
from lightning_diag.probes.functions import FunctionProbe
from lightning_diag.probes.parameters import ParameterProbe
from lightning_diag.probes.readings import Readings
from lightning_diag.probes.step import SampledStep
from lightning_diag.records import History
from tests.contracts.setups import Small, crashes, leftovers, open_files, run, watch

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def bomb(method: Any, at: int = 3) -> Any:
    """Return the method, raising at its ``at``-th call and ever after."""
    calls = 0

    def raising(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= at:
            raise ZeroDivisionError("our own fault")
        return method(*args, **kwargs)

    return raising


class Users(Small):
    """Raises where it is told to."""

    def __init__(self, place: str, error: BaseException) -> None:
        super().__init__()
        self.place, self.error = place, error

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        out = super().training_step(batch, batch_idx)
        if self.place == "training_step" and self.global_step == 5:
            raise self.error
        return out

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx)
        if self.place == "validation_step" and self.global_step == 8:
            raise self.error

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.place == "optimizer_step" and self.global_step == 5:
            raise self.error


@pytest.mark.parametrize("error", [ValueError("bang"), KeyboardInterrupt()], ids=["exception", "ctrl-c"])
@pytest.mark.parametrize("place", ["training_step", "validation_step", "optimizer_step"])
def test_the_users_failure(place: str, error: BaseException, tmp_path: Path) -> None:
    done = run(tmp_path, Diagnostics(every_n_steps=1, verbose=False), model=lambda: Users(place, error), catch=True)
    assert isinstance(done.error, ValueError if isinstance(error, ValueError) else (KeyboardInterrupt, SystemExit))
    status = "failed: ValueError: bang" if isinstance(error, ValueError) else "interrupted"
    assert done.history.run["status"] == status
    assert done.told == [] and crashes(done) == {}
    assert leftovers(done.module) == [] and open_files(tmp_path) == []
    assert done.report.count("clean") > 0
    stored = Report.load(next(tmp_path.rglob("health.json")))
    assert stored.run["status"] == status
    assert len(History.load(next(tmp_path.rglob("history.jsonl")))) == len(done.history) > 4


OURS = {
    "activation hook": (ActivationProbe, "_take"),
    "activation gradient": (activations, "sample"),
    "parameters before": (ParameterProbe, "_take"),
    "parameters after": (ParameterProbe, "after_step"),
    "function mode": (FunctionProbe, "_look"),
    "opening": (SampledStep, "open"),
    "before the backward pass": (SampledStep, "before_backward"),
    "transfer": (Readings, "fetch"),
    "sample": (Observer, "_add_sample"),
    "batch start": (Observer, "start_step"),
    "batch end": (Observer, "end_batch"),
    "epoch end": (Observer, "take_logged"),
    "history": (History, "add_sample"),
    "judging": (rules, "check"),
    "end of fit": (Observer, "close"),
    "start": (Fit, "__init__"),
}


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a training without Diagnostics ends in."""
    return run(tmp_path_factory.mktemp("unseen")).state()


@pytest.mark.parametrize("name", OURS)
def test_our_failure(name: str, unseen: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, method = OURS[name]
    diagnostics = watch()
    at = {"end of fit": 1, "start": 1, "judging": 2}.get(name, 3)  # how often a fit is judged depends on the machine
    monkeypatch.setattr(owner, method, bomb(getattr(owner, method), at=at))
    done = run(tmp_path, diagnostics)
    monkeypatch.undo()
    assert done.state() == unseen
    assert len(done.told) == 1, done.told
    assert "ZeroDivisionError" in done.told[0] and "training goes on" in done.told[0]
    assert leftovers(done.module) == [] and open_files(tmp_path) == []
    assert "our own fault" in crashes(done)["diagnostics"] and "raising" in crashes(done)["diagnostics"]
    assert done.report.exit_code() == 2 and not done.report.ok
    if name != "start":
        stored = Report.load(next(tmp_path.rglob("health.json")))
        assert stored.outcomes["diagnostics"] == "crashed"
        assert len(History.load(next(tmp_path.rglob("history.jsonl")))) == len(done.history)


def test_our_failure_where_warnings_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Readings, "fetch", bomb(Readings.fetch))

    def act(trainer: Any, module: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*lightning_diag.*")
            trainer.fit(module)

    done = run(tmp_path, watch(), act=act)
    assert list(crashes(done)) == ["diagnostics"] and done.module.trainer.global_step == 16


def test_a_rule_that_fails(unseen: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules.RULES[0], "check", bomb(None, at=1))
    done = run(tmp_path, watch())
    assert done.state() == unseen
    assert list(crashes(done)) == [rules.RULES[0].name]
    assert done.told == [] and done.report.exit_code() == 2
    assert done.report.count("clean") > 3


class Dying(L.Callback):
    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 13:
            os.kill(os.getpid(), signal.SIGKILL)


def test_killed_between_two_samples(tmp_path: Path) -> None:
    options = {"callbacks": [Dying()]}
    child = multiprocessing.get_context("spawn").Process(target=run, args=(tmp_path, watch()), kwargs=options)
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    history = History.load(next(tmp_path.rglob("history.jsonl")))
    report = Report.load(next(tmp_path.rglob("health.json")))
    assert history.steps.tolist() == [*range(13)]
    assert history.run["status"] == report.run["status"] == "running"
    assert report.count("clean") > 0


def test_fail_on_raises_after_all_is_closed(tmp_path: Path) -> None:
    done = run(tmp_path, watch(fail_on="warning"), model=lambda: Small(lr=1e4), catch=True)
    assert isinstance(done.error, UnhealthyTraining)
    assert leftovers(done.module) == [] and open_files(tmp_path) == []
    assert done.history.run["status"] == "finished"
    assert done.error.report.findings and json.loads(next(tmp_path.rglob("health.json")).read_text())["verdict"]
