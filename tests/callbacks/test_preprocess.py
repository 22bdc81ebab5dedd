"""Preprocess under the Trainer: fitted once, applied alike everywhere, saved, restored, shared with averaged copies."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.tuner import Tuner
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Initialize, Preprocess
from lightning_diag.preprocessing import Preprocessing, bundle, hooks_of
from tests.preprocessing.fits import Net, data, loader, trainer

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::Warning:(lightning|torch|typing_extensions)(\..*)?"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore:(?!Initialize):lightning.fabric.utilities.warnings.PossibleUserWarning"),
]
RAW, TARGETS = data().tensors


def fitted(path: Path, *callbacks: Any, net: Net | None = None, shuffle: bool = False, **kwargs: Any) -> Any:
    L.seed_everything(1, verbose=False)
    net = net or Net()
    run = trainer(path, *callbacks, **kwargs)
    run.fit(net, loader(shuffle), loader())
    return net, run


def both(**kwargs: Any) -> Preprocess:
    return Preprocess("channel", target="standardize", **kwargs)


def test_inputs_are_standardized_in_every_stage_and_in_a_plain_call(tmp_path: Path) -> None:
    net, run = fitted(tmp_path, Preprocess("channel"))
    wanted = Preprocessing("channel").observe(RAW)(RAW)
    for stage in (run.validate, run.test, run.predict):
        net.seen.clear()
        stage(net, loader(), **({} if stage == run.predict else {"verbose": False}))
        torch.testing.assert_close(torch.cat(net.seen), wanted, rtol=1e-4, atol=1e-4)
    net.seen.clear()
    net(RAW)
    torch.testing.assert_close(torch.cat(net.seen), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("workers", [0, 1])
def test_training_sees_the_same_batches_as_without(tmp_path: Path, workers: int) -> None:
    seen = []
    for callbacks in ([], [Preprocess("channel")]):
        L.seed_everything(3, verbose=False)
        net = Net()
        how: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
        trainer(tmp_path, *callbacks, num_sanity_val_steps=0, limit_val_batches=0, max_epochs=2).fit(
            net, loader(True, **how)
        )
        seen.append((net, torch.cat(net.seen), torch.get_rng_state()))
    raw, mapped = seen[0][1], seen[1][1]
    torch.testing.assert_close(seen[1][0].input_preprocessing(raw), mapped)
    assert torch.equal(seen[0][2], seen[1][2]), "the random state of training is untouched"


def test_targets_are_mapped_in_training_and_predictions_come_back(tmp_path: Path) -> None:
    net, run = fitted(tmp_path, both(), max_epochs=30)
    assert net.losses[0] < 10, "in units of the data the first loss is a million"
    logged = run.validate(net, loader(), verbose=False)[0]["val_loss"]
    assert logged < 0.1
    predicted = torch.cat(run.predict(net, loader()))
    assert float((predicted - TARGETS).square().mean() / TARGETS.var()) == pytest.approx(logged, rel=0.05)
    torch.testing.assert_close(net(RAW), predicted)
    torch.testing.assert_close(bundle(net)(RAW), predicted)
    assert "on_after_batch_transfer" not in vars(net)


class Hooked(Net):
    """Has a hook of its own where targets are mapped."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return {"x": batch[0], "y": batch[1] + 1000.0}

    def training_step(self, batch: Any, _: int) -> Tensor:
        return super().training_step((batch["x"], batch["y"]), _)

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("mean", batch["y"].mean())


class Data(L.LightningDataModule):
    def train_dataloader(self) -> Any:
        return loader()

    val_dataloader = train_dataloader


class DataWithHook(Data):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0], batch[1] + 1000.0]


def test_hooks_of_the_module_and_of_the_data_go_first(tmp_path: Path) -> None:
    spread = float(TARGETS.std(correction=0))
    net, run = fitted(tmp_path, Preprocess(None, target="standardize", target_key=1), net=Net())
    hooked = Hooked()
    run = trainer(tmp_path, Preprocess(None, target="standardize", target_key="y"))
    hooked.target_preprocessing = copy.deepcopy(net.target_preprocessing)
    assert run.validate(hooked, loader(), verbose=False)[0]["mean"] == pytest.approx(1000 / spread, rel=1e-3)
    for data_module in (Data(), DataWithHook()):
        run = trainer(tmp_path, both())
        run.fit(net := Net(), datamodule=data_module)
        assert net.losses[0] < 10
        assert "on_after_batch_transfer" not in vars(data_module)


def test_resuming_keeps_the_statistics(tmp_path: Path) -> None:
    net, run = fitted(tmp_path, both())
    run.save_checkpoint(tmp_path / "a.ckpt")
    other = TensorDataset(RAW * 3 + 1, TARGETS)
    resumed = Net()
    trainer(tmp_path, both(), max_epochs=2).fit(resumed, DataLoader(other, 16), ckpt_path=tmp_path / "a.ckpt")
    assert torch.equal(resumed.input_preprocessing.offset, net.input_preprocessing.offset)
    assert len(resumed.losses) == 6, "one epoch, not two"
    offset = net.input_preprocessing.offset.clone()
    trainer(tmp_path, both(), max_epochs=1).fit(net, DataLoader(other, 16))
    assert torch.equal(net.input_preprocessing.offset, offset), "nor does a second fit fit them anew"


def test_prediction_from_a_checkpoint(tmp_path: Path) -> None:
    net, run = fitted(tmp_path, both())
    run.save_checkpoint(tmp_path / "a.ckpt")
    wanted = net(RAW)
    predicted = trainer(tmp_path, both()).predict(Net(), loader(), ckpt_path=tmp_path / "a.ckpt")
    torch.testing.assert_close(torch.cat(predicted), wanted)
    for name in ("validate", "test"):
        measured, again = (
            getattr(trainer(tmp_path, both()), name)(net_, loader(), verbose=False, **how)[0]["val_loss"]
            for net_, how in ((net, {}), (Net(), {"ckpt_path": tmp_path / "a.ckpt"}))
        )
        assert measured == pytest.approx(again)
    torch.testing.assert_close(Preprocess.restore(Net(), tmp_path / "a.ckpt")(RAW), wanted)
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"input_preprocessing"):
        Net.load_from_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises((RuntimeError, ValueError), match=r"kind|size mismatch|key"):
        trainer(tmp_path, Preprocess("zca", target="standardize")).predict(
            Net(), loader(), ckpt_path=tmp_path / "a.ckpt"
        )
    trainer(tmp_path).fit(Net(), loader())
    with pytest.raises(ValueError, match="trained without it"):
        Preprocess.restore(Net(), {"callbacks": {}})


def test_an_unfitted_one_says_so(tmp_path: Path) -> None:
    for name in ("validate", "test", "predict"):
        with pytest.raises(RuntimeError, match="this preprocessing has no statistics yet"):
            getattr(trainer(tmp_path, Preprocess("channel")), name)(Net(), loader())


class Bypass(Net):
    """Its steps never call the module, but what is in it."""

    def training_step(self, batch: Any, _: int) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))


def test_inputs_that_go_past_it_are_an_error_that_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Bypass was not called in this batch; pass site= .*\(there are net\)"):
        fitted(tmp_path, Preprocess("channel"), net=Bypass())
    net, _ = fitted(tmp_path, Preprocess("channel", site="net"), net=Bypass())
    assert net.input_preprocessing.fitted


class NoForward(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))

    def training_step(self, batch: Any, _: int) -> Tensor:
        return nn.functional.mse_loss(self.layers(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters())


def test_a_module_without_forward_has_its_only_child_called(tmp_path: Path) -> None:
    net = NoForward()
    trainer(tmp_path, both()).fit(net, loader())
    apply, undo = hooks_of(net)
    assert apply is not None and apply.called and undo is not None and not undo.paused


@pytest.mark.parametrize("first", [True, False])
def test_averaged_weights_have_the_statistics(tmp_path: Path, first: bool) -> None:
    averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging", reason="needs lightning 2.6")

    def callbacks() -> list[Any]:
        pair = [both(), averaging.EMAWeightAveraging(decay=0.9)]
        return pair if first else pair[::-1]

    saver = ModelCheckpoint(tmp_path, save_last=True)
    net, _ = fitted(tmp_path, *callbacks(), saver, enable_checkpointing=True)
    saved = torch.load(saver.last_model_path, weights_only=True)["state_dict"]
    assert torch.equal(saved["input_preprocessing.offset"], net.input_preprocessing.offset)
    resumed = Net()
    trainer(tmp_path, *callbacks(), max_epochs=2).fit(resumed, loader(), ckpt_path=saver.last_model_path)
    assert len(resumed.losses) == 6


@pytest.fixture
def alone_again() -> Iterator[None]:
    """Leave no process group and no variable of one behind."""
    before = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("alone_again")
def test_a_strategy_that_calls_forward_with_batches(tmp_path: Path) -> None:
    net, _ = fitted(tmp_path, both(), strategy="ddp", devices=1)
    seen, wanted = torch.cat(net.seen[2:8]), net.input_preprocessing(RAW)  # in the order of a distributed sampler
    torch.testing.assert_close(seen[seen[:, 0].argsort()], wanted[wanted[:, 0].argsort()])
    assert "on_after_batch_transfer" not in vars(net)


def test_fast_dev_run_and_limits_take_as_much_data_as_training(tmp_path: Path) -> None:
    for limits, rows in (({"fast_dev_run": True}, 16), ({"limit_train_batches": 2}, 32), ({"max_steps": 1}, 96)):
        net, _ = fitted(tmp_path, Preprocess("channel"), **limits)
        torch.testing.assert_close(net.input_preprocessing.offset, RAW[:rows].mean(0), rtol=1e-4, atol=1e-4)
    net, _ = fitted(tmp_path, Preprocess("channel", max_batches=1))
    torch.testing.assert_close(net.input_preprocessing.offset, RAW[:16].mean(0), rtol=1e-4, atol=1e-4)


class Tuned(Net):
    def __init__(self) -> None:
        super().__init__()
        self.lr = 1e-3

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.lr)


def test_a_learning_rate_finder_finds_it_fitted(tmp_path: Path) -> None:
    net, run = Tuned(), trainer(tmp_path, both(), Initialize("lsuv"))
    found = Tuner(run).lr_find(net, loader(), num_training=20, update_attr=False)
    assert found is not None and len(found.results["loss"]) >= 5
    run.fit(net, loader())
    assert net.input_preprocessing.fitted and net.losses[-1] < 10


class Failing(Net):
    def training_step(self, batch: Any, _: int) -> Tensor:
        raise KeyError("broken")


def test_after_an_exception_the_module_is_as_it_was(tmp_path: Path) -> None:
    net = Failing()
    with pytest.raises(KeyError):
        fitted(tmp_path, both(), net=net)
    assert "on_after_batch_transfer" not in vars(net)
    _, undo = hooks_of(net)
    assert undo is not None and not undo.paused
    pickle.loads(pickle.dumps(net))


def test_several_loaders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are several training loaders"):
        trainer(tmp_path, Preprocess("channel")).fit(Net(), {"a": loader(), "b": loader()})


def test_another_kind_in_the_same_module_is_refused(tmp_path: Path) -> None:
    net, _ = fitted(tmp_path, Preprocess("channel"))
    with pytest.raises(ValueError, match="already has input_preprocessing of kind 'channel', this callback has 'zca'"):
        trainer(tmp_path, Preprocess("zca")).fit(net, loader())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"kind": "chanel"}, "did you mean 'channel'"), ({"kind": None}, "nothing to do"),
     ({"target": "zscore"}, "target preprocessing 'zscore' is none of standardize, minmax"),
     ({"max_batches": 0}, "max_batches must be 1 or more, got 0"), ({"eps": -1}, "eps must be"),
     ({"missing": "skip"}, "missing 'skip' is none of")],
)  # fmt: skip
def test_bad_arguments_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocess(**arguments)


def test_class_labels_are_not_standardized(tmp_path: Path) -> None:
    labels = TensorDataset(RAW, torch.zeros(96, dtype=torch.long))
    with pytest.raises(TypeError, match="classes or counts, only floats are standardized"):
        trainer(tmp_path, both()).fit(Net(), DataLoader(labels, 16))


@pytest.mark.full
def test_two_ranks_find_the_statistics_of_all_the_data(tmp_path: Path) -> None:
    run = trainer(tmp_path, both(), ModelCheckpoint(tmp_path, save_last=True), strategy="ddp_spawn", devices=2,
                  enable_checkpointing=True)  # fmt: skip
    run.fit(Net(), loader())
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(state["input_preprocessing.offset"], RAW.mean(0), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(state["target_preprocessing.offset"], TARGETS.mean(0), rtol=1e-5, atol=1e-2)
