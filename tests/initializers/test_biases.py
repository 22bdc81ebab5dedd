"""Biases: zero, small and positive before rectifiers, at the class prior in the output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag.initializers import class_counts, initialize, prior_bias, set_output_bias


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize(
    ("bias", "values"), [("zeros", [0, 0, 0]), ("small_positive", [0.01, 0, 0]), (0.3, [0.3, 0.3, 0.3])]
)
def test_biases_start_as_asked(bias: Any, values: list[float]) -> None:
    model = net()
    initialize(model, bias=bias)
    for layer, value in zip((model[0], model[2], model[4]), values, strict=True):
        assert layer.bias.tolist() == [pytest.approx(value)] * len(layer.bias)


@pytest.mark.parametrize("bias", ["keep", None])
def test_biases_that_are_kept(bias: Any) -> None:
    model = net()
    before = [p.detach().clone() for n, p in model.named_parameters() if n.endswith("bias")]
    initialize(model, bias=bias)
    after = [p for n, p in model.named_parameters() if n.endswith("bias")]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_prior_makes_the_first_loss_the_entropy_of_the_classes() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)
    loader = DataLoader(TensorDataset(torch.randn(100, 4), labels), 32)
    counts = class_counts(loader)
    assert counts.tolist() == [70, 20, 10]
    model = initialize(net(), bias="prior", prior=counts, output="zeros")
    loss = float(nn.functional.cross_entropy(model(torch.randn(100, 4)), labels).detach())
    p = np.array([0.7, 0.2, 0.1])
    assert loss == pytest.approx(float(-(p * np.log(p)).sum()), rel=1e-5)


def test_one_output_gets_the_log_odds() -> None:
    assert float(prior_bias([900, 100], 1).sigmoid()) == pytest.approx(0.1)
    assert float(prior_bias(torch.tensor([0.75, 0.25]), 1).sigmoid()) == pytest.approx(0.25)


def test_a_class_that_never_occurs_has_a_finite_bias() -> None:
    assert torch.isfinite(prior_bias([10, 0, 5], 3)).all()
    assert torch.isfinite(prior_bias([0.9, 0.0, 0.1], 3)).all()


@pytest.mark.parametrize(
    ("counts", "outputs", "message"),
    [([1, 2, 3], 2, "3 class counts do not fit an output layer of 2 units"), ([0, 0], 2, "not all 0"),
     ([-1, 3], 2, "finite numbers from 0"), ([[1, 2]], 2, "finite numbers from 0"), ([float("nan"), 1], 2, "finite")],
)  # fmt: skip
def test_counts_that_do_not_fit_are_refused(counts: Any, outputs: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prior_bias(counts, outputs)


def test_labels_that_are_none_are_refused() -> None:
    with pytest.raises(TypeError, match=r"labels must be whole numbers, batch\[1\] holds \[0.5"):
        class_counts([(0, torch.tensor([0.5]))])
    with pytest.raises(ValueError, match="must be 0 or more, got -1"):
        class_counts([(0, torch.tensor([-1, 2]))])
    with pytest.raises(ValueError, match="below num_classes=2, got 2"):
        class_counts([(0, torch.tensor([1, 2]))], 2)
    with pytest.raises(ValueError, match="the batches are empty"):
        class_counts([])
    assert class_counts([{"y": torch.tensor([[1, 1], [0, 3]])}], target="y").tolist() == [1, 2, 0, 1]


def test_an_output_layer_without_bias_is_told() -> None:
    with pytest.raises(ValueError, match="has no bias to set"):
        initialize(nn.Sequential(nn.Linear(2, 2, bias=False)), bias="prior", prior=[1, 1])
    with pytest.raises(ValueError, match=r"has \(2,\) biases, got \(3,\) values"):
        set_output_bias(nn.Linear(2, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="for one output layer, 2 were found"):
        initialize(TwoHeads(), bias="prior", prior=[1, 1])


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.a(x), self.b(x)
