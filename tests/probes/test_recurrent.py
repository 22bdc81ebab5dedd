"""The gradient over time against autograd on the whole layer, and of cells that a loop calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_diag.probes.readings import Readings, measuring
from lightning_diag.probes.recurrent import STATISTIC, RepeatedCalls, decades, take_over_time

LAYERS: list[tuple[type[nn.RNNBase], dict[str, Any]]] = [
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu"}),
    (nn.GRU, {"num_layers": 2, "dropout": 0.5}),
    (nn.LSTM, {}),
    (nn.LSTM, {"bidirectional": True, "bias": False}),
]


def taken(module: nn.RNNBase, x: Tensor) -> Readings:
    readings = Readings()
    readings.site("activation", "cell")
    with torch.no_grad(), measuring():
        take_over_time("cell", module, x, readings)
    return readings


def reference(module: nn.RNNBase, x: Tensor) -> float:
    """The same by autograd, step by step, in float64; x has the time first."""
    module = module.double().eval()
    x = x[:, :4].double().requires_grad_()
    last = module(x)[0][-1][:, : module.hidden_size]
    (last * torch.cos(2.4 * torch.arange(module.hidden_size))).sum().backward()
    assert x.grad is not None
    rms = x.grad.flatten(1).square().mean(1).sqrt()
    tenth = len(rms) // 10
    return float((rms[:tenth].square().mean().sqrt() / rms[-tenth:].square().mean().sqrt()).log10())


@pytest.mark.parametrize(("kind", "options"), LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_fused_layer(kind: type[nn.RNNBase], options: dict[str, Any], batch_first: bool) -> None:
    torch.manual_seed(0)
    module = kind(3, 12, batch_first=batch_first, **options)
    x = torch.randn(20, 6, 3)
    state = torch.get_rng_state()
    found = taken(module, x.transpose(0, 1) if batch_first else x)._scalars[STATISTIC, "cell"]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in module.parameters())
    module.batch_first = False
    assert float(found) == pytest.approx(reference(module, x), abs=1e-3)


def test_an_identity_forgets_nothing_and_a_small_matrix_all() -> None:
    module, x = nn.RNN(2, 2, nonlinearity="relu"), torch.rand(20, 3, 2)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.eye(2) if p.dim() > 1 else torch.ones(2))
    assert float(taken(module, x)._scalars[STATISTIC, "cell"]) == pytest.approx(0.0, abs=1e-6)
    module.weight_hh_l0.data.mul_(0.1)
    assert float(taken(module, x)._scalars[STATISTIC, "cell"]) == pytest.approx(-18.0, abs=0.5)


def test_what_is_not_looked_at() -> None:
    x = torch.randn(20, 3, 2)
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([20, 9, 4]))
    assert taken(nn.GRU(2, 4), x[:5])._scalars == {}
    assert taken(nn.GRU(2, 4), x[:, 0])._scalars == {}
    assert taken(nn.LSTM(2, 4, proj_size=2), x)._scalars == {}
    assert taken(nn.GRU(2, 4), packed.data)._scalars == {}  # what the probe sees of a packed sequence


def test_decades() -> None:
    assert float(decades(torch.tensor([1.0] * 20))) == 0.0
    assert float(decades(torch.tensor([0.0] * 10 + [1.0] * 10))) == -30.0


def test_calls_of_a_cell_in_a_loop() -> None:
    readings, calls = Readings(), RepeatedCalls()
    sizes = 10.0 ** torch.arange(-20, 0)
    for k, size in enumerate(sizes):
        gradient = torch.full((4, 3), float(size))
        if k < 8:
            readings.tensor("activation_gradient", "cell" if k == 0 else f"cell#{k}", gradient, bins=False)
        else:
            calls.note("cell", k, gradient)
    readings.site("activation", "cell")
    calls.give(readings)
    assert float(readings._scalars[STATISTIC, "cell"]) == pytest.approx(-19.0, abs=0.1)
    calls.give(readings)
