"""Hidden activations are swapped and dropped out of; outputs, gates and attention stay."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_diag.surgery import (
    ACTIVATIONS,
    activation_places,
    dropout_places,
    insert_dropout,
    insert_normalization,
    swap_activations,
    wanted_initialization,
)
from tests.order import models as m
from tests.surgery.contract import examine, fingerprint, outputs


def sigmoids() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())


def swap(kind: str, model: nn.Module, x: Any) -> nn.Module:
    return swap_activations(model, kind, example_inputs=x)


@pytest.mark.parametrize("kind", [row.name for row in ACTIVATIONS])
def test_every_row_is_put_in_and_trains(kind: str) -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.Softplus(), nn.Linear(8, 2))
    assert examine(model, torch.randn(m.ROWS), partial(swap, kind)) == "changed"
    assert type(model[1]).__name__.lower() == kind.replace("_", "")
    assert (list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]) == (kind != "prelu")


def test_hidden_ones_only() -> None:
    model = sigmoids()
    assert [type(x).__name__ for x in swap_activations(model, "silu")][1::2] == ["SiLU", "SiLU", "Sigmoid"]
    model = sigmoids()
    assert [type(x).__name__ for x in swap_activations(model, "relu", replaces=["tanh"])][1::2] == [
        "Sigmoid", "ReLU", "Sigmoid",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"1 hidden activation\(s\) of Gated are functions.*: forward: relu"):
        swap_activations(m.Gated(), "gelu")
    before = fingerprint(model)
    assert fingerprint(swap_activations(model, "relu", replaces=["tanh"])) == before


def test_functions_are_refused_by_name() -> None:
    model = m.Functional()
    before = fingerprint(model)
    with pytest.raises(ValueError, match=r"3 hidden activation\(s\) .* forward: relu, forward: relu, forward: tanh"):
        swap_activations(model, "gelu")
    assert fingerprint(model) == before
    with pytest.raises(ValueError, match="no hidden activation to swap in Functional"):
        swap_activations(model, "gelu", replaces=["sigmoid"])


def test_shared_and_nested_modules_are_swapped_everywhere() -> None:
    model = m.Residual()
    assert examine(model, torch.randn(m.IMAGES), partial(swap, "leaky_relu")) == "changed"
    assert isinstance(model.relu, nn.LeakyReLU)
    post = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    insert_normalization(post, "layer", "post")
    swap_activations(post, "gelu")
    assert isinstance(post[1].activation, nn.GELU)
    assert list(post.state_dict())[2] == "1.norm.weight"


@pytest.mark.parametrize("kind", ["gelu", "silu"])
def test_the_activation_that_a_transformer_of_torch_holds(kind: str) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    model = nn.Sequential(nn.Linear(5, 8), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(8, 2))
    x = torch.randn(m.TOKENS)
    assert examine(model, x, partial(swap, kind)) == "changed"
    model.train()
    torch.testing.assert_close(model(x), outputs(model, x)[0], rtol=1e-4, atol=1e-5)  # the fused path has it too


def test_the_wanted_initialization_is_asked_for() -> None:
    asked: list[tuple[nn.Module, str]] = []
    model = sigmoids()
    swap_activations(model, "selu", initialize=lambda mod, name: asked.append((mod, name)))
    assert asked == [(model, "lecun_normal")]
    swap_activations(model, "selu", initialize=lambda mod, name: asked.append((mod, name)))
    assert len(asked) == 1  # nothing was swapped
    assert {row.name: wanted_initialization(row.name) for row in ACTIVATIONS}["relu"] == "kaiming_normal"
    with pytest.raises(ValueError, match=r"unknown activation 'rely'; .* did you mean 'relu'"):
        swap_activations(model, "rely")
    with pytest.raises(ValueError, match=r"replaces must be of .*, got softmax"):
        activation_places(model, "relu", replaces=["softmax"])


def drop(model: nn.Module, x: Any) -> nn.Module:
    return insert_dropout(model, 0.3, example_inputs=x)


def test_dropout_behind_hidden_activations_only() -> None:
    model = sigmoids()
    assert examine(model, torch.randn(m.ROWS), drop) == "changed"
    assert [n for n, x in model.named_modules() if isinstance(x, nn.Dropout)] == ["1.dropout", "3.dropout"]
    assert model[1].dropout.p == 0.3
    model.train()
    hidden = model[1](torch.full((1000, 1), 100.0))
    assert (hidden == 0).float().mean() == pytest.approx(0.3, abs=0.05)
    assert hidden.max() == pytest.approx(1 / 0.7)


def test_dropout_that_is_there_stays() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    assert [place.verdict for place in dropout_places(model)] == ["dropped", "insert"]
    insert_dropout(model, 0.3)
    assert [x.p for x in model.modules() if isinstance(x, nn.Dropout)] == [0.1, 0.3]


def test_rectifiers_without_a_module_of_their_own_get_it_ahead() -> None:
    model = m.Functional()
    assert examine(model, torch.randn(m.IMAGES), drop) == "changed"
    assert [n for n, x in model.named_modules() if isinstance(x, nn.Dropout)] == ["conv1.dropout"]
    places = {p.name + str(i): p.reason for i, p in enumerate(dropout_places(m.Functional()))}
    assert places["forward: tanh2"] == "it is a function, and dropout ahead of tanh is not the same as behind it"
    assert places["forward: relu1"] == "it is a function, and neither layer nor norm is directly ahead of it"
    model = m.Residual()
    assert examine(model, torch.randn(m.IMAGES), drop) == "changed"
    assert [n for n, x in model.named_modules() if isinstance(x, nn.Dropout)] == [
        "stem.dropout", "a1.dropout", "b1.dropout",
    ]  # fmt: skip
    torch.manual_seed(0)
    ahead = F.relu(F.dropout(torch.linspace(-3, 3, 99), 0.3))
    torch.manual_seed(0)
    torch.testing.assert_close(ahead, F.dropout(F.relu(torch.linspace(-3, 3, 99)), 0.3))


def test_never_ahead_of_batchnorm_without_saying_so() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.warns(UserWarning, match=r"ahead of BatchNorm at 1 place\(s\): 1 \(next: 3\)"):
        insert_dropout(copy.deepcopy(model), 0.1)
    inserted = insert_normalization(nn.Sequential(*[copy.deepcopy(x) for x in model][:3], nn.ReLU(), nn.Linear(8, 2)))
    with pytest.warns(UserWarning, match=r"1 \(next: 2.norm\)"):
        insert_dropout(inserted, 0.1)


def test_kinds_of_dropout() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.SELU(), nn.Conv2d(8, 2, 1))
    insert_dropout(model, 0.1, kind="channel")
    found = [type(x).__name__ for x in model.modules() if "Drop" in type(x).__name__]
    assert found == [
        "Dropout2d",
        "AlphaDropout",
    ]
    rows = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    assert isinstance(insert_dropout(rows, 0.1, kind="channel")[1].dropout, nn.Dropout)
    insert_dropout(m.mlp(5, 8, 2), 0)


@pytest.mark.parametrize("p", [1, -0.1, 1.5, float("nan"), "0.5", True])
def test_p_is_the_probability_to_drop(p: Any) -> None:
    with pytest.raises(ValueError, match="the probability to drop"):
        insert_dropout(m.mlp(5, 8, 2), p)
    with pytest.raises(ValueError, match="kind must be"):
        insert_dropout(m.mlp(5, 8, 2), 0.1, kind="spatial")


def test_gates_and_attention_are_not_dropped() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.act, self.gate, self.head = nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 8), nn.Linear(8, 2)
            self.sigmoid = nn.Sigmoid()

        def forward(self, x: Tensor) -> Tensor:
            h = self.act(self.fc(x))
            return self.head(h * self.sigmoid(self.gate(h)))

    model = Masked()
    assert {p.name: p.reason for p in dropout_places(model)} == {
        "act": "",
        "sigmoid": "it is no hidden activation but one of gate",
    }
    assert examine(model, torch.randn(m.ROWS), drop, picklable=False) == "changed"
    swap_activations(model, "relu")
    assert isinstance(model.act.activation, nn.ReLU)
    assert isinstance(model.sigmoid, nn.Sigmoid)
    with pytest.raises(ValueError, match="no place for dropout in Sequential: 1: it is no hidden activation but"):
        insert_dropout(nn.Sequential(nn.Linear(5, 2), nn.Sigmoid()), 0.1)
