"""The callbacks of surgery in a Trainer: before optimizers, before weights are restored, once."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import pytorch_lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics, InsertDropout, InsertNormalization, SwapActivations

from .fits import QUIET, quietly

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:You are using `torch.load`"),
]


class Steps:
    """What both kinds of LightningModule have."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))


class Net(Steps, L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = layers()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class WithoutForward(Steps, pytorch_lightning.LightningModule):
    def __init__(self, parts: int = 1) -> None:
        super().__init__()
        self.net = layers()
        if parts > 1:
            self.other = layers()


def loader(batch: int = 16) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 8, generator=generator)
    return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=batch)


def trainer(*callbacks: Any, kind: Any = L.Trainer, **options: Any) -> Any:
    return kind(**{**QUIET, "max_epochs": 1, "callbacks": list(callbacks), **options})


def norms(module: nn.Module) -> list[str]:
    return [name for name, m in module.named_modules() if isinstance(m, (nn.BatchNorm1d, nn.LayerNorm))]


def test_norms_are_there_before_the_optimizer_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    module, callback = Net(), InsertNormalization()
    with quietly():
        run = trainer(callback)
        run.fit(module, loader(), loader())
        run.validate(module, loader())
        run.test(module, loader())
        known = {id(p) for group in run.optimizers[0].param_groups for p in group["params"]}
        assert {id(p) for p in module.parameters()} == known
        trainer(callback, max_epochs=2).fit(module, loader())
    assert norms(module) == ["net.0.norm", "net.2.norm"]
    assert module.net[0].norm.running_mean.abs().sum() > 0
    text = capsys.readouterr().out
    assert text.count("batch normalization, pre-activation, in Net") == 1
    assert "no bias, BatchNorm1d, tanh" in text
    assert isinstance(pickle.loads(pickle.dumps(callback)), InsertNormalization)


def takes_callbacks_of_lightning() -> bool:
    """Whether a Trainer of pytorch_lightning does: older ones look for their own base class."""
    try:
        pytorch_lightning.Trainer(**QUIET, callbacks=[L.Callback()])
    except (TypeError, ValueError):
        return False
    return True


in_both = pytest.mark.skipif(not takes_callbacks_of_lightning(), reason="an older pytorch_lightning takes only its own")


@in_both
@pytest.mark.parametrize(
    "callback",
    [
        lambda: InsertNormalization("layer", "post", verbose=False),
        lambda: SwapActivations("relu", verbose=False),
        lambda: InsertDropout(0.2, verbose=False),
    ],
)
def test_a_module_without_forward_in_the_other_trainer(callback: Any) -> None:
    module = WithoutForward()
    with quietly():
        trainer(callback(), kind=pytorch_lightning.Trainer, fast_dev_run=True).fit(module, loader())
    assert not isinstance(module.net[1], nn.Tanh)
    with (
        quietly(),
        pytest.raises(ValueError, match=r"has no forward, and several parts: net, other; choose by target="),
    ):
        trainer(callback(), kind=pytorch_lightning.Trainer, fast_dev_run=True).fit(WithoutForward(2), loader())


@in_both
def test_a_target_can_be_named() -> None:
    module = WithoutForward(2)
    with quietly():
        trainer(
            InsertNormalization("layer", target="other", verbose=False),
            InsertNormalization("batch", target="net", verbose=False),
            kind=pytorch_lightning.Trainer,
        ).fit(module, loader())  # fmt: skip
        assert norms(module) == ["net.0.norm", "net.2.norm", "other.0.norm", "other.2.norm"]
        with pytest.raises(ValueError, match=r"target='body' is no module of Net; its children: net"):
            trainer(InsertDropout(0.1, target="body")).fit(Net(), loader())


def test_layers_that_are_built_later_are_told() -> None:
    class Late(Steps, L.LightningModule):
        def configure_model(self) -> None:
            self.net = layers()

    with quietly(), pytest.raises(ValueError, match=r"Late has no layers yet.*configure_model"):
        trainer(InsertNormalization()).fit(Late(), loader())


def test_a_checkpoint_from_before_is_refused_and_one_from_after_restored(tmp_path: Path) -> None:
    before, after = tmp_path / "before.ckpt", tmp_path / "after.ckpt"
    module = Net()
    with quietly():
        run = trainer()
        run.fit(module, loader())
        run.save_checkpoint(before)
        with pytest.raises(RuntimeError, match=r"net\.0\.norm \(this state is from before the insertion of norm\)"):
            trainer(InsertNormalization(verbose=False)).fit(Net(), loader(), ckpt_path=before)
        run = trainer(InsertNormalization(verbose=False))
        run.fit(module := Net(), loader())
        run.save_checkpoint(after)
        again = Net()
        trainer(InsertNormalization(verbose=False), max_epochs=2).fit(again, loader(), ckpt_path=after)
        assert again.net[0].norm.num_batches_tracked == 8
        restored = Net()
        trainer(InsertNormalization(verbose=False)).test(restored, loader(), ckpt_path=after)
    assert all(torch.equal(v, module.state_dict()[k]) for k, v in restored.state_dict().items())


def test_weights_for_another_activation_are_refused(tmp_path: Path) -> None:
    before, after, weights = (tmp_path / f"{name}.ckpt" for name in ("before", "after", "weights"))
    with quietly():
        run = trainer()
        run.fit(Net(), loader())
        run.save_checkpoint(before)
        with pytest.raises(ValueError, match=r"of a training without SwapActivations\('gelu'\)"):
            trainer(SwapActivations("gelu", verbose=False)).fit(Net(), loader(), ckpt_path=before)
        trainer(InsertDropout(0.1, verbose=False), max_epochs=2).fit(Net(), loader(), ckpt_path=before)
        run = trainer(SwapActivations("gelu", verbose=False))
        run.fit(Net(), loader())
        run.save_checkpoint(weights, weights_only=True)
        trainer(SwapActivations("gelu", verbose=False)).test(Net(), loader(), ckpt_path=weights)
        run.save_checkpoint(after)
        resumed = Net()
        trainer(SwapActivations("gelu", verbose=False), max_epochs=2).fit(resumed, loader(), ckpt_path=after)
    assert isinstance(resumed.net[1], nn.GELU)


def test_the_initializer_is_called_once_and_before_weights_are_restored(tmp_path: Path) -> None:
    called: list[str] = []

    def initialize(module: nn.Module, name: str) -> None:
        called.append(name)
        for p in module.parameters():
            nn.init.zeros_(p)

    callback = SwapActivations("relu", initialize=initialize, verbose=False)
    with quietly():
        module = Net()
        trainer(callback).fit(module, loader())
        trainer(callback).fit(module, loader())
    assert called == ["kaiming_normal"]


def test_compiled_models_are_refused() -> None:
    whole, part = torch.compile(Net(), backend="eager"), Net()
    part.net = torch.compile(part.net, backend="eager")
    with quietly():
        for module in (whole, part):
            with pytest.raises(ValueError, match=r"is under torch\.compile"):
                trainer(InsertNormalization(verbose=False)).fit(module, loader())


def test_small_batches_are_told_at_the_first_one() -> None:
    with pytest.warns(UserWarning, match="batches of 4 are small for batch normalization"):
        trainer(InsertNormalization(verbose=False)).fit(Net(), loader(4), loader(4))
    trainer(InsertNormalization("layer", verbose=False)).fit(Net(), loader(4), loader(4))


def test_diagnostics_see_activations_as_before(tmp_path: Path) -> None:
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    with quietly():
        trainer(InsertDropout(0.2, verbose=False), diagnostics, default_root_dir=tmp_path).fit(Net(), loader())
    seen = {layer.site: layer.activation for layer in diagnostics.history.layers}
    assert seen["net.1.activation"] == "tanh"


def test_a_forward_that_logs(tmp_path: Path) -> None:
    class Logging(Net):
        def forward(self, x: Tensor) -> Tensor:
            self.log("mean", x.mean())
            self.log_dict({"spread": x.std()})
            return self.net(x)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

    module = Logging()
    module.example_input_array = torch.randn(1, 8)
    with quietly():
        run = trainer(InsertNormalization(verbose=False))
        run.fit(module, loader())
    assert norms(module) == ["net.0.norm", "net.2.norm"]
    assert {"mean", "spread"} <= set(run.callback_metrics)
    assert "log" not in module.__dict__


def test_two_operations_in_one_run() -> None:
    module = Net()
    with quietly():
        trainer(
            SwapActivations("relu", verbose=False),
            InsertNormalization("layer", verbose=False),
            InsertDropout(0.1, verbose=False),
        ).fit(module, loader())  # fmt: skip
    assert norms(module) == ["net.0.norm", "net.2.norm"]
    assert isinstance(module.net[1].activation, nn.ReLU)
    assert isinstance(module.net[1].dropout, nn.Dropout)
