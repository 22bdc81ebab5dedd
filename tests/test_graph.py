"""What a module is: which are observed, which axis holds the units, what is hidden and what is output."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Size, nn
from torchmetrics.classification import MulticlassAccuracy

from lightning_diag.graph import activation_kind, clean, has_fused_eval, observed_modules, unit_axis, with_roles
from lightning_diag.records import Layer

LINEAR, CONV1, CONV2 = nn.Linear(5, 7), nn.Conv1d(5, 7, 3), nn.Conv2d(5, 7, 3)
NORM, BATCH, GROUP = nn.LayerNorm(7), nn.BatchNorm1d(7), nn.GroupNorm(7, 7)
RELU = nn.ReLU()


@pytest.mark.parametrize(
    ("module", "shape", "before", "axis"),
    [
        (LINEAR, (4, 7), None, 1),
        (LINEAR, (4, 9, 7), None, 2),
        (LINEAR, (4, 3, 9, 7), None, 3),
        (LINEAR, (7,), None, 0),
        (CONV1, (4, 7, 9), None, 1),
        (CONV2, (4, 7, 9, 9), None, 1),
        (nn.Conv3d(5, 7, 1), (4, 7, 2, 9, 9), None, 1),
        (nn.ConvTranspose2d(5, 7, 1), (4, 7, 9, 9), None, 1),
        (BATCH, (4, 7), None, 1),
        (BATCH, (4, 7, 9), None, 1),
        (GROUP, (4, 7, 9), None, 1),
        (NORM, (4, 9, 7), None, 2),
        (nn.Embedding(5, 7), (4, 9, 7), None, 2),
        (nn.LSTM(5, 7), (4, 9, 7), None, 2),
        (nn.MultiheadAttention(7, 1), (4, 9, 7), None, 2),
        (RELU, (4, 7), None, 1),
        (RELU, (4, 7, 9), (CONV1, Size((4, 7, 9))), 1),
        (RELU, (4, 7, 9), (BATCH, Size((4, 7, 9))), 1),
        (RELU, (4, 9, 7), (LINEAR, Size((4, 9, 7))), 2),
        (RELU, (4, 3, 9, 7), (LINEAR, Size((4, 3, 9, 7))), 3),
        (RELU, (4, 7, 9, 9), (CONV2, Size((4, 7, 9, 9))), 1),
        (RELU, (4, 7, 9, 9), (LINEAR, Size((4, 49))), 1),  # of another shape: says nothing
        (RELU, (4, 9, 7), None, 2),
        (RELU, (4, 7, 9, 9), None, 1),
        (None, (4, 7, 9), (CONV1, Size((4, 7, 9))), 1),
        (None, (4, 9, 7), (LINEAR, Size((4, 9, 7))), 2),
        (nn.PReLU(7), (4, 7, 9, 9), None, 1),
    ],
)
def test_the_axis_of_the_units(module: nn.Module | None, shape: tuple[int, ...], before: Any, axis: int) -> None:
    assert unit_axis(module, torch.empty(shape), before) == axis


@pytest.mark.parametrize(
    ("module", "kind"),
    [(nn.ReLU(), "relu"), (nn.ReLU6(), "relu6"), (nn.Hardtanh(), "hardtanh"), (nn.Tanh(), "tanh"), (nn.GELU(), "gelu"),
     (nn.Sigmoid(), "sigmoid"), (nn.LeakyReLU(), "leaky_relu"), (nn.Softsign(), "softsign"), (nn.Linear(1, 1), ""),
     (nn.Sequential(nn.ReLU()), "")],
)  # fmt: skip
def test_the_kind_of_an_activation(module: nn.Module, kind: str) -> None:
    assert activation_kind(module) == kind


def observed(module: nn.Module) -> list[str]:
    return [name for name, _ in observed_modules(module)]


def test_leaves_are_observed_and_what_computes_nothing_is_not() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout2d(), nn.Identity(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Unflatten(1, (2, -1)), nn.Linear(2, 2), nn.CrossEntropyLoss(), MulticlassAccuracy(3),
    )  # fmt: skip
    assert observed(net) == ["0", "1", "2", "5", "8"]


class WithOwn(nn.Module):
    """A container that holds a parameter itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.inner = nn.Linear(2, 2)


def test_containers_are_observed_if_they_have_parameters_of_their_own() -> None:
    assert observed(nn.Sequential(nn.Sequential(WithOwn()))) == ["0.0", "0.0.inner"]


def test_scripted_modules_and_attention_are_one_site() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 1)
            self.head = nn.Linear(4, 2)

    assert observed(Model()) == ["attention", "head"]


def test_a_transformer_layer_is_seen_through() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert observed(nn.Sequential(layer)) == [
        "0.self_attn", "0.linear1", "0.linear2", "0.norm1", "0.norm2",
    ]  # fmt: skip
    assert has_fused_eval(layer)
    assert not has_fused_eval(nn.Linear(1, 1))


def test_a_shared_module_is_observed_once() -> None:
    shared = nn.Linear(3, 3)
    assert observed(nn.Sequential(shared, nn.ReLU(), shared)) == ["0", "1"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("net._orig_mod.0", "net.0"), ("_orig_mod.net", "net"), ("_forward_module.net.0", "net.0"), ("net", "net"),
     ("_orig_mod", "_orig_mod"), ("", "")],
)  # fmt: skip
def test_names_are_free_of_wrappers(name: str, expected: str) -> None:
    assert clean(name) == expected


def test_the_last_layer_with_parameters_and_what_follows_is_output() -> None:
    layers = [Layer("a", "Linear", parameters=("w",)), Layer("b", "ReLU"), Layer("c", "Linear", parameters=("v",)),
              Layer("d", "Sigmoid")]  # fmt: skip
    assert [x.role for x in with_roles(layers)] == ["hidden", "hidden", "output", "output"]
    assert [x.role for x in with_roles([Layer("a", "ReLU"), Layer("b", "ReLU")])] == ["hidden", "output"]
    assert with_roles([]) == []
