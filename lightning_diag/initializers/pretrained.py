"""Which weights must not be touched: those that were marked, and those that torch has not just made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import nn

_MARK: Final = "lightning_diag_pretrained"
_DONE: Final = "lightning_diag_initialized"


def mark_pretrained(module: nn.Module) -> nn.Module:
    """Mark a module, and all in it, as pretrained: ``initialize`` leaves it alone. The mark is a plain attribute.

    Example:
        >>> backbone = mark_pretrained(nn.Linear(2, 2))
        >>> is_pretrained(backbone)
        True
    """
    for part in module.modules():
        setattr(part, _MARK, True)
    return module


def is_pretrained(module: nn.Module) -> bool:
    """Return whether a module was marked as pretrained."""
    return bool(getattr(module, _MARK, False))


def mark_initialized(model: nn.Module, scheme: str) -> None:
    """Write down that a model was initialized, so that it is not done again behind its training."""
    setattr(model, _DONE, scheme)


def initialized_by(model: nn.Module) -> str:
    """Return the scheme that a model was initialized with, "" if it was not."""
    return str(getattr(model, _DONE, ""))


def altered_layers(model: nn.Module) -> list[str]:
    """Return the names of layers whose weights are not as torch makes them: trained, loaded or set by hand.

    Linear layers, convolutions and recurrent layers of torch draw from U(-b, b) with b = 1 / sqrt(inputs). Weights
    beyond b, or whose spread is not that of this distribution, are something else. Marked, frozen, parametrized and
    lazy layers, and those that share the weights of an embedding, are not looked at. Few numbers tell little: a layer
    with less than 64 counts only by its bound.
    """
    shared = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    parts = model.named_modules()
    return [name for name, module in parts if not is_pretrained(module) and _is_altered(module, shared)]


def _is_altered(module: nn.Module, shared: set[int]) -> bool:
    for weight, bound in _drawn(module):
        values = weight.detach().float()
        if not weight.requires_grad or id(weight) in shared or values.device.type == "meta":
            continue
        largest, n = float(values.abs().max()), values.numel()
        if largest > bound * (1 + 1e-5) or not math.isfinite(largest):
            return True
        # the mean square of n draws from U(-b, b) is b^2 / 3 up to a relative spread of sqrt(0.8 / n)
        if n >= 64 and abs(float(values.square().mean()) * 3 / bound**2 - 1) > 8 * math.sqrt(0.8 / n):
            return True
    return False


def _drawn(module: nn.Module) -> Iterator[tuple[torch.Tensor, float]]:
    """Yield the weights that torch draws from U(-b, b), with b; the fan of a convolution is that which torch takes."""
    parameters = module._parameters
    lazy = any(isinstance(p, nn.parameter.UninitializedParameter) for p in parameters.values())
    if lazy:
        return
    if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
        weight = parameters.get("weight")
        if weight is not None and weight.numel():
            yield weight, 1 / math.sqrt(weight[0].numel())
    elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        for name, weight in parameters.items():
            if weight is not None and name.startswith("weight") and weight.numel():
                yield weight, 1 / math.sqrt(module.hidden_size)
