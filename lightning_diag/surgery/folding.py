"""The arithmetic of folding a BatchNorm into a layer, and when it holds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from lightning_diag.order import Order
from lightning_diag.surgery.places import axes_of


def folded(layer: nn.Module, norm: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    """Return weight and bias of a layer that does what the layer and the norm in evaluation do together.

    Computed in float64, returned in the type of the layer.
    """
    old: Any = layer
    batchnorm: Any = norm
    scale = torch.rsqrt(batchnorm.running_var.double() + batchnorm.eps)
    if batchnorm.weight is not None:
        scale = scale * batchnorm.weight.detach().double()
    shift = -batchnorm.running_mean.double() * scale
    if old.bias is not None:
        shift = shift + old.bias.detach().double() * scale
    if batchnorm.bias is not None:
        shift = shift + batchnorm.bias.detach().double()
    weight = _scaled(layer, old.weight.detach().double(), scale)
    return nn.Parameter(weight.to(old.weight.dtype)), nn.Parameter(shift.to(old.weight.dtype))


def _scaled(layer: nn.Module, weight: Tensor, scale: Tensor) -> Tensor:
    """Return the weight with each output channel scaled; that of a transposed convolution has them on axis 1."""
    if not isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    groups = layer.groups
    grouped = weight.reshape(groups, -1, *weight.shape[1:])  # group, input, output in it, kernel
    per_group = scale.reshape(groups, 1, -1, *[1] * (weight.dim() - 2))
    return (grouped * per_group).reshape(weight.shape)


def why_not_foldable(model: nn.Module, order: Order, norm: nn.Module) -> nn.Module | str:
    """Return the layer into which a BatchNorm can be folded, or why there is none."""
    if getattr(norm, "running_mean", None) is None:
        return "it keeps no running statistics"
    layer = _before(order, norm)
    if isinstance(layer, str):
        return layer
    if is_parametrized(layer):
        return "the layer before it is parametrized"
    shared = sum(p is layer._parameters["weight"] for m in model.modules() for p in m._parameters.values())
    name = next(name for name, module in model.named_modules() if module is layer)
    if shared > 1 or {f"{name}.weight", f"{name}.bias"} & order.read:
        return f"the weight of {name} is used elsewhere too"
    return layer


def _before(order: Order, norm: nn.Module) -> nn.Module | str:
    for module, calls in order.by_module.items():
        if module._modules.get("norm") is norm:
            if axes_of(module) is None:
                return "an activation stands before it"
            return module if len(calls) == 1 else "the layer before it is called several times"
    calls = order.by_module.get(norm, ())
    if len(calls) != 1:
        return "it is called several times" if calls else "it is not called in the forward pass"
    before = order.calls[calls[0].inputs[0]]
    if before.module is None or axes_of(before.module) is None:
        return f"not a layer but {before.what} stands before it"
    if len(order.by_module[before.module]) > 1:
        return "the layer before it is called several times"
    if len(order.users[before.index]) > 1 or before.index in order.outputs:
        return "the result of the layer before it is used elsewhere too"
    return before.module
