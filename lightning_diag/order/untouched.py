"""Run a model without leaving a trace in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_PLAIN = (list, dict, set)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Run the body without gradients; then put back buffers, modes, attributes and the state of random numbers.

    What a LightningModule logs meanwhile goes nowhere.

    Attributes that are lists, dicts or sets get their elements back; what lies deeper is not copied.
    """
    states = [(module, dict(module.__dict__), _contents(module)) for module in model.modules()]
    buffers = [(b, b.detach().clone()) for b in model.buffers() if b.device.type != "meta"]
    devices = sorted({t.device.index or 0 for t in (*model.parameters(), *model.buffers()) if t.device.type == "cuda"})
    _silence(model)
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            yield
    finally:
        for module, attributes, contents in states:
            _put_back(module, attributes, contents)
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def _silence(model: nn.Module) -> None:
    """Let what a LightningModule logs in its forward go nowhere; put back with the other attributes."""
    for module in model.modules():
        if callable(getattr(module, "log_dict", None)) and hasattr(module, "automatic_optimization"):
            module.__dict__.update(dict.fromkeys(("log", "log_dict"), _nothing))


def _nothing(*_: Any, **__: Any) -> None:
    """Take whatever was to be logged."""


def _contents(module: nn.Module) -> list[tuple[Any, Any]]:
    return [(value, copy.copy(value)) for value in module.__dict__.values() if type(value) in _PLAIN]


def _put_back(module: nn.Module, attributes: dict[str, Any], contents: list[tuple[Any, Any]]) -> None:
    for name in module.__dict__.keys() - attributes.keys():
        del module.__dict__[name]
    module.__dict__.update(attributes)
    for container, elements in contents:
        if isinstance(container, list):
            container[:] = elements
        else:
            container.clear()
            container.update(elements)
