"""Layers and parameters that a model uses but has not registered."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from torch import Tensor, nn

from lightning_diag.graph import clean

_DEPTH, _MOST_ITEMS = 3, 256


def unregistered(root: nn.Module, owned: Collection[int] = ()) -> Iterator[dict[str, Any]]:
    """Yield what is known of layers and parameters that plain containers hide.

    A list, tuple or dict of modules, parameters or tensors that require gradients, or such a tensor as an attribute,
    is not seen by ``parameters()``: an optimizer never gets it, ``to(device)`` and checkpoints leave it out. What is
    registered elsewhere in the model as well is none; nor is what an optimizer holds, by id in ``owned``. After a
    backward pass ``with_gradient`` says how many of the tensors the loss depends on.
    """
    known = set(owned) | {id(p) for p in root.parameters()} | {id(b) for b in root.buffers()}
    modules = {id(m) for m in root.modules()}
    for name, module in root.named_modules():
        for attribute, value in vars(module).items():
            if attribute.startswith("_") and attribute in _INTERNAL:
                continue
            hidden = [p for p in _hidden(value, modules) if id(p) not in known]
            if hidden:
                yield {
                    "owner": clean(name),
                    "attribute": attribute,
                    "kind": type(value).__name__,
                    "tensors": len(hidden),
                    "with_gradient": sum(p.grad is not None for p in hidden),
                    "elements": sum(p.numel() for p in hidden),
                }


_INTERNAL: Final = frozenset({"_parameters", "_buffers", "_modules", "_trainer", "_fabric", "_metric_attributes"})


def _hidden(value: Any, modules: set[int], depth: int = 0) -> Iterator[Tensor]:
    if isinstance(value, nn.Module):
        if depth > 0 and id(value) not in modules:
            yield from (p for p in value.parameters() if p.requires_grad)
    elif isinstance(value, Tensor):
        if value.requires_grad and value.is_leaf:
            yield value
    elif depth < _DEPTH:
        if isinstance(value, Mapping):
            for item in list(value.values())[:_MOST_ITEMS]:
                yield from _hidden(item, modules, depth + 1)
        elif isinstance(value, (list, tuple, set)):
            for item in list(value)[:_MOST_ITEMS]:
                yield from _hidden(item, modules, depth + 1)
