"""Layer-sequential unit variance: each layer is scaled until its output has variance 1 on given data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.initializers.plans import weight_of
from lightning_diag.order.recorded import arguments, tensors
from lightning_diag.order.untouched import untouched


def scale_to_unit_variance(
    model: nn.Module, layers: list[nn.Module], example_inputs: Any, *, tolerance: float = 0.02, most_passes: int = 10
) -> None:
    """Scale the weights of each layer, in order of execution, until its output has variance 1.

    The model runs in eval mode without gradients; buffers, modes and random state stay as they were.

    Args:
        model: the model, initialized with orthogonal weights and zero biases.
        layers: its layers in order of execution.
        example_inputs: what the model is called with; some hundred samples.
        tolerance: largest |variance - 1|.
        most_passes: forward passes a layer.

    Raises:
        ValueError: the output of a layer is constant or not finite, so that no scale gives it variance 1.

    Source:
        Mishkin and Matas, All You Need Is a Good Init (2016), algorithm 1.
    """
    names = {module: name for name, module in model.named_modules()}
    with untouched(model):
        model.eval()
        for layer in layers:
            _scale(model, layer, names[layer], example_inputs, tolerance, most_passes)


def _scale(
    model: nn.Module, layer: nn.Module, name: str, example_inputs: Any, tolerance: float, most_passes: int
) -> None:
    for _ in range(most_passes):
        variance = _output_variance(model, layer, example_inputs)
        if variance is None:
            return  # this layer does not run on these inputs
        if not 1e-20 < variance < 1e20:
            raise ValueError(
                f"no scale gives the output of {name} variance 1: on the example inputs it is {variance:.3g}"
            )
        if abs(variance - 1) <= tolerance:
            return
        weight = weight_of(layer, "weight")
        with torch.no_grad():
            if weight.is_leaf:
                weight.div_(variance**0.5)
            else:
                layer.weight = weight / variance**0.5


def _output_variance(model: nn.Module, layer: nn.Module, example_inputs: Any) -> float | None:
    seen: list[float] = []

    def look(_: nn.Module, __: Any, out: Any) -> None:
        values: Tensor = next(tensors(out))
        seen.append(float(values.detach().double().var(correction=0)))

    args, kwargs = arguments(model, example_inputs)
    handle = layer.register_forward_hook(look)
    try:
        model(*args, **kwargs)
    finally:
        handle.remove()
    return seen[0] if seen else None
