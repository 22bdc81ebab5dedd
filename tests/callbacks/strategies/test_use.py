"""All strategies alike: with Diagnostics, from a configuration, in the other Trainer, pickled, in other stages."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch import Callback, callbacks as lightning_callbacks
from torch.utils.data import DataLoader

import lightning_diag
from lightning_diag import Diagnostics
from lightning_diag.callbacks import strategies
from tests.callbacks.fits import QUIET, data, quietly
from tests.callbacks.strategies.runs import Plain, Shuffled, run

NEW = hasattr(lightning_callbacks, "WeightAveraging")
old = pytest.mark.skipif(not NEW, reason="this lightning has no WeightAveraging (new in 2.6)")
ALL: list[Any] = [
    pytest.param(lambda: strategies.PolyakAveraging(), id="PolyakAveraging", marks=old),
    pytest.param(lambda: strategies.EMA(0.9), id="EMA", marks=old),
    pytest.param(lambda: strategies.StopEarly(patience=2), id="StopEarly"),
    pytest.param(lambda: strategies.Curriculum(), id="Curriculum"),
    pytest.param(lambda: strategies.InputNoise(), id="InputNoise"),
    pytest.param(lambda: strategies.MixUp(), id="MixUp"),
]
Make = Callable[[], Callback]


@pytest.fixture(autouse=True)
def vision(request: pytest.FixtureRequest) -> None:
    if "MixUp" in request.node.name:
        pytest.importorskip("torchvision", reason="the vision extra is not installed")


def test_every_strategy_is_here_and_public() -> None:
    names = {p.id for p in ALL}
    assert set(strategies.__all__) == names
    assert all(getattr(lightning_diag, n) is getattr(strategies, n) for n in names)


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("first", [True, False])
def test_diagnostics_watches_beside_it_and_changes_nothing(tmp_path: Path, make: Make, first: bool) -> None:
    alone, _ = run(tmp_path, make(), max_epochs=3)
    doctor = Diagnostics(verbose=False)
    watched, _ = run(tmp_path, *([doctor, make()] if first else [make(), doctor]), max_epochs=3)
    pairs = zip(alone.state_dict().values(), watched.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert doctor.report.count("crashed") == 0
    assert doctor.history.run["steps"] == 30
    assert len(doctor.history.table("activation/rms").steps) > 5
    assert [f for f in doctor.report.findings if f.severity.name == "ERROR"] == []


@pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # torch 2.4 of its own pickles
@pytest.mark.parametrize("make", ALL)
def test_it_is_copied_and_pickled_before_and_after(tmp_path: Path, make: Make) -> None:
    callback = pickle.loads(pickle.dumps(make()))
    module, fitter = run(tmp_path, callback)
    again = pickle.loads(pickle.dumps(callback))
    assert type(again) is type(callback)
    run(tmp_path, again, module=module)
    torch.save(fitter.callback_metrics, tmp_path / "x.pt")


@pytest.mark.parametrize("make", ALL)
def test_checkpoints_load_with_weights_only_and_resume(tmp_path: Path, make: Make) -> None:
    _, fitter = run(tmp_path, make(), max_epochs=2)
    fitter.save_checkpoint(tmp_path / "x.ckpt")
    torch.load(tmp_path / "x.ckpt", weights_only=True)
    module, again = run(tmp_path, make(), max_epochs=4, ckpt_path=str(tmp_path / "x.ckpt"))
    assert again.current_epoch == 4
    assert "training_step" not in vars(module)


@pytest.mark.parametrize("make", ALL)
def test_other_stages_and_fast_dev_run(tmp_path: Path, make: Make) -> None:
    callback = make()
    run(tmp_path, callback, fast_dev_run=True)
    module, fitter = run(tmp_path, callback, max_epochs=1)
    with quietly():
        fitter.validate(module, DataLoader(data(48), 48), verbose=False)
        fitter.predict(Predicts(), DataLoader(data(48), 48))


class Predicts(Plain):
    """Also predicts."""

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch[0])


class Other(pl.LightningModule):
    """A module of the other package."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Plain().net

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def takes_callbacks_of_lightning() -> bool:
    """Whether a Trainer of pytorch_lightning does: older ones look for their own base class."""
    try:
        pl.Trainer(**QUIET, callbacks=[Callback()])
    except (TypeError, ValueError):
        return False
    return True


@pytest.mark.parametrize("make", ALL)
def test_the_trainer_of_the_other_package(tmp_path: Path, make: Make) -> None:
    if not takes_callbacks_of_lightning():
        pytest.skip("this pytorch_lightning takes no callback of lightning")
    module, loaders = Other(), Shuffled()
    with quietly(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric|lightning_utilities")
        warnings.filterwarnings("ignore", "isinstance.treespec, LeafSpec", FutureWarning)
        fitter = pl.Trainer(**QUIET, max_epochs=2, default_root_dir=str(tmp_path), callbacks=[make()])
        fitter.fit(module, loaders.train_dataloader(), loaders.val_dataloader())
    assert float(fitter.callback_metrics["val_loss"]) < 1.3


def made(name: str, **options: Any) -> Any:
    """The callback that a configuration describes, as LightningCLI makes it."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--callback", type=Callback)
    described = {"class_path": f"lightning_diag.{name}", **({"init_args": options} if options else {})}
    given = parser.parse_object({"callback": described})
    assert "class_path" in parser.dump(given)
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # its name before 4.49
    return instantiate(given).callback


@pytest.mark.parametrize("name", [p.id for p in ALL if NEW or p.id not in ("EMA", "PolyakAveraging")])
def test_a_command_line_makes_it_from_a_configuration(name: str) -> None:
    assert type(made(name)) is getattr(strategies, name)


def test_values_of_a_configuration_are_taken_over() -> None:
    assert made("Curriculum", difficulty=[1.0, 2.0], by="weight").difficulty.tolist() == [1.0, 2.0]
    assert made("InputNoise", inputs="image", decay="cosine").inputs == "image"
    assert made("StopEarly", mode="max").mode == "max"
    with pytest.raises(ArgumentError, match="orders"):
        made("Curriculum", by="orders")


def test_all_at_once(tmp_path: Path) -> None:
    callbacks = [p.values[0]() for p in ALL if NEW or not p.marks]  # type: ignore[operator]
    callbacks = [c for c in callbacks if type(c).__name__ != "PolyakAveraging"]
    doctor = Diagnostics(verbose=False)
    _, fitter = run(tmp_path, *callbacks, doctor, max_epochs=4)
    assert float(fitter.callback_metrics["val_loss"]) < 1.3
    assert doctor.report.count("crashed") == 0
