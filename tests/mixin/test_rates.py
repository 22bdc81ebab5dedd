"""The rate at every step is the one that the recipe states, whatever the Trainer does."""

import re
from dataclasses import replace
from typing import Any

import lightning as L
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from torch.utils.data import DataLoader, IterableDataset

from lightning_diag import Recipe, RecipeMixin
from lightning_diag.optim import Plateau
from lightning_diag.schedules import Length, scheduled
from tests.mixin.nets import BARE, FAMILIAR, Digits, Seen, fit, loader, rows, takes_callbacks_of_lightning, trainer

pytestmark = FAMILIAR


def stated(recipe: Recipe, steps: int, epochs: int) -> list[float]:
    schedule = scheduled(recipe, Length(steps, epochs, steps // epochs))
    assert schedule is not None
    return [float(recipe.lr or 0) * schedule(t) for t in range(steps)]


@pytest.mark.parametrize("fields", [
    {"schedule": "cosine"},
    {"schedule": "cosine", "warmup": 4},
    {"schedule": "linear", "warmup": 0.25, "warmup_kind": "exponential"},
    {"schedule": "step", "schedule_options": {"every": 1, "factor": 0.5}},
    {"schedule": "milestones", "schedule_options": {"milestones": [1]}, "warmup": 3},
    {"schedule": "cosine", "interval": "epoch"},
    {"schedule": None, "warmup": 5},
    {"schedule": "constant"},
], ids=str)  # fmt: skip
def test_the_rate_at_every_step_is_the_stated_one(fields: dict[str, Any]) -> None:
    recipe = Recipe(lr=0.01, **BARE, **fields)
    _, seen, _ = fit(recipe, max_epochs=3)
    assert seen.rates == pytest.approx(stated(recipe, 18, 3), rel=1e-12)


def test_steps_are_optimizer_steps_under_accumulation_and_max_steps() -> None:
    recipe = Recipe(lr=0.01, schedule="linear", **BARE)
    _, seen, _ = fit(recipe, accumulate_grad_batches=2, max_epochs=2)
    assert seen.rates == pytest.approx(stated(recipe, 6, 2))
    _, seen, _ = fit(recipe, max_steps=8, max_epochs=-1)
    assert seen.rates == pytest.approx(stated(recipe, 8, 1))


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        x, y = rows()
        while True:
            yield x[0], y[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_epochs": -1}, r"'total_steps', which follows the number of steps of the run.* unknown: .*max_steps"),
        ({"max_epochs": 3}, r"an end with Trainer\(max_steps=\.\.\.\).*schedule_options={'total_steps': ...}"),
    ],
    ids=["no end", "no length"],
)  # fmt: skip
def test_a_run_without_end_says_which_argument_to_pass(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(**options).fit(Digits(recipe=Recipe(schedule="cosine", **BARE)), DataLoader(Endless(), 4))


def test_a_run_without_length_can_be_given_one() -> None:
    seen = Seen()
    recipe = Recipe(lr=0.01, schedule="linear", schedule_options={"total_steps": 4}, **BARE)
    trainer(seen, limit_train_batches=6, max_epochs=1).fit(Digits(recipe=recipe), DataLoader(Endless(), 4))
    assert seen.rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025, 0, 0])


def test_a_warmup_longer_than_the_run_is_told() -> None:
    with pytest.warns(UserWarning, match="the warmup of 500 steps outlasts the run of 12"):
        fit(Recipe(schedule="cosine", warmup=500, **BARE))


@pytest.mark.parametrize("family", [L, pytorch_lightning], ids=["lightning", "pytorch_lightning"])
def test_it_works_in_both_families(family: Any) -> None:
    if not takes_callbacks_of_lightning(family):
        pytest.skip("this version of pytorch_lightning takes no callback of lightning")

    class Net(RecipeMixin, family.LightningModule):  # type: ignore[misc, name-defined]
        recipe = Recipe(lr=0.1, optimizer="sgd", schedule="linear", l1=1e-4, gradient_clip_val=0.5, **BARE)

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(64, 10)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    seen, net = Seen(), Net()
    trainer(seen, family=family).fit(net, loader())
    assert seen.rates == pytest.approx(stated(net.recipe, 12, 2))
    trainer(family=family, fast_dev_run=True).fit(Net(), loader())


def test_groups_have_names_for_the_rate_monitor(tmp_path: Any) -> None:
    from lightning.pytorch.loggers import CSVLogger

    recipe = Recipe(optimizer="adamw", layer_decay=0.5, schedule="cosine", overrides={"net.3.*": {"lr": "x10"}}, **BARE)
    monitor = LearningRateMonitor()
    fit(recipe, monitor, logger=CSVLogger(str(tmp_path)), log_every_n_steps=1)
    assert {k.split("/")[-1] for k in monitor.lrs} >= {"layer0.weights", "layer0.no_decay"}
    assert len(monitor.lrs) == 4


class TestPlateau:
    recipe = Recipe(
        lr=0.01, schedule="plateau", schedule_options={"patience": 0, "factor": 0.5, "threshold": 0.99}, **BARE
    )

    def test_it_falls_when_the_validation_loss_does_not(self) -> None:
        _, seen, made = fit(self.recipe, max_epochs=4)
        assert [seen.rates[6 * e] for e in range(4)] == pytest.approx([0.01, 0.01, 0.005, 0.0025])
        assert made.callbacks[-1].monitor == "val_loss"

    def test_validation_every_n_epochs_is_counted_when_it_comes(self) -> None:
        _, seen, _ = fit(self.recipe, max_epochs=7, check_val_every_n_epoch=2)
        assert [seen.rates[6 * e] for e in range(7)] == pytest.approx([0.01] * 4 + [0.005, 0.005, 0.0025])

    def test_several_validations_in_an_epoch_are_counted_each(self) -> None:
        _, seen, _ = fit(self.recipe, max_epochs=1, val_check_interval=2)
        assert seen.rates == pytest.approx([0.01] * 4 + [0.005] * 2)

    @pytest.mark.parametrize("val", [False, True], ids=["no validation", "no loss of validation"])
    def test_without_a_validation_loss_it_says_what_it_watches(
        self, val: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[str] = []
        monkeypatch.setattr("lightning_diag.callbacks.recipes.plateau.rank_zero_info", told.append)
        monkeypatch.setattr(Digits, "validation_step", lambda self, batch, i: self.log("val_acc", torch.tensor(1.0)))
        _, seen, _ = fit(self.recipe, val=val, max_epochs=4)
        assert [seen.rates[6 * e] for e in range(4)] == pytest.approx([0.01, 0.01, 0.005, 0.0025])
        reason = r"no loss of validation is logged.*\(val_acc\)" if val else "there is no validation"
        assert re.search(rf"watches the mean training loss of the epoch: {reason}", told[0])

    def test_a_metric_of_training_is_taken_at_the_end_of_epochs(self) -> None:
        _, seen, _ = fit(replace(self.recipe, monitor="train_loss"), max_epochs=3)
        assert [seen.rates[6 * e] for e in range(3)] == pytest.approx([0.01, 0.01, 0.005])

    def test_an_accuracy_is_better_when_it_is_more(self) -> None:
        _, _, made = fit(replace(self.recipe, monitor="val_acc", optimizer="adam"), max_epochs=2)
        (config,) = made.lr_scheduler_configs
        assert isinstance(config.scheduler, Plateau)
        assert (config.scheduler.mode, config.interval, config.monitor) == ("max", "epoch", "val_acc")
        assert config.scheduler.best == pytest.approx(float(made.callback_metrics["val_acc"]), abs=0.5)

    def test_warmup_comes_before_it_and_is_not_counted(self) -> None:
        recipe = replace(self.recipe, warmup=9)
        _, seen, _ = fit(recipe, max_epochs=5)
        assert seen.rates[:10] == pytest.approx([0.01 * (t + 1) / 10 for t in range(9)] + [0.01])
        assert [seen.rates[6 * e] for e in range(2, 5)] == pytest.approx([0.01, 0.005, 0.0025])

    @pytest.mark.parametrize(("monitor", "message"), [
        ("val_los", "watches val_los, and that is not logged; did you mean 'val_loss'"),
    ])  # fmt: skip
    def test_a_metric_that_is_not_logged_is_named(self, monitor: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            fit(replace(self.recipe, monitor=monitor))

    def test_its_lowest_rate_is_a_share(self) -> None:
        options = {"patience": 0, "factor": 0.1, "threshold": 0.99, "final": 0.2}
        _, seen, _ = fit(replace(self.recipe, schedule_options=options), max_epochs=4)
        assert seen.rates[-1] == pytest.approx(0.002)
