"""Every row: the variance that it says, on weights of every shape, and what the slides leave open."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_diag.initializers import INITIALIZERS, Block, Initializer, Options, initialize, initializer

LAYERS: dict[str, tuple[Callable[[], nn.Module], float, float]] = {
    "linear": (lambda: nn.Linear(300, 200), 300, 200),
    "conv": (lambda: nn.Conv2d(16, 64, 3), 16 * 9, 64 * 9),
    "grouped": (lambda: nn.Conv2d(32, 64, 3, groups=4), 8 * 9, 16 * 9),
    "conv1d": (lambda: nn.Conv1d(40, 60, 5), 200, 300),
    "conv3d": (lambda: nn.Conv3d(8, 16, 3), 216, 432),
    "transposed": (lambda: nn.ConvTranspose2d(32, 16, 4, stride=2), 32 * 16 / 4, 16 * 16),
    "bilinear": (lambda: nn.Bilinear(20, 15, 30), 300, 30),
}
DRAWN = [row for row in INITIALIZERS if row.variance is not None]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("row", DRAWN, ids=lambda r: r.name)
def test_weights_have_the_variance_of_the_row(row: Initializer, layer: str) -> None:
    torch.manual_seed(0)
    make, fan_in, fan_out = LAYERS[layer]
    module = make()
    name = "kaiming_normal" if row.name == "zero_gamma" else row.name  # the same, but for ends of residual branches
    initialize(nn.Sequential(module), name, gain=1.3 if row.gained else "auto")
    assert isinstance(module.weight, torch.Tensor)
    weight = module.weight.detach()
    assert row.variance is not None
    wanted = row.variance(Block(fan_in, fan_out, 1.3 if row.gained else 1.0), Options())
    spread = 8 * math.sqrt(2 / weight.numel())  # of the variance of n normal draws, eight times
    assert float(weight.var(correction=0)) == pytest.approx(wanted, rel=spread, abs=1e-12)
    assert abs(float(weight.mean())) <= 6 * math.sqrt(wanted / weight.numel()) + 1e-9


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        # He et al. 2015: the 2 is inside the root; a slide has 2 / sqrt(fan_in), twice as much
        ("kaiming_normal", lambda n, m: np.sqrt(2.0 / n)),
        ("kaiming_uniform", lambda n, m: np.sqrt(2.0 / n)),
        # Glorot and Bengio 2010, eq. 12 and 16: both fans; the slides' Xavier is LeCun's 1 / fan_in
        ("xavier_normal", lambda n, m: np.sqrt(2.0 / (n + m))),
        ("xavier_uniform", lambda n, m: np.sqrt(6.0 / (n + m)) / np.sqrt(3.0)),
        ("lecun_normal", lambda n, m: 1.0 / np.sqrt(n)),
        ("lecun_uniform", lambda n, m: 1.0 / np.sqrt(n)),
    ],
)
def test_standard_deviations_are_those_of_the_papers(name: str, reference: Callable[[int, int], float]) -> None:
    n, m = 400, 100
    torch.manual_seed(1)
    layer = nn.Linear(n, m)
    initialize(nn.Sequential(layer, nn.ReLU()), name)
    assert float(layer.weight.detach().std()) == pytest.approx(reference(n, m), rel=0.02)


@pytest.mark.parametrize("name", ["xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform"])
def test_linear_layers_get_what_torch_gives(name: str) -> None:
    layer, twin = nn.Linear(50, 70), torch.empty(70, 50)
    initialize(nn.Sequential(layer, nn.ReLU()), name, generator=torch.Generator().manual_seed(3))
    how: dict[str, Any] = {"nonlinearity": "relu"} if name.startswith("kaiming") else {}
    getattr(nn.init, f"{name}_")(twin, **how, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(layer.weight.detach(), twin)


def test_kaiming_keeps_the_signal_or_the_gradient() -> None:
    torch.manual_seed(0)
    for mode, dims in (("fan_in", 200), ("fan_out", 50)):
        layer = nn.Linear(200, 50)
        initialize(nn.Sequential(layer, nn.ReLU()), "kaiming_normal", mode=mode)  # type: ignore[arg-type]
        assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / dims), rel=0.03)


def test_a_transposed_convolution_keeps_the_mean_square_where_torchs_own_fans_do_not() -> None:
    torch.manual_seed(0)
    x, layer = torch.randn(16, 64, 9, 9), nn.ConvTranspose2d(64, 32, 4, stride=2, bias=False)
    initialize(nn.Sequential(layer), "lecun_normal")
    ours = float(layer(x).detach()[..., 4:-4, 4:-4].square().mean())
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    torchs = float(layer(x).detach()[..., 4:-4, 4:-4].square().mean())
    assert ours == pytest.approx(1.0, rel=0.1)
    assert torchs == pytest.approx(0.5, rel=0.1)  # in / (stride^2 * out) of what it should be


def test_grouped_convolutions_keep_the_gradient_under_fan_out() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False)
    initialize(nn.Sequential(layer), "kaiming_normal", mode="fan_out", gain=1.0)
    x = torch.randn(4, 64, 12, 12, requires_grad=True)
    layer(x).backward(torch.randn(4, 64, 12, 12))
    assert x.grad is not None
    assert float(x.grad[..., 2:-2, 2:-2].square().mean()) == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12)])
def test_orthogonal_rows_or_columns(shape: tuple[int, int]) -> None:
    layer = nn.Linear(shape[1], shape[0])
    initialize(nn.Sequential(layer), "orthogonal")
    w = layer.weight.detach()
    gram = w @ w.T if shape[0] <= shape[1] else w.T @ w
    torch.testing.assert_close(gram, torch.eye(min(shape)), atol=1e-5, rtol=0)


def test_orthogonal_in_half_precision() -> None:
    layer = nn.Linear(8, 8).to(torch.bfloat16)
    initialize(nn.Sequential(layer), "orthogonal")
    torch.testing.assert_close((layer.weight @ layer.weight.T).float(), torch.eye(8), atol=0.05, rtol=0)


def test_identity_passes_the_input_on() -> None:
    x, image = torch.randn(3, 7), torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(initialize(nn.Sequential(nn.Linear(7, 7)), "identity")(x), x)
    torch.testing.assert_close(initialize(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), "identity")(image), image)


def test_truncated_normal_has_nothing_beyond_two_deviations() -> None:
    layer = nn.Linear(200, 200)
    initialize(nn.Sequential(layer), "truncated_normal", std=0.1)
    assert 0.19 < float(layer.weight.detach().abs().max()) <= 0.2


def test_names_are_unique_and_unknown_ones_are_told() -> None:
    names = [row.name for row in INITIALIZERS]
    assert len(set(names)) == len(names)
    assert all(row.source and row.formula and row.nonlinearity for row in INITIALIZERS)
    with pytest.raises(ValueError, match=r"initializer 'kaiming' is none of .*; did you mean 'kaiming_normal'\?"):
        initializer("kaiming")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"std": 0.0}, "std must be a finite number above 0, got 0.0"), ({"std": float("nan")}, "std must be a finite"),
     ({"bound": -1.0}, "bound must be"), ({"mode": "fan"}, "mode 'fan' is none of fan_in, fan_out; did you mean"),
     ({"value": float("inf")}, "value must be a finite number")],
)  # fmt: skip
def test_absurd_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**options)
