"""Gains are what they say: 1 / sqrt(E[f(z)^2]) by quadrature, and torch's where torch has one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_diag.initializers import GAINS, Gain, gain_of, plan


def second_moment(activation: str) -> float:
    """E[f(z)^2] for z ~ N(0, 1), by the trapezoidal rule."""
    z = np.linspace(-12, 12, 400_001)
    f = getattr(F, activation) if hasattr(F, activation) else getattr(torch, activation)
    y = (F.prelu(torch.from_numpy(z), torch.tensor([0.25], dtype=torch.float64)) if activation == "prelu"
         else f(torch.from_numpy(z))).numpy()  # fmt: skip
    return float((y**2 * np.exp(-(z**2) / 2)).sum() * (z[1] - z[0]) / np.sqrt(2 * np.pi))


@pytest.mark.parametrize("row", [r for r in GAINS if "He et al" in r.source], ids=lambda r: r.activation)
def test_the_gain_of_a_rectifier_restores_the_second_moment(row: Gain) -> None:
    assert row.value**2 * second_moment(row.activation) == pytest.approx(1.0, rel=2e-4)


@pytest.mark.parametrize("row", [r for r in GAINS if r.torch is not None], ids=lambda r: r.activation)
def test_torchs_own_gain_is_told(row: Gain) -> None:
    assert row.torch == pytest.approx(nn.init.calculate_gain(row.activation))  # type: ignore[arg-type]
    assert gain_of(row.activation, like_torch=True) == row.torch


def test_tanh_has_gain_1_as_on_the_slides_and_five_thirds_as_torch_says() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    assert [a.block.gain for a in plan(net, "kaiming_normal")] == [1.0, 1.0]
    assert [a.block.gain for a in plan(net, "xavier_normal", gain="torch")] == [pytest.approx(5 / 3), 1.0]


def test_slopes_are_those_of_the_module() -> None:
    assert gain_of("leaky_relu", nn.LeakyReLU(0.5)) == pytest.approx((2 / 1.25) ** 0.5)
    assert gain_of("prelu", nn.PReLU(init=0.1)) == pytest.approx((2 / 1.01) ** 0.5)
    net = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.5), nn.Linear(4, 4))
    assert plan(net)[0].block.gain == pytest.approx((2 / 1.25) ** 0.5)


def test_selu_keeps_the_signal_with_gain_1() -> None:
    assert second_moment("selu") == pytest.approx(1.0, rel=1e-4)
