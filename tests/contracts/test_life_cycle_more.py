"""Fits in sequence, resumed, copied, stored; and what is no fit at all."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from lightning_diag import Diagnostics
from lightning_diag.records import History
from tests.contracts.setups import QUIET, Small, crashes, leftovers, run, watch

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


@pytest.mark.parametrize("what", ["validate", "test", "predict"])
def test_alone(what: str, tmp_path: Path) -> None:
    done = run(tmp_path, watch(), act=lambda t, m: getattr(t, what)(m))
    assert done.told == []
    assert done.report.verdict == "not judged"
    assert done.report.exit_code() == 2
    assert len(done.history) == 0
    assert leftovers(done.module) == []
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_validation_after_a_fit_keeps_its_report(tmp_path: Path) -> None:
    def act(trainer: Any, module: Any) -> None:
        trainer.fit(module)
        trainer.validate(module, verbose=False)

    done = run(tmp_path, watch(), act=act)
    assert done.report.ok and done.history.run["status"] == "finished"


def test_fit_twice_gives_two_histories(tmp_path: Path) -> None:
    def act(trainer: Any, module: Any) -> None:
        trainer.fit(module)
        trainer.fit_loop.max_epochs = 3
        trainer.fit(module)

    alone, seen = run(tmp_path, act=act), run(tmp_path, watch(), act=act)
    assert alone.state() == seen.state()
    assert seen.told == [] and crashes(seen) == {}
    assert seen.history.series("loss").steps.tolist() == [*range(16, 24)]
    assert seen.history.run["steps"] == 8
    assert "continues" not in seen.history.run
    first, second = sorted(tmp_path.rglob("history.jsonl"))
    assert History.load(first).series("loss").steps.tolist() == [*range(16)]
    assert History.load(second).run["run_id"] == seen.history.run["run_id"]


def test_one_list_of_callbacks_for_two_trainers(tmp_path: Path) -> None:
    callbacks: list[Any] = [diagnostics := watch()]
    for _ in range(2):
        done = run(
            tmp_path, act=lambda _, m: L.Trainer(**QUIET, default_root_dir=str(tmp_path), callbacks=callbacks).fit(m)
        )
        assert diagnostics.report.ok
        assert diagnostics.history.run["steps"] == 16
        assert leftovers(done.module) == []
    assert "continues" not in diagnostics.history.run


def test_resume_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "half.ckpt"

    def half(trainer: Any, module: Any) -> None:
        trainer.fit(module)
        trainer.save_checkpoint(path)

    first = run(tmp_path, watch(), act=half, max_epochs=1)
    whole = run(tmp_path, watch())
    second = run(tmp_path, watch(), act=lambda t, m: t.fit(m, ckpt_path=path))
    assert second.told == []
    assert second.history.run["continues"]["run_id"] == first.history.run["run_id"]
    assert second.history.run["continues"]["at_step"] == 8
    assert second.history.series("loss").steps.tolist() == [*range(16)]
    assert second.history.steps.tolist() == whole.history.steps.tolist()
    assert (second.history.run["steps"], second.history.run["samples"]) == (16, len(whole.history))
    before = second.history.series("loss").values[:8]
    np.testing.assert_array_equal(before, first.history.series("loss").values)
    again = History.load(second.history.run["history"])
    assert again.series("loss").steps.tolist() == [*range(16)]


def test_a_resumed_run_whose_history_is_gone_starts_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "half.ckpt"
    first = run(tmp_path, watch(), act=lambda t, m: (t.fit(m), t.save_checkpoint(path)), max_epochs=1)
    Path(first.history.run["history"]).unlink()
    second = run(tmp_path, watch(), act=lambda t, m: t.fit(m, ckpt_path=path))
    assert second.told == [] and crashes(second) == {}
    assert second.history.series("loss").steps.tolist() == [*range(8, 16)]
    assert second.history.run["steps"] == 8


def test_checkpoints_stay_plain_and_small(tmp_path: Path) -> None:
    paths = tmp_path / "without.ckpt", tmp_path / "with.ckpt"
    for path, diagnostics in zip(paths, (None, watch()), strict=True):
        run(tmp_path, diagnostics, act=lambda t, m, path=path: (t.fit(m), t.save_checkpoint(path)))
    torch.load(paths[1], weights_only=True)
    assert paths[1].stat().st_size - paths[0].stat().st_size < 1000


def test_the_loss_under_accumulation_is_the_mean(tmp_path: Path) -> None:
    done = run(tmp_path, watch(), accumulate_grad_batches=3, max_epochs=1)
    losses = done.module.losses
    expected = [np.mean(losses[:3]), np.mean(losses[3:6]), np.mean(losses[6:])]
    np.testing.assert_allclose(done.history.series("loss").values, expected, rtol=1e-5)


class Copying(L.Callback):
    """Copies and pickles callback and model at every hook of a batch."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        self.diagnostics = diagnostics
        self.copies: list[tuple[Diagnostics, nn.Module]] = []

    def copy(self, trainer: Any, module: Any, *args: Any) -> None:
        for c in (copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
            self.copies.append((c(self.diagnostics), c(module)))

    on_train_batch_start = on_before_backward = on_after_backward = on_train_batch_end = on_validation_end = copy
    on_before_optimizer_step = on_fit_end = copy


@pytest.mark.parametrize("order", [1, -1], ids=["before", "after"])
def test_callback_and_model_can_be_copied_at_any_time(order: int, tmp_path: Path) -> None:
    alone = run(tmp_path, max_epochs=1)
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    copying = Copying(diagnostics)
    callbacks = [diagnostics, copying][::order]
    seen = run(tmp_path, None, callbacks=callbacks, max_epochs=1)
    assert seen.state() == alone.state()
    assert diagnostics.report.ok and len(diagnostics.history) == 8
    last, module = copying.copies[-1]
    assert last.report.ok and len(last.history) == 8
    assert len(pickle.dumps(diagnostics)) < 500_000
    for _, module in copying.copies:
        module.net(torch.zeros(2, 8))
        assert leftovers(module) == []


class Teacher(Small):
    """Copies its network within the training step, as self-distillation does."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        teacher = copy.deepcopy(self.net).eval()
        with torch.no_grad():
            teacher(batch[0])
        return super().training_step(batch, batch_idx)


def test_a_model_that_copies_itself_within_the_step(tmp_path: Path) -> None:
    alone, seen = run(tmp_path, model=Teacher), run(tmp_path, watch(), model=Teacher)
    assert alone.state() == seen.state()
    assert seen.report.ok and seen.told == []


def test_two_diagnostics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two Diagnostics in one Trainer"):
        run(tmp_path, watch(), callbacks=[watch()])


@pytest.mark.parametrize("first", [True, False])
def test_an_automatic_one_stands_aside(first: bool, tmp_path: Path) -> None:
    own, automatic = watch(), watch()
    automatic.automatic = True
    done = run(tmp_path, callbacks=[automatic, own] if first else [own, automatic])
    assert done.told == []
    assert own.report.ok and len(automatic.history) == 0
    assert len(list(tmp_path.rglob("health.json"))) == 1


def test_the_other_name_of_lightning(tmp_path: Path) -> None:
    """A Trainer of ``pytorch_lightning`` takes a callback made of ``lightning``'s class."""
    other = pytest.importorskip("pytorch_lightning")

    members = {k: v for k, v in vars(Small).items() if k not in ("__init__", "__dict__", "__doc__", "__module__")}

    def init(self: Any) -> None:
        other.LightningModule.__init__(self)
        small = Small()
        self.net, self.losses, self.lr, self.batch_size = small.net, small.losses, small.lr, small.batch_size

    model = type("Model", (other.LightningModule,), {**members, "__init__": init})
    alone = run(tmp_path, model=model, trainer=other.Trainer)
    seen = run(tmp_path, watch(), model=model, trainer=other.Trainer)
    assert alone.state() == seen.state()
    assert seen.report.ok and seen.told == [] and leftovers(seen.module) == []
