"""The module of a LightningModule that surgery is done on, and an input of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn


class Target(NamedTuple):
    """A module, its name in the LightningModule, and an example of its input, None if there is none."""

    module: nn.Module
    name: str
    example_inputs: Any


def find_target(pl_module: Any, name: str, example_inputs: Any) -> Target:
    """Return the module to operate on: the one named, else the LightningModule, else its only child with layers.

    Args:
        pl_module: the LightningModule. Where it has no ``forward`` of its own its only child with parameters is
            taken. Its ``example_input_array`` is used if no inputs are given and it belongs to what is operated on.
        name: of a module in it; "" to find it.
        example_inputs: an input of the module operated on, or None.

    Raises:
        ValueError: if there is no such module, or several could be meant.
    """
    modules = dict(pl_module.named_modules())
    if name:
        if name not in modules:
            children = ", ".join(n for n, _ in pl_module.named_children()) or "none"
            raise ValueError(f"target={name!r} is no module of {type(pl_module).__name__}; its children: {children}")
        return Target(modules[name], name, example_inputs)
    if example_inputs is None:
        example_inputs = getattr(pl_module, "example_input_array", None)
    if type(pl_module).forward.__qualname__ != "LightningModule.forward":
        return Target(pl_module, "", example_inputs)
    able = [(n, m) for n, m in pl_module.named_children() if any(True for _ in m.parameters())]
    if len(able) == 1:
        return Target(able[0][1], able[0][0], example_inputs)
    if not able:
        raise ValueError(
            f"{type(pl_module).__name__} has no layers yet. If it builds them in configure_model, which runs after the "
            "setup of callbacks, call the function of lightning_diag.surgery at the end of configure_model"
        )
    raise ValueError(
        f"{type(pl_module).__name__} has no forward, and several parts: {', '.join(n for n, _ in able)}; choose by "
        "target="
    )


def batch_size_of(batch: Any) -> int | None:
    """Return the length of the first tensor in a batch, None if there is none."""
    if hasattr(batch, "shape") and len(batch.shape):
        return int(batch.shape[0])
    values = batch.values() if hasattr(batch, "values") else batch if isinstance(batch, (list, tuple)) else ()
    return next((size for size in map(batch_size_of, values) if size is not None), None)
