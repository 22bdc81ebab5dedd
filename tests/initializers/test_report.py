"""The signal through depth: the lectures' numbers, and that measuring changes nothing."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lightning_diag.initializers import LayerSignal, init_report, initialize, measure
from tests.initializers.models import MODELS


def deep(activation: type[nn.Module], width: int, depth: int) -> nn.Sequential:
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width, bias=False), activation())]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("activation", "arguments", "rms"),
    [
        (nn.Tanh, {"scheme": "normal", "std": 0.01}, 0.007),
        (nn.Tanh, {"scheme": "lecun_normal"}, 0.29),  # the slides' Xavier
        (nn.Tanh, {"scheme": "normal", "std": 0.1}, 0.90),
        (nn.ReLU, {"scheme": "lecun_normal"}, 0.13),
        (nn.ReLU, {"scheme": "kaiming_normal"}, 1.0),
        (nn.ReLU, {"scheme": "normal", "std": 2 / math.sqrt(2048)}, 8.0),  # the slide with the 2 outside the root
    ],
)
def test_six_layers_of_2048_units(activation: type[nn.Module], arguments: dict[str, Any], rms: float) -> None:
    torch.manual_seed(2)
    net = initialize(deep(activation, 2048, 6), **arguments)
    signals = measure(net, torch.randn(128, 2048), backward=False)
    assert signals[-1].rms == pytest.approx(rms, rel=0.1)
    if arguments.get("std") == 0.1:
        assert signals[-1].saturated == pytest.approx(0.59, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "scale", "std"),
    [
        ({"scheme": "uniform", "bound": 0.05}, 0.027, 0.004),
        ({"scheme": "uniform", "bound": 0.5}, 2.67, 0.64),
        ({"scheme": "lecun_normal"}, 1.0, 0.41),
    ],
)
def test_three_layers_of_32_tanh_units(arguments: dict[str, Any], scale: float, std: float) -> None:
    scales, stds = [], []
    for seed in range(40):  # one draw of 32 units is far from its mean
        torch.manual_seed(seed)
        net = initialize(deep(nn.Tanh, 32, 3), **arguments)
        last = measure(net, torch.randn(100, 32), backward=False)[-1]
        scales.append(last.scale)
        stds.append(last.std)
    assert np.mean(scales) == pytest.approx(scale, rel=0.05)
    assert np.mean(stds) == pytest.approx(std, rel=0.1)


def reference(net: nn.Sequential, x: np.ndarray[Any, Any]) -> list[tuple[float, ...]]:
    """(n V(w), growth, std of z, mean, std, RMS, zero share) of each tanh or relu layer, in numpy."""
    rows = []
    for linear, act in zip(net[::2], net[1::2], strict=True):
        w = linear.weight.detach().double().numpy()
        z = x @ w.T
        x = np.tanh(z) if isinstance(act, nn.Tanh) else np.maximum(z, 0)
        scale = w.shape[1] * w.var()
        growth = scale * (x**2).mean() / z.var()
        rows.append((scale, growth, z.std(), x.mean(), x.std(), np.sqrt((x**2).mean()), (x == 0).mean()))
    return rows


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_numbers_are_those_of_numpy(activation: type[nn.Module]) -> None:
    torch.manual_seed(0)
    net, x = deep(activation, 24, 4), torch.randn(50, 24)
    for signal, row in zip(measure(net, x), reference(net, x.double().numpy()), strict=True):
        found = (signal.scale, signal.growth, signal.z_std, signal.mean, signal.std, signal.rms, signal.zero)
        assert found == pytest.approx(row, rel=1e-4, abs=1e-6)


def test_gradients_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    net, x = deep(nn.Tanh, 16, 3), torch.randn(400, 16)
    found = [s.gradient for s in measure(net, x)]
    gradient, rms = torch.randn(400, 16), list[float]()
    with torch.no_grad():
        outs = [x]
        for layer in net:
            outs.append(layer(outs[-1]))
        for i in (5, 3, 1):
            gradient = gradient * (1 - outs[i + 1] ** 2)
            rms.insert(0, float(gradient.square().mean().sqrt()))
            gradient = gradient @ net[i - 1].weight
    assert found == pytest.approx(rms, rel=0.05)


@pytest.mark.parametrize("model", MODELS)
def test_measuring_changes_nothing(model: str) -> None:
    torch.manual_seed(0)
    make, inputs = MODELS[model]
    net, x = make(), inputs()
    state, random, modes = copy.deepcopy(net.state_dict()), torch.get_rng_state(), [m.training for m in net.modules()]
    signals = measure(net, x)
    assert torch.equal(random, torch.get_rng_state())
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert len(signals) >= 3 and all(math.isfinite(s.rms) for s in signals)
    assert all(math.isfinite(s.gradient) for s in signals if s.type in ("Linear", "Conv2d"))


def test_a_functional_in_place_activation_does_not_overwrite_what_is_measured() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu_(self.layer(x))

    signal = measure(InPlace(), torch.randn(64, 8))[0]
    assert signal.activation == "relu"
    assert abs(signal.z_mean) < 0.3 < signal.z_std
    assert signal.zero == pytest.approx(0.5, abs=0.15)


def test_schemes_are_tried_on_copies_and_shown() -> None:
    torch.manual_seed(0)
    net, x = deep(nn.Tanh, 32, 3), torch.randn(64, 32)
    before = copy.deepcopy(net.state_dict())
    report = init_report(net, x, ["lecun_normal", {"scheme": "normal", "std": 0.01}])
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert list(report.signals) == ["as it is", "lecun_normal", "normal std=0.01"]
    text = str(report)
    assert all(word in text for word in ("lecun_normal", "0 tanh", "nV(w)", "growth", "grad"))
    assert report.layer("lecun_normal", "2").rms > 10 * report.layer("normal std=0.01", "2").rms
    with pytest.raises(KeyError, match="no layer '7'; there are 0, 2, 4"):
        report.layer("lecun_normal", "7")
    with pytest.raises(ValueError, match="did you mean 'lecun_"):
        init_report(net, x, "lecun")


def test_the_picture_has_a_panel_a_statistic_and_a_colour_a_line(tmp_path: Path) -> None:
    net, x = deep(nn.ReLU, 16, 3), torch.randn(64, 16)
    both = init_report(net, x, ["kaiming_normal"]).picture(tmp_path / "signal.png")
    assert (tmp_path / "signal.png").read_bytes() == both
    forward = init_report(net, x, ["kaiming_normal"], backward=False).picture()
    image, narrow = Image.open(io.BytesIO(both)), Image.open(io.BytesIO(forward))
    assert image.width > narrow.width, "without gradients there is no panel for them"
    colours = {tuple(c) for c in np.asarray(image.convert("RGB")).reshape(-1, 3)}
    assert {(31, 119, 180), (214, 96, 20)} <= colours


def test_inputs_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match="Sequential cannot run on the example inputs"):
        measure(deep(nn.Tanh, 4, 1), torch.ones(2, 3))


def test_a_frozen_model_has_no_gradient() -> None:
    net = deep(nn.Tanh, 4, 2).requires_grad_(False)
    signals: tuple[LayerSignal, ...] = measure(net, torch.randn(8, 4))
    assert all(math.isnan(s.gradient) and math.isfinite(s.rms) for s in signals)
