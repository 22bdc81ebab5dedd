"""What is told from an activation's output equals what autograd says of its derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor

from lightning_diag.statistics.units import BOUNDED, FLAT, flat_part, saturation, unit_max

FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {
    "sigmoid": (torch.sigmoid, 0.0, 1.0),
    "tanh": (torch.tanh, -1.0, 1.0),
    "softsign": (F.softsign, -1.0, 1.0),
    "hardtanh": (F.hardtanh, -1.0, 1.0),
    "hardsigmoid": (F.hardsigmoid, 0.0, 1.0),
    "relu6": (F.relu6, 0.0, 6.0),
}


def derivative(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(x).sum(), x)
    return gradient


@pytest.mark.parametrize("kind", sorted(BOUNDED))
def test_flat_where_the_derivative_is_small(kind: str) -> None:
    f, low, high = FUNCTIONS[kind]
    x = torch.linspace(-12, 12, 100_003, dtype=torch.float64)
    slope = derivative(f, x).abs()
    flat = flat_part(f(x), kind, low, high)
    expected = slope < FLAT * slope.max()
    if kind == "relu6":
        expected &= x > 0  # zeros are a rectifier's normal state
    assert torch.equal(flat, expected)
    assert 0 < flat.float().mean() < 1


def test_every_bounded_activation_is_tried() -> None:
    assert set(FUNCTIONS) == BOUNDED


@pytest.mark.parametrize("kind", ["relu", "gelu", "", "Sigmoid"])
def test_what_is_not_bounded_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"{kind!r} is no bounded activation; allowed: hardsigmoid, .*tanh"):
        flat_part(torch.zeros(3), kind)


@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    last=st.booleans(),
    kind=st.sampled_from(sorted(BOUNDED)),
    seed=st.integers(0, 999),
)
def test_saturation_counts_elements_and_units(shape: list[int], last: bool, kind: str, seed: int) -> None:
    f, low, high = FUNCTIONS[kind]
    y = f(6 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    axis = len(shape) - 1 if last else 1
    mask = flat_part(y, kind, low, high)
    units = [mask.select(axis, u).double().mean().item() for u in range(shape[axis])]
    expected = [mask.double().mean().item(), sum(u >= 0.95 - 1e-7 for u in units) / len(units)]
    assert saturation(y, kind, axis, low, high).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("flat", "units"), [(94, 0.0), (95, 1.0), (100, 1.0)])
def test_a_unit_is_saturated_from_95_percent_on(flat: int, units: float) -> None:
    y = torch.zeros(100, 1)
    y[:flat] = 1.0
    assert saturation(y, "tanh", 1).tolist() == pytest.approx([flat / 100, units])


def test_of_a_large_tensor_the_first_examples_are_looked_at() -> None:
    y = torch.zeros(1024, 4, 32, 32)
    y[:64, 1] = 1.0
    assert saturation(y, "tanh", 1).tolist() == [0.25, 0.25]


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
def test_the_largest_value_of_each_unit(shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))
    expected = [x.select(axis, u).max().item() for u in range(shape[axis])]
    assert unit_max(x, axis).tolist() == expected
