"""Normalization is turned into another, folded, or taken out."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lightning_diag.surgery import convert_normalization, fold_batchnorm, insert_normalization, remove_normalization
from tests.order import models as m
from tests.surgery.contract import examine, fingerprint, outputs, state, train


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 8, 2, groups=2),
        nn.BatchNorm2d(8, affine=False), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 8), nn.BatchNorm1d(8), nn.Tanh(),
        nn.Linear(8, 2),
    )  # fmt: skip


def warmed(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Give running statistics, scales and shifts values of their own."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias)
    train(model, inputs, steps=5)
    return model


def norms(model: nn.Module) -> list[str]:
    return [type(x).__name__ for x in model.modules() if "Norm" in type(x).__name__]


@pytest.mark.parametrize("inserted", [False, True])
def test_folded_outputs_are_equal(inserted: bool) -> None:
    x = torch.randn(16, 3, 8, 8)
    model = convolutional()
    if inserted:
        remove_normalization(model)
        insert_normalization(model, "batch", example_inputs=x)
    warmed(model, x)
    expected, keys = outputs(model, x), len(norms(model))
    assert keys == 3
    assert fold_batchnorm(model, example_inputs=x) is model
    assert norms(model) == []
    torch.testing.assert_close(outputs(model, x), expected, rtol=1e-4, atol=1e-5)
    assert model[0].bias is not None
    again = fingerprint(model)
    fold_batchnorm(model)
    assert fingerprint(model) == again


def test_what_cannot_be_folded_stays_or_is_refused() -> None:
    x = torch.randn(16, 3, 8, 8)
    ahead = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    before = fingerprint(warmed(ahead, x))
    with pytest.raises(ValueError, match="0: not a layer but input stands before it; 3: not a layer but relu"):
        fold_batchnorm(ahead)
    assert fingerprint(ahead) == before
    untracked = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), nn.Conv2d(8, 2, 1))
    with pytest.raises(ValueError, match="keeps no running statistics"):
        fold_batchnorm(untracked)
    tied = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 1))
    tied[3].weight = tied[0].weight
    with pytest.raises(ValueError, match="the weight of 0 is used elsewhere too"):
        fold_batchnorm(tied)
    mixed = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    expected = outputs(warmed(mixed, x), x)
    fold_batchnorm(mixed, example_inputs=x)
    assert norms(mixed) == ["BatchNorm2d"]
    torch.testing.assert_close(outputs(mixed, x), expected, rtol=1e-4, atol=1e-5)


def test_a_fold_that_changes_outputs_is_taken_back() -> None:
    """A token-shaped tensor makes BatchNorm1d normalize tokens, which only the numbers show."""
    model, x = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(m.TOKENS)
    before = fingerprint(warmed(model, x).eval())
    with pytest.raises(ValueError, match="folded outputs differ by"):
        fold_batchnorm(model, example_inputs=x)
    assert fingerprint(model) == before


@pytest.mark.parametrize("kind", ["group", "layer"])
def test_batchnorm_turned_into_another_and_back(kind: str) -> None:
    x = torch.randn(16, 3, 8, 8)
    model = convolutional()
    parameters = {name: id(p) for name, p in model.named_parameters()}
    outcome = examine(model, x, partial(lambda k, mod, x: convert_normalization(mod, k, example_inputs=x), kind))
    assert outcome == "changed"
    assert {name: id(p) for name, p in model.named_parameters()} == parameters
    assert norms(model) == [{"group": "GroupNorm", "layer": "ChannelLayerNorm"}[kind]] * 3
    convert_normalization(model, "batch")
    assert norms(model) == ["BatchNorm2d", "BatchNorm2d", "BatchNorm1d"]
    assert set(model.state_dict()) == set(convolutional().state_dict())
    assert {name: id(p) for name, p in model.named_parameters()} == parameters
    assert train(model, x) < 1e9


def test_sync_and_back_keeps_running_statistics() -> None:
    x = torch.randn(16, 3, 8, 8)
    model = warmed(convolutional(), x)
    before = state(model)
    expected = outputs(model, x)
    convert_normalization(model, "sync")
    assert norms(model) == ["SyncBatchNorm"] * 3
    convert_normalization(model, "batch")
    assert norms(model) == ["BatchNorm2d", "BatchNorm2d", "BatchNorm1d"]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(expected, outputs(model, x), strict=True))
    torch_sync = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # one that was not made here
    convert_normalization(torch_sync, "batch")
    assert norms(torch_sync) == ["BatchNormNd"] * 3
    assert all(torch.equal(a, b) for a, b in zip(expected, outputs(torch_sync, x), strict=True))


@pytest.mark.parametrize("start", ["batch", "layer", "group"])
@pytest.mark.parametrize("end", ["batch", "layer", "group"])
def test_inserted_norms_are_turned_over_channels_too(start: str, end: str) -> None:
    x = torch.randn(m.TOKENS)
    model = insert_normalization(m.Transformer(), start, example_inputs=x, batch_size=32)
    convert_normalization(model, end, example_inputs=x)
    hidden = model.up(torch.randn(64, 6, 8))
    over = (0, 1) if end == "batch" else 2
    assert hidden.detach().square().mean(over).mean() == pytest.approx(1, abs=0.02)
    assert isinstance(model.norm1, nn.LayerNorm)


def test_conversion_needs_something_to_convert() -> None:
    with pytest.raises(ValueError, match="has no BatchNorm, GroupNorm or ChannelLayerNorm"):
        convert_normalization(m.mlp(5, 8, 2), "group")
    with pytest.raises(ValueError, match=r"kind must be of .*, got 'instance'"):
        convert_normalization(convolutional(), "instance")


def test_removal_gives_biases_back_and_renames_nothing() -> None:
    model = convolutional()
    keys = {k for k in model.state_dict() if k.split(".")[0] in ("0", "3", "7", "10")}
    remove_normalization(model)
    assert norms(model) == []
    assert set(model.state_dict()) == {*keys, "0.bias"}
    assert model[0].bias.abs().sum() == 0
    assert train(model, torch.randn(4, 3, 8, 8)) < 1e9


def test_insertion_and_removal_leave_the_model_as_it_was() -> None:
    for kind in ("batch", "layer", "group", "instance", "rms"):
        model, x = m.Unet(), torch.randn(m.IMAGES)
        for layer in (model.down, model.middle, model.up, model.join):
            nn.init.zeros_(layer.bias)
        before, expected = state(model), outputs(model, x)
        insert_normalization(model, kind, example_inputs=x, batch_size=32)
        assert any(not torch.equal(a, b) for a, b in zip(expected, outputs(model, x), strict=True))
        remove_normalization(model)
        assert {k: v.tolist() for k, v in before.items()} == {k: v.tolist() for k, v in model.state_dict().items()}
        assert all(type(layer).__module__.startswith("torch.nn") for layer in (model.down, model.up))
        assert all(torch.equal(a, b) for a, b in zip(expected, outputs(model, x), strict=True))


def test_removal_of_some_kinds_and_its_refusals() -> None:
    model = nn.Sequential(nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv1d(8, 2, 1))
    assert norms(remove_normalization(copy.deepcopy(model), ["batch"])) == ["GroupNorm"]
    with pytest.raises(ValueError, match=r"kinds must be of .*, got bach"):
        remove_normalization(model, ["bach"])
    torch_layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    before = fingerprint(torch_layer)
    with pytest.raises(ValueError, match="reads the weights of its norms itself"):
        remove_normalization(torch_layer)
    assert fingerprint(torch_layer) == before
