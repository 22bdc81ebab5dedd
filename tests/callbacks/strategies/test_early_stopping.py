"""When it stops, what it watches, what it returns to, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import callbacks as lightning_callbacks
from torch import Tensor

from lightning_diag.callbacks.strategies import EMA, StopEarly
from lightning_diag.callbacks.strategies.early_stopping import chosen, direction
from tests.callbacks.fits import quietly, trainer
from tests.callbacks.strategies.runs import Normed, Plain, Shuffled, Watcher, run, same, weights


class Scripted(Plain):
    """Logs given numbers in validation, one a validation."""

    def __init__(self, *values: float, name: str = "val_loss") -> None:
        super().__init__()
        self.values, self.name, self.validations = values, name, 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.log(self.name, self.values[self.validations])
            self.validations += 1


@pytest.mark.parametrize(
    ("values", "patience", "least", "validations", "best"),
    [
        ((3, 2, 1, 2, 3, 4, 5), 2, 0.0, 5, 2),
        ((3, 2, 1, 2, 3, 4, 5), 1, 0.0, 4, 2),
        ((3, 2.99, 2.98, 2.97, 2.0), 2, 0.5, 3, 2),  # too small to wait for, not too small to keep
    ],
)
@pytest.mark.parametrize("options", [{}, {"check_val_every_n_epoch": 2}, {"val_check_interval": 0.5}])
def test_patience_counts_validations_and_the_best_weights_come_back(
    tmp_path: Path, values: Any, patience: int, least: float, validations: int, best: int, options: dict[str, Any]
) -> None:
    stop, watcher = StopEarly(patience=patience, min_delta=least), Watcher()
    module, _ = run(tmp_path, stop, watcher, module=Scripted(*values), max_epochs=20, limit_train_batches=2, **options)
    assert module.validations == len(watcher.validated) == validations
    assert stop.best_value == pytest.approx(values[best])
    assert same(weights(module), watcher.validated[best])
    assert Path(stop.best_path).parent == tmp_path / "checkpoints"
    assert torch.load(stop.best_path, weights_only=True)["state_dict"].keys() == module.state_dict().keys()


def test_a_run_that_was_not_stopped_returns_to_the_best_too(tmp_path: Path) -> None:
    watcher = Watcher()
    module, _ = run(tmp_path, StopEarly(), watcher, module=Scripted(1, 2, 3), max_epochs=3)
    assert module.validations == 3
    assert same(weights(module), watcher.validated[0])
    assert not same(weights(module), watcher.validated[2], 1e-4)


def test_without_restore_the_last_weights_stay(tmp_path: Path) -> None:
    watcher = Watcher()
    module, _ = run(tmp_path, StopEarly(patience=1, restore=False), watcher, module=Scripted(1, 2, 3))
    assert same(weights(module), watcher.validated[-1])


def test_more_of_an_accuracy_is_better(tmp_path: Path) -> None:
    stop = StopEarly(patience=2)
    module, _ = run(tmp_path, stop, module=Scripted(0.1, 0.5, 0.4, 0.3, 0.2, name="val_acc"), max_epochs=5)
    assert (stop.monitor, stop.mode, stop.best_value, module.validations) == ("val_acc", "max", 0.5, 4)


def test_torchmetrics_say_which_way_is_better(tmp_path: Path) -> None:
    stop = StopEarly("val_accuracy", patience=1)
    run(tmp_path, stop, max_epochs=1)
    assert (stop.monitor, stop.mode) == ("val_accuracy", "max")


def test_the_loss_is_preferred_and_the_sanity_check_does_not_count(tmp_path: Path) -> None:
    stop = StopEarly()
    run(tmp_path, stop, num_sanity_val_steps=1)
    assert (stop.monitor, stop.mode, stop.stopped_epoch) == ("val_loss", "min", 0)


@pytest.mark.skipif(not hasattr(lightning_callbacks, "WeightAveraging"), reason="needs lightning 2.6")
@pytest.mark.parametrize("first", [True, False])
def test_with_averages_it_returns_to_the_ones_that_were_validated(tmp_path: Path, first: bool) -> None:
    stop, averaging, watcher = StopEarly(patience=3), EMA(0.9), Watcher()
    module = Normed()
    scripted = Scripted(2, 1, 3, 4)
    module.validation_step = scripted.validation_step.__func__.__get__(module)  # type: ignore[method-assign]
    module.values, module.name, module.validations = scripted.values, scripted.name, 0
    run(tmp_path, *([stop, averaging] if first else [averaging, stop]), watcher, module=module, max_epochs=4)
    assert same(weights(module), watcher.validated[1])
    assert not same(watcher.validated[1], watcher.validated[3], 1e-4)
    running = torch.load(stop.best_path, weights_only=True)["state_dict"]["net.1.running_mean"]
    assert torch.equal(module.net[1].running_mean, running)


def test_a_resumed_run_remembers_how_long_it_waited_and_the_best(tmp_path: Path) -> None:
    class Saves(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                trainer.save_checkpoint(tmp_path / "r.ckpt")

    first = StopEarly(patience=3)
    run(tmp_path, first, Saves(), module=Scripted(1, 2, 3), max_epochs=3)
    torch.load(tmp_path / "r.ckpt", weights_only=True)
    again, module = StopEarly(patience=3), Scripted(4, 5, 6, 7)
    run(tmp_path, again, module=module, max_epochs=7, ckpt_path=str(tmp_path / "r.ckpt"))
    assert module.validations == 1
    assert (again.best_path, again.best_value) == (first.best_path, 1)
    best = torch.load(first.best_path, weights_only=True)["state_dict"]
    assert all(torch.equal(v, best[k]) for k, v in module.state_dict().items())


def test_a_second_fit_starts_anew_and_overwrites_nothing(tmp_path: Path) -> None:
    stop = StopEarly(patience=1)
    run(tmp_path, stop, module=Scripted(1, 2, 3), max_epochs=3)
    before = Path(stop.best_path)
    module, _ = run(tmp_path, stop, module=Scripted(8, 7, 9, 9), max_epochs=4)
    assert (stop.best_value, module.validations) == (7, 3)
    assert Path(stop.best_path) != before
    assert before.is_file()


def test_a_metric_that_is_never_finite_is_said(tmp_path: Path) -> None:
    watcher, stop = Watcher(), StopEarly(patience=1)
    with pytest.warns(UserWarning, match="no finite val_loss: the module keeps its last weights"):
        module, _ = run(tmp_path, stop, watcher, module=Scripted(float("nan"), 1, 1), max_epochs=3)
    assert module.validations == 1
    assert same(weights(module), watcher.weights[-1])


def test_nothing_is_written_by_fast_dev_run(tmp_path: Path) -> None:
    run(tmp_path, StopEarly(), fast_dev_run=True)
    assert list(tmp_path.iterdir()) == []


def test_no_validation_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="StopEarly needs validation"):
        run(tmp_path, StopEarly(), limit_val_batches=0)


def test_a_name_that_is_not_logged_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"'valloss', which is not logged; did you mean 'val_loss'\? \(logged: train_l"
    ):
        run(tmp_path, StopEarly("valloss"))


def test_a_direction_that_is_not_clear_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="whether less or more of 'val_thing' is better"):
        run(tmp_path, StopEarly(), module=Scripted(1, 2, name="val_thing"))
    stop = StopEarly(mode="max", patience=1)
    run(tmp_path, stop, module=Scripted(1, 2, 3, name="val_thing"))
    assert stop.best_value == 2


@pytest.mark.parametrize(
    ("logged", "before", "metric"),
    [
        (["train_loss", "val_loss", "val_acc"], (), "val_loss"),
        (["train/loss", "val/loss_ce", "val/loss_kl", "val/loss"], (), "val/loss"),
        (["loss", "valid_err"], (), "valid_err"),
        (["train_loss", "metric"], ["train_loss"], "metric"),
        (["loss_epoch", "validation.loss"], (), "validation.loss"),
        (["interval_loss", "eval_acc"], (), "eval_acc"),
        (["val_loss/dataloader_idx_0"], (), "val_loss/dataloader_idx_0"),
    ],
)
def test_what_is_chosen(logged: list[str], before: list[str], metric: str) -> None:
    assert chosen(logged, before) == metric


@pytest.mark.parametrize(
    ("logged", "match"),
    [
        ([], r"no metric of validation \(logged: nothing\)"),
        (["val_f1", "val_acc"], "could watch 'val_f1' or 'val_acc': say monitor"),
        (["val_loss_a", "val_loss_b", "val_acc"], "could watch 'val_loss_a' or 'val_loss_b'"),
    ],
)
def test_what_cannot_be_chosen(logged: list[str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        chosen(logged)


def test_nothing_of_validation_logged(tmp_path: Path) -> None:
    class Silent(Plain):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            return None

    with pytest.raises(ValueError, match=r'log one in validation_step: self.log\("val_loss", loss\)'):
        run(tmp_path, StopEarly(), module=Silent)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("val_loss", "min"), ("rmse", "min"), ("val/perplexity", "min"), ("val_acc", "max"), ("auroc", "max")],
)
def test_direction_by_name(name: str, mode: str) -> None:
    assert direction(name) == mode


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"patience": 0}, ValueError, "patience must be 1 or more"),
        ({"mode": "mim"}, ValueError, r"mode must be one of 'min', 'max', got 'mim' \(did you mean 'min'\?\)"),
        ({"min_delta": -1}, ValueError, "min_delta must be a finite number of 0 or more"),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        StopEarly(**options)


class Unused(Plain):
    """Has a parameter that a later layer needs in the checkpoint only."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["extra"] = 7

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.extra = checkpoint["extra"]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))


def test_the_module_sees_its_own_hooks(tmp_path: Path) -> None:
    module, _ = run(tmp_path, StopEarly(), module=Unused)
    assert module.extra == 7


def test_loaders_given_to_fit(tmp_path: Path) -> None:
    loaders, module = Shuffled(), Plain()
    with quietly():
        trainer(tmp_path, [stop := StopEarly()]).fit(module, loaders.train_dataloader(), loaders.val_dataloader())
    assert isinstance(stop.best_score, Tensor)
    assert stop.best_value == float(stop.best_score)
