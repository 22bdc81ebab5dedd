"""Initialize under the Trainer: once, from scratch, before the optimizers, and never over what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Initialize, Preprocess, mark_pretrained
from tests.preprocessing.fits import Net, data, loader, trainer

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::Warning:(lightning|torch|typing_extensions)(\..*)?"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore:(?!Initialize):lightning.fabric.utilities.warnings.PossibleUserWarning"),
]


def only_set_up(path: Path, net: L.LightningModule, callback: Any, **kwargs: Any) -> None:
    """Run everything before the first step, and no step."""
    trainer(path, callback, max_steps=0, max_epochs=-1, **kwargs).fit(net, loader())


class Watching(Net):
    def configure_optimizers(self) -> Any:
        self.at_optimizers = float(self.net[0].weight.detach().std())
        return super().configure_optimizers()


def test_it_is_done_before_the_optimizers_are_made(tmp_path: Path) -> None:
    net = Watching()
    only_set_up(tmp_path, net, Initialize("constant", options={"value": 3.0}, bias=0.5))
    assert net.at_optimizers == 0.0
    assert net.net[0].weight.unique().tolist() == [3.0]
    assert net.net[2].bias.tolist() == [0.5]


def test_trained_weights_are_left_in_every_way_they_may_come(tmp_path: Path) -> None:
    net = Net()
    run = trainer(tmp_path, Initialize("kaiming_normal"))
    run.fit(net, loader())
    trained = {k: v.clone() for k, v in net.state_dict().items()}
    run.save_checkpoint(tmp_path / "a.ckpt")

    only_set_up(tmp_path, net, Initialize("zeros"))  # the same object again
    resumed = Net()
    trainer(tmp_path, Initialize("zeros"), max_epochs=1).fit(resumed, loader(), ckpt_path=tmp_path / "a.ckpt")
    loaded = Net.load_from_checkpoint(tmp_path / "a.ckpt")
    with pytest.warns(UserWarning, match=r"leaves Net as it is: the weights of net\.0, net\.2 are not as torch makes"):
        only_set_up(tmp_path, loaded, Initialize("zeros"))
    for module in (net, resumed, loaded):
        assert all(torch.equal(v, trained[k]) for k, v in module.state_dict().items())
    only_set_up(tmp_path, loaded, Initialize("zeros", overwrite=True))
    assert float(loaded.net[0].weight.detach().abs().sum()) == 0.0


def test_a_pretrained_part_is_marked_and_the_rest_initialized(tmp_path: Path) -> None:
    for mark in (True, False):
        net = Net()
        nn.init.ones_(net.net[0].weight)
        if mark:
            mark_pretrained(net.net[0])
        only_set_up(tmp_path, net, Initialize("zeros", exclude=() if mark else ["net.0"]))
        assert net.net[0].weight.unique().tolist() == [1.0]
        assert net.net[2].weight.unique().tolist() == [0.0]


class Late(L.LightningModule):
    """Makes its layers in configure_model."""

    def __init__(self) -> None:
        super().__init__()
        self.net: nn.Module | None = None

    def configure_model(self) -> None:
        if self.net is None:
            self.net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))

    def training_step(self, batch: Any, _: int) -> Any:
        assert self.net is not None
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_layers_made_in_configure_model_are_initialized(tmp_path: Path) -> None:
    net = Late()
    only_set_up(tmp_path, net, Initialize("zeros"))
    assert isinstance(net.net, nn.Sequential)
    assert float(net.net[0].weight.detach().abs().sum()) == 0.0


def test_lsuv_takes_the_first_batch_and_leaves_the_order_of_training(tmp_path: Path) -> None:
    states = []
    for callback in (Initialize("orthogonal"), Initialize("lsuv")):
        L.seed_everything(2, verbose=False)
        net = Net()
        trainer(tmp_path, callback, limit_val_batches=0).fit(net, loader(True))
        states.append((torch.get_rng_state(), net))
    assert torch.equal(states[0][0], states[1][0])
    net = Net()
    only_set_up(tmp_path, net, Initialize("lsuv"))
    out = net.net[0](data().tensors[0][:16])
    assert float(out.detach().var(correction=0)) == pytest.approx(1.0, abs=0.021)


class Classes(Net):
    def __init__(self) -> None:
        super().__init__()
        self.net[2] = nn.Linear(8, 3)

    def training_step(self, batch: Any, _: int) -> Any:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


def test_the_prior_is_counted_on_the_training_data(tmp_path: Path) -> None:
    labels = torch.tensor([0] * 48 + [1] * 32 + [2] * 16)
    net = Classes()
    run = trainer(tmp_path, Initialize(bias="prior"), max_steps=0, max_epochs=-1)
    run.fit(net, DataLoader(TensorDataset(data().tensors[0], labels), 16))
    assert net.net[2].bias.detach().softmax(0).tolist() == pytest.approx([0.5, 1 / 3, 1 / 6])
    assert net.net[0].bias.abs().sum() == 0


class WithExample(Net):
    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = data().tensors[0][:8]


@pytest.mark.parametrize("scheme", ["zeros", "lsuv"])
@pytest.mark.parametrize("first", [True, False])
def test_a_model_that_runs_on_an_example_waits_for_its_preprocessing(tmp_path: Path, scheme: Any, first: bool) -> None:
    net, pair = WithExample(), [Preprocess("channel"), Initialize(scheme)]
    run = trainer(tmp_path, *(pair if first else pair[::-1]), max_steps=0, max_epochs=-1)
    run.fit(net, loader())
    out = net.net[0](net.input_preprocessing(net.example_input_array)).detach()
    assert float(out.var(correction=0)) == pytest.approx(0.0 if scheme == "zeros" else 1.0, abs=0.021)


def test_other_stages_do_nothing(tmp_path: Path) -> None:
    net = Net()
    before = net.net[0].weight.detach().clone()
    trainer(tmp_path, Initialize("zeros")).validate(net, loader(), verbose=False)
    assert torch.equal(before, net.net[0].weight)


def test_bad_arguments_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'kaiming_"):
        Initialize("kaiming")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'sigma'"):
        only_set_up(tmp_path, Net(), Initialize("normal", options={"sigma": 1.0}))
