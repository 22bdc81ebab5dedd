"""Mixtures against torchvision's own, targets of all kinds, where classes come from, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_diag.callbacks.strategies import InputNoise, MixUp
from tests.callbacks.fits import Net, quietly, trainer
from tests.callbacks.strategies.runs import Plain, Watcher, run, same

v2 = pytest.importorskip("torchvision.transforms.v2", reason="the vision extra is not installed")


class Sees(Plain):
    """Keeps the batches that the training step gets; learns whatever the shapes."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(3)) if shape else self.net
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append(batch)
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def mixed(root: Path, x: Tensor, y: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """What a training step gets for a batch of these."""
    torch.manual_seed(0)
    module = Sees(1)
    module.net(x[:1].float())
    with quietly():
        trainer(root, [MixUp(1.0, **options)], max_steps=1, limit_val_batches=0).fit(
            module, DataLoader(TensorDataset(x, y), len(x))
        )
    return module.seen[0][0], module.seen[0][1]


@pytest.mark.parametrize("shape", [(8,), (3, 4, 4), (2, 3, 4, 4, 2)])
def test_inputs_of_any_shape_are_mixed_with_their_neighbours(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x, y = torch.randn(6, *shape), torch.tensor([0, 1, 2, 0, 1, 2])
    a, b = mixed(tmp_path, x, y)
    share = float(b[0, 0])
    assert 0 < share < 1
    assert torch.allclose(a, share * x + (1 - share) * x.roll(1, 0), atol=1e-6)
    onehot = F.one_hot(y, 3)
    assert torch.allclose(b, share * onehot + (1 - share) * onehot.roll(1, 0), atol=1e-6)
    assert torch.equal(b.sum(1), torch.ones(6))


def test_cutmix_puts_a_rectangle_of_one_image_into_another(tmp_path: Path) -> None:
    x = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 8, 8).clone()
    a, b = mixed(tmp_path, x, torch.tensor([0, 1, 2, 3]), kind="cutmix")
    own = (a == x).float().mean((1, 2, 3))
    assert torch.allclose(b.diagonal(), own, atol=1e-6)
    assert 0 < float(own[0]) < 1


@pytest.mark.parametrize("y", [torch.rand(6), torch.rand(6, 2), torch.rand(6, 1, 4)])
def test_floating_point_targets_are_mixed_as_they_are(tmp_path: Path, y: Tensor) -> None:
    x = torch.randn(6, 5)
    a, b = mixed(tmp_path, x, y)
    share = ((a - x.roll(1, 0)) / (x - x.roll(1, 0))).median()
    assert b.shape == y.shape
    assert torch.allclose(b, share * y + (1 - share) * y.roll(1, 0), atol=1e-4)


def test_it_trains_with_noise_beside_it_and_shuffles_as_before(tmp_path: Path) -> None:
    plain, both = Watcher(), Watcher()
    run(tmp_path, plain)
    module, fitter = run(tmp_path, both, MixUp(0.4), InputNoise())
    assert [b[1].tolist() for b in plain.batches] == [b[1].tolist() for b in both.batches]
    assert float(fitter.callback_metrics["val_loss"]) < 1.2
    again, _ = run(tmp_path, MixUp(0.4), InputNoise())
    assert same(list(module.parameters()), list(again.parameters()))


class Classes(Plain):
    """Says how many classes there are."""

    num_classes = 3


class Hyper(Plain):
    """Has saved how many classes there are."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()


@pytest.mark.parametrize("module", [Classes, Hyper, Plain])
def test_the_number_of_classes_is_found(tmp_path: Path, module: Any) -> None:
    assert float(run(tmp_path, MixUp(), module=module)[1].callback_metrics["train_loss"]) > 0


class Labelled(TensorDataset):
    """As torchvision's data sets are."""

    classes = ("a", "b", "c")


@pytest.mark.parametrize("wrap", [Labelled, lambda x, y: Subset(Subset(Labelled(x, y), range(6)), range(4))])
def test_the_data_set_is_asked(tmp_path: Path, wrap: Any) -> None:
    loader = DataLoader(wrap(torch.randn(8, 8), torch.tensor([0, 1] * 4)), 4)
    with quietly():
        fitter = trainer(tmp_path, [MixUp()], limit_val_batches=0)
        fitter.fit(Plain(), loader)
    assert "train_loss" in fitter.callback_metrics


def test_where_nothing_says_how_many_classes_there_are_it_is_asked_for(tmp_path: Path) -> None:
    pairs = [(torch.randn(8), 1)] * 8
    with quietly(), pytest.raises(ValueError, match=r"number of classes is unknown: MixUp\(num_classes="):
        trainer(tmp_path, [MixUp()], limit_val_batches=0).fit(Plain(), DataLoader(pairs, 4))
    with quietly():
        trainer(tmp_path, [MixUp(num_classes=3)], limit_val_batches=0).fit(Plain(), DataLoader(pairs, 4))


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "match"),
    [
        (
            torch.zeros(4, 5),
            torch.tensor([0, 1, 2, 3]),
            {"num_classes": 3},
            ValueError,
            "from 0 to 3 do not fit 3 cl",
        ),
        (torch.zeros(4, 5), torch.tensor([0, -1, 2, 1]), {"num_classes": 3}, ValueError, "from -1 to 2 do not fit 3"),
        (torch.zeros(4, 5).long(), torch.tensor([0, 1, 2, 3]), {}, TypeError, "floating point inputs, got torch.int64"),
        (torch.zeros(4, 5), torch.zeros(4, 3, 3).long(), {}, ValueError, r"must be \(batch,\) or one-hot"),
        (torch.zeros(4, 5), torch.tensor([0, 1, 2, 3]), {"kind": "cutmix"}, ValueError, r"needs images .* \[4, 5\]"),
    ],
)
def test_what_cannot_be_mixed(
    tmp_path: Path, x: Tensor, y: Tensor, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        mixed(tmp_path, x, y, **options)


def test_a_step_that_computes_an_accuracy_of_class_numbers_is_told_why_it_fails(tmp_path: Path) -> None:
    if sys.version_info < (3, 11):
        with pytest.warns(UserWarning, match="take their argmax"), pytest.raises(RuntimeError):
            run(tmp_path, MixUp(), module=Net)
        return
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path, MixUp(), module=Net)
    assert "take their argmax" in caught.value.__notes__[0]


def test_without_torchvision_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.transforms", None)
    with pytest.raises(ImportError, match=r'pip install "lightning-diag\[vision\]"'):
        MixUp()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"alpha": 0}, ValueError, "alpha must be above 0"),
        ({"alpha": -1}, ValueError, "alpha must be a finite number"),
        ({"kind": "mix"}, ValueError, "kind must be one of 'mixup', 'cutmix', got 'mix'"),
        ({"num_classes": 1}, ValueError, "num_classes must be 2 or more, got 1"),
        ({"num_classes": "3"}, TypeError, "num_classes must be an integer, got '3'"),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        MixUp(**options)
