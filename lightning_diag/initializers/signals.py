"""The signal through depth before the first step: measured layer by layer, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_diag.graph import clean
from lightning_diag.initializers.parts import weight_parts
from lightning_diag.initializers.plans import weight_of
from lightning_diag.initializers.surroundings import entry
from lightning_diag.order import Call, Order
from lightning_diag.order.recorded import record, tensors
from lightning_diag.order.untouched import untouched
from lightning_diag.statistics.units import BOUNDED, flat_part

_THROUGH: Final = frozenset({"shape", "pool", "scale", "dropout", "concat", "norm", "sum"})
_KINDS: Final = ("layer", "recurrent", "attention", "embedding")
_QUIET: Final = (nn.modules.dropout._DropoutNd, nn.MultiheadAttention)  # what draws random numbers in training
NAN: Final = float("nan")


@dataclass(frozen=True)
class LayerSignal:
    """What comes out of one layer; z is its output, f(z) that of the activation behind it (z where none follows).

    Attributes:
        site: qualified name of the layer.
        type: its class.
        activation: kind of the activation, "linear" if none.
        scale: n V(w), n the inputs that one unit adds up; NaN for what is no layer of one weight.
        growth: n V(w) E[f(z)^2] / V(z): by how much the mean square grows from the layer's input to f(z); 1 keeps it.
        z_mean: mean of z.
        z_std: standard deviation of z.
        mean: mean of f(z).
        std: standard deviation of f(z).
        rms: root mean square of f(z).
        zero: share of f(z) that is exactly 0.
        saturated: share of f(z) where the slope is below 5 % of its largest; NaN for unbounded activations.
        gradient: RMS of the gradient with respect to z, for a gradient of RMS 1 at the output; NaN if not measured.
    """

    site: str
    type: str
    activation: str
    scale: float
    growth: float
    z_mean: float
    z_std: float
    mean: float
    std: float
    rms: float
    zero: float
    saturated: float
    gradient: float


@dataclass(frozen=True)
class _Numbers:
    mean: float
    std: float
    zero: float
    saturated: float

    @property
    def square(self) -> float:
        return self.std**2 + self.mean**2


class _Meter:
    """Takes the numbers of every layer and activation while the model runs."""

    def __init__(self) -> None:
        self.numbers: dict[int, _Numbers] = {}
        self.gradients: dict[int, float] = {}

    def look(self, call: Call, out: tuple[Tensor, ...]) -> None:
        values = out[0]
        if call.kind not in (*_KINDS, "activation") or not values.is_floating_point():
            return
        kind = call.what if call.kind == "activation" else ""
        self.numbers[call.index] = _numbers(values.detach(), kind, call.module)
        if call.kind != "activation" and values.requires_grad:
            values.register_hook(self._taker(call.index))  # type: ignore[no-untyped-call]

    def _taker(self, index: int) -> Any:
        def take(gradient: Tensor) -> None:
            self.gradients[index] = float(gradient.detach().float().square().mean().sqrt())

        return take


def measure(model: nn.Module, example_inputs: Any, *, backward: bool = True) -> tuple[LayerSignal, ...]:
    """Return the signal of every layer that runs, in order of execution.

    One forward pass with normalization as in training and dropout off, and one backward pass from a random gradient
    of RMS 1. Parameters, buffers, modes, gradients and random state stay as they are.

    Raises:
        ValueError: the model cannot run on the inputs.
    """
    model, meter = entry(model), _Meter()
    outputs: list[Tensor] = []
    with untouched(model):
        model.train()
        for module in model.modules():
            if isinstance(module, _QUIET):
                module.eval()
        handle = model.register_forward_hook(lambda m, a, out: outputs.extend(tensors(out)))
        try:
            with torch.set_grad_enabled(backward):
                order = record(model, example_inputs, meter.look)
                if backward:
                    _send_back(model, outputs)
        except Exception as error:
            raise ValueError(
                f"{type(model).__name__} cannot run on the example inputs: {type(error).__name__}: {error}"
            ) from error
        finally:
            handle.remove()
    return tuple(_signals(order, meter))


def _send_back(model: nn.Module, outputs: list[Tensor]) -> None:
    ends = [t for t in outputs if t.requires_grad and t.is_floating_point()]
    weights = [p for p in model.parameters() if p.requires_grad]
    if ends and weights:
        gradients = [torch.randn_like(t) for t in ends]
        torch.autograd.grad(ends, weights, gradients, allow_unused=True)


def _signals(order: Order, meter: _Meter) -> Iterator[LayerSignal]:
    for call in order.calls:
        z = meter.numbers.get(call.index)
        if call.kind not in _KINDS or z is None or call.module is None:
            continue
        follower = next((c for c in order.after(call.index, _THROUGH) if c.kind == "activation"), None)
        hidden = follower is not None and "softmax" not in follower.what and follower.index in meter.numbers
        y = meter.numbers[follower.index] if follower is not None and hidden else z
        scale = _scale(call.module)
        variance = z.std**2
        yield LayerSignal(
            site=clean(call.site), type=type(call.module).__name__,
            activation=follower.what if follower is not None and hidden else "linear", scale=scale,
            growth=scale * y.square / variance if variance > 0 else NAN,
            z_mean=z.mean, z_std=z.std, mean=y.mean, std=y.std, rms=math.sqrt(y.square), zero=y.zero,
            saturated=y.saturated, gradient=meter.gradients.get(call.index, NAN),
        )  # fmt: skip


def _scale(module: nn.Module) -> float:
    """Return n V(w) of a layer with one weight."""
    parts = [p for p in weight_parts(module) if p.kind == "layer"]
    if len(parts) != 1:
        return NAN
    with torch.no_grad():
        return parts[0].fan_in * float(weight_of(module, parts[0].parameter).double().var(correction=0))


def _numbers(values: Tensor, kind: str, module: nn.Module | None) -> _Numbers:
    wide = values.float()
    std, mean = torch.std_mean(wide, correction=0)
    saturated = NAN
    if kind in BOUNDED:
        usual = {"hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0)}.get(kind, (0.0, 1.0))
        low, high = getattr(module, "min_val", usual[0]), getattr(module, "max_val", usual[1])
        saturated = float(flat_part(wide, kind, low, high).float().mean())
    return _Numbers(float(mean), float(std), float((wide == 0).float().mean()), saturated)
