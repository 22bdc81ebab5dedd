"""The role of every layer and activation, read from the order of execution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

from torch import nn

from lightning_diag.order.calls import Call, Order
from lightning_diag.order.inside import attending, gating, looping
from lightning_diag.order.kinds import BOUNDED, holds_norm
from lightning_diag.order.tracing import trace

Inside = Literal["", "attention", "gate", "recurrence"]
_LAYERS: Final = frozenset({"layer", "affine", "recurrent", "attention", "matmul", "embedding"})
_CELLS: Final = ("rnncell", "lstmcell", "grucell", "recurrentcell")
_KEEPING: Final = frozenset({"shape", "pool", "scale", "dropout", "concat"})  # values keep their meaning
_UNSTOPPED: Final = frozenset({*_KEEPING, "activation", "norm", "sum", "product", "other"})


@final
@dataclass(frozen=True)
class LayerRole:
    """What a linear layer or convolution is in its model.

    Attributes:
        name: qualified name of the module; its first one, if it has several.
        module: the layer.
        role: "output" if its result reaches an output of the model with no other layer between, else "hidden".
        activation: kind of the activation that follows, through normalization, pooling, dropout, reshaping and
            residual sums ("relu", also where it is a function); "linear" if a layer or the output follows with
            nothing nonlinear between, "" if what follows is not known.
        calls: indices of its calls in the order.
        normalized: whether what it puts out is normalized before it is used, or the residual block that it ends is.
        inside: "attention" (a projection around a product of matrices), "gate" (it weighs other values, as in
            squeeze-and-excitation), "recurrence" (it is called on its own result), else "".
    """

    name: str
    module: nn.Module = field(repr=False)
    role: Literal["hidden", "output"]
    activation: str
    calls: tuple[int, ...]
    normalized: bool
    inside: Inside = ""


@final
@dataclass(frozen=True)
class ActivationRole:
    """What an activation is in its model: a module with all its calls, or one call of a function.

    Attributes:
        name: name of the module; of a function, "module that calls it: kind".
        module: the module, None for a function.
        kind: "relu", "sigmoid", ...
        role: "hidden" (between layers), "output" (nothing learned behind it), "input" (nothing learned ahead of it),
            "gate" (bounded, and its result multiplies other values), "attention".
        calls: indices of its calls in the order.
    """

    name: str
    module: nn.Module | None = field(repr=False)
    kind: str
    role: Literal["hidden", "output", "input", "gate", "attention"]
    calls: tuple[int, ...]


def layer_roles(
    model: nn.Module, example_inputs: Any = None, *, names: Iterable[str] | None = None
) -> tuple[LayerRole, ...]:
    """Return the role of every linear layer and convolution of a model that runs, in order of execution.

    Args: as those of ``trace``.

    Raises:
        Untraceable: (a ValueError) if the order of execution cannot be found.
    """
    return roles(model, trace(model, example_inputs, names=names))


def roles(model: nn.Module, order: Order) -> tuple[LayerRole, ...]:
    """Return the role of every layer in an order of execution that has been traced."""
    gates, found = gating(order), []
    parts = dict(model.named_modules())
    for module, calls in order.by_module.items():
        if calls[0].kind != "layer":
            continue
        inside: Inside = ""
        if attending(order, calls) or _named_after(parts, calls[0].site, ("attention", "attn")):
            inside = "attention"
        elif looping(order, calls) or _named_after(parts, calls[0].site, _CELLS):
            inside = "recurrence"
        elif any(c.index in gates for c in calls):
            inside = "gate"
        found.append(
            LayerRole(
                calls[0].site,
                module,
                "output" if any(reaches_output(order, c.index) for c in calls) else "hidden",
                next((a for a in (activation_after(order, c.index) for c in calls) if a), ""),
                tuple(c.index for c in calls),
                holds_norm(module) or any(is_normalized(order, c.index) for c in calls),
                inside,
            )
        )
    return tuple(found)


def activation_roles(order: Order, *, each_call: bool = False) -> tuple[ActivationRole, ...]:
    """Return the role of every activation in an order of execution: modules and functions.

    Args:
        order: the order.
        each_call: whether each call of a module that is called several times has a role of its own, named ``act#1``,
            ``act#2``.
    """
    modules = [(m, calls) for m, calls in order.by_module.items() if calls[0].kind == "activation"]
    if each_call:
        modules = [(m, (c,)) for m, calls in modules for c in calls]
    alone = [(None, (c,)) for c in order.calls if c.kind == "activation" and c.module is None]
    found = []
    for module, calls in sorted([*modules, *alone], key=lambda x: x[1][0].index):
        name = _name_of(order, module, calls)
        each = [_activation_role(order, c) for c in calls]
        role = next((r for r in ("attention", "gate", "output", "input") if r in each), "hidden")
        found.append(ActivationRole(name, module, calls[0].what, role, tuple(c.index for c in calls)))  # type: ignore[arg-type]
    return tuple(found)


def _name_of(order: Order, module: nn.Module | None, calls: tuple[Call, ...]) -> str:
    first = calls[0]
    if module is None:
        return f"{first.site or 'forward'}: {first.what}"
    every = order.by_module[module]
    return first.site if len(every) == len(calls) else f"{first.site}#{every.index(first) + 1}"


def _activation_role(order: Order, call: Call) -> str:
    if "softmax" in call.what and any(c.kind == "matmul" for c in order.after(call.index, _KEEPING)):
        return "attention"
    bounded = call.what in BOUNDED
    if bounded and any(c.kind == "product" for c in order.after(call.index, {"shape", "scale", "dropout"})):
        return "gate"
    if reaches_output(order, call.index):
        return "output"
    return "hidden" if any(c.kind in _LAYERS for c in order.before(call.index, _UNSTOPPED)) else "input"


def reaches_output(order: Order, index: int) -> bool:
    """Return whether the result of a call reaches an output of the model with no other layer between."""
    return index in order.outputs or any(
        c.index in order.outputs and c.kind not in _LAYERS for c in order.after(index, _UNSTOPPED)
    )


def activation_after(order: Order, index: int) -> str:
    """Return the kind of the activation that follows a call, "linear" if there is none, "" if it is not known."""
    unknown = False
    for call in order.after(index, {*_KEEPING, "norm", "sum"}):
        if call.kind == "activation":
            return _by_hand(order, call) or call.what
        unknown |= call.kind in ("other", "product")
    return "" if unknown else "linear"


def _by_hand(order: Order, call: Call) -> str:
    """Return the name of an activation that is written out: x * sigmoid(x) is silu."""
    written = {"sigmoid": "silu", "hardsigmoid": "hardswish"}
    for user in (order.calls[i] for i in order.users[call.index]):
        if user.kind == "product" and set(user.inputs) == {call.index, *call.inputs}:
            return written.get(call.what, "")
    return ""


def is_normalized(order: Order, index: int) -> bool:
    """Return whether a result is normalized on its way to the next layer, or a residual block that it ends is.

    A residual sum that a layer or an activation reads as it is carries values that are not normalized; a block whose
    first step is a norm of the sum normalizes there what it needs.
    """
    queue, seen = [*order.users[index]], {index}
    while queue:
        call = order.calls[queue.pop(0)]
        if call.kind == "norm" or (call.module is not None and call.kind == "activation" and holds_norm(call.module)):
            return True
        if call.kind == "sum" and (begins_with_norm(order, call, seen) or _is_read_as_it_is(order, call.index)):
            if begins_with_norm(order, call, seen):
                return True
            continue
        if call.kind in (*_KEEPING, "sum", "activation") and call.index not in seen:
            seen.add(call.index)
            queue += order.users[call.index]
    return False


def begins_with_norm(order: Order, total: Call, branch: set[int]) -> bool:
    """Return whether the residual block that ends in a sum begins with a norm of what it adds to."""
    others = [i for i in total.inputs if i not in branch]
    return any(order.calls[u].kind == "norm" for i in others for u in order.users[i])


def _is_read_as_it_is(order: Order, index: int) -> bool:
    return any(c.kind in (*_LAYERS, "activation") for c in order.after(index, {"shape", "pool", "scale", "dropout"}))


def _named_after(parts: dict[str, nn.Module], name: str, words: tuple[str, ...]) -> bool:
    """Return whether a module is part of one whose class is called so."""
    path = name.split(".")
    above = (parts.get(".".join(path[:i])) for i in range(1, len(path)))
    return any(type(m).__name__.lower().endswith(words) for m in above if m is not None)
