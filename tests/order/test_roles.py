"""Which activation follows a layer, and whether it is hidden, output, or inside something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lightning_diag.order import Order, activation_roles, layer_roles, roles, trace
from lightning_diag.order.recorded import record
from lightning_diag.order.untouched import untouched
from tests.order import models as m

H, O = "hidden", "output"  # noqa: E741
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, tuple[str, str, bool, str]]]] = {
    "mlp": (
        lambda: m.mlp(5, 8, 8, 4),
        m.ROWS,
        {"0": (H, "relu", False, ""), "2": (H, "relu", False, ""), "4": (O, "linear", False, "")},
    ),
    "functions": (
        m.Functional,
        m.IMAGES,
        {
            "conv1": (H, "relu", False, ""),
            "conv2": (H, "relu", False, ""),
            "fc1": (H, "tanh", False, ""),
            "fc2": (O, "log_softmax", False, ""),
        },
    ),
    "residual": (
        m.Residual,
        m.IMAGES,
        {
            **dict.fromkeys(("stem", "a1", "a2", "b1", "b2"), (H, "relu", False, "")),
            "head": (O, "linear", False, ""),
        },
    ),
    "transformer": (
        m.Transformer,
        m.TOKENS,
        {
            "embed": (H, "linear", True, ""),
            "qkv": (H, "linear", False, "attention"),
            "out": (H, "linear", True, "attention"),
            "up": (H, "gelu", False, ""),
            "down": (H, "linear", True, ""),
            "head": (O, "linear", False, ""),
        },
    ),
    "unet": (
        m.Unet,
        m.IMAGES,
        {**dict.fromkeys(("down", "middle", "up", "join"), (H, "relu", False, "")), "head": (O, "linear", False, "")},
    ),
    "recurrent": (
        m.Recurrent,
        m.TOKENS,
        {"before": (H, "tanh", False, ""), "after": (H, "relu", False, ""), "head": (O, "linear", False, "")},
    ),
    "cell": (
        m.Cell,
        m.TOKENS,
        {
            "inward": (H, "tanh", False, ""),
            "inner": (H, "tanh", False, "recurrence"),
            "head": (O, "linear", False, ""),
        },
    ),
    "gated": (
        m.Gated,
        m.IMAGES,
        {
            "conv": (H, "silu", False, ""),
            "squeeze": (H, "relu", False, "gate"),
            "excite": (H, "sigmoid", False, "gate"),
            "head": (O, "linear", False, ""),
        },
    ),
    "batchnorm": (
        lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.MaxPool1d(2), nn.Tanh(), nn.Conv1d(8, 4, 1)),
        (4, 3, 8),
        {"0": (H, "tanh", True, ""), "4": (O, "linear", False, "")},
    ),
}


def as_table(model: nn.Module, order: Order) -> dict[str, tuple[str, str, bool, str]]:
    return {r.name: (r.role, r.activation, r.normalized, r.inside) for r in roles(model, order)}


@pytest.mark.parametrize("name", CASES)
def test_roles_are_the_same_traced_and_recorded(name: str) -> None:
    build, shape, expected = CASES[name]
    model = build()
    traced = trace(model)
    assert traced.how == "fx"
    assert as_table(model, traced) == expected
    with untouched(model):
        recorded = record(model, torch.randn(shape))
    assert as_table(model, recorded) == expected


def test_a_custom_recurrence_that_shares_its_input_layer_is_called_per_step() -> None:
    found = {r.name: len(r.calls) for r in layer_roles(m.Cell())}
    assert found == {"inward": 3, "inner": 2, "head": 1}


def test_a_post_norm_encoder_is_normalized_and_its_first_layer_is_not() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.Linear(5, 8), layer, nn.Linear(8, 4)).eval()
    with untouched(model):
        found = as_table(model, record(model.train(), torch.randn(2, 3, 5)))
    assert found["1.linear1"] == (H, "relu", False, "")
    assert found["1.linear2"] == (H, "linear", True, "")
    assert "1.self_attn.out_proj" not in found


def test_two_heads_are_both_outputs() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.mean, self.spread = nn.Linear(5, 8), nn.Linear(8, 2), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            h = torch.relu(self.body(x))
            return {"mean": self.mean(h), "spread": nn.functional.softplus(self.spread(h))}

    assert {r.name: r.role for r in layer_roles(Heads())} == {"body": H, "mean": O, "spread": O}


def test_the_roles_of_activations() -> None:
    order = trace(m.Gated())
    assert [(r.name, r.role) for r in activation_roles(order)] == [
        ("forward: sigmoid", "gate"),
        ("forward: relu", "hidden"),
        ("act", "gate"),
    ]
    order = trace(m.Functional())
    assert [(r.kind, r.role) for r in activation_roles(order)] == [
        ("relu", H), ("relu", H), ("tanh", H), ("log_softmax", O),
    ]  # fmt: skip
    order = trace(m.Transformer())
    assert [(r.kind, r.role) for r in activation_roles(order)] == [("softmax", "attention"), ("gelu", H)]


def test_layers_of_a_user_are_layers_and_containers_named_norm_are_no_norm() -> None:
    class Scaled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    class ConvNormAct(nn.Sequential):
        pass

    class RootMeanNorm(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / x.square().mean(1, keepdim=True).sqrt()

    model = nn.Sequential(
        ConvNormAct(Scaled(5, 8), nn.ReLU()), Scaled(8, 8), RootMeanNorm(), nn.ReLU(), nn.Linear(8, 2)
    )
    assert as_table(model, trace(model)) == {
        "0.0": (H, "relu", False, ""),
        "1": (H, "relu", True, ""),
        "4": (O, "linear", False, ""),
    }


def test_an_adjacency_that_is_given_is_no_attention() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
            return adjacency @ self.second(torch.relu(adjacency @ self.first(x)))

    found = as_table(model := Graph(), trace(model))
    assert found["first"] == (H, "linear", False, "") or found["first"] == (H, "relu", False, "")
    assert found["second"][3] == ""
