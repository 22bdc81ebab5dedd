"""What stands around each layer: the activation that really follows, output or hidden, where residual branches end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lightning_diag.graph import AFFINE, activation_kind
from lightning_diag.order import LayerRole, Order, Untraceable, roles, trace
from lightning_diag.order.kinds import plain_name
from lightning_diag.order.recorded import record
from lightning_diag.order.untouched import untouched

_TRANSFORMERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_BRANCHES = frozenset({"layer", "affine", "attention", "recurrent"})


@dataclass
class Surroundings:
    """What is known of the layers of a model.

    Attributes:
        activations: layer -> kind of the activation that follows; "linear" if none does. Absent: not known.
        modules: layer -> that activation, where it is a module.
        outputs: layers whose result reaches the output.
        ends: the last module with weights of each residual branch, in order of execution.
        order: the layers in order of execution, as far as it is known.
        reasons: why the order of the model, or of parts of it, is not known.
    """

    activations: dict[nn.Module, str] = field(default_factory=dict)
    modules: dict[nn.Module, nn.Module] = field(default_factory=dict)
    outputs: list[nn.Module] = field(default_factory=list)
    ends: list[nn.Module] = field(default_factory=list)
    order: list[nn.Module] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def surroundings(model: nn.Module, example_inputs: Any = None) -> Surroundings:
    """Return what is known of the layers of a model, from one forward pass or from torch.fx.

    Where the model cannot be traced as a whole (a LightningModule without ``forward``, say), its children are; what
    neither torch.fx nor a recorded pass looks into stays unknown.

    Raises:
        ValueError: the model cannot run on the inputs, is a ScriptModule, or has lazy modules, which a run would give
            their shapes.
    """
    found = Surroundings()
    model = entry(model)
    if example_inputs is not None:
        _refuse_lazy(model)
        with untouched(model):
            try:
                _read(model.train(), record(model, example_inputs), found, last=True)
            except Exception as error:
                raise ValueError(
                    f"{type(model).__name__} cannot run on the example inputs: {type(error).__name__}: {error}"
                ) from error
    _trace(model, found, last=True)
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):  # which calls no child
            found.activations.setdefault(module.out_proj, "linear")
    return found


def entry(model: nn.Module) -> nn.Module:
    """Return what takes the inputs of a model: itself, or its only child with layers if it has no ``forward``."""
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("a ScriptModule cannot be looked into: work on the module before it is scripted or traced")
    name = getattr(type(model).forward, "__qualname__", "")
    children = [m for m in model.children() if any(isinstance(x, AFFINE) for x in m.modules())]
    missing = name.endswith(("_forward_unimplemented", "LightningModule.forward"))
    return entry(children[0]) if missing and len(children) == 1 else model


def _trace(model: nn.Module, found: Surroundings, *, last: bool) -> None:
    """Trace a model, else its children, as far as its layers are not known yet."""
    if not any(isinstance(m, AFFINE) and m not in found.activations for m in model.modules()):
        return
    try:
        _read(model, trace(model), found, last=last)
    except (Untraceable, TypeError, AttributeError) as error:
        found.reasons.append(str(error))
    if isinstance(model, _TRANSFORMERS):
        _transformer(model, found)
    children = [m for m in model.children() if any(isinstance(x, AFFINE) for x in m.modules())]
    for child in children:
        _trace(child, found, last=last and child is children[-1] and not found.outputs)


def _read(model: nn.Module, order: Order, found: Surroundings, *, last: bool) -> None:
    for role in roles(model, order):
        if role.module in found.activations:
            continue
        kind = _activation(role)
        if kind and (kind != "linear" or last or role.role != "output"):
            found.activations[role.module] = kind
        if last and role.role == "output":
            found.outputs.append(role.module)
        found.order.append(role.module)
        follower = _follower(order, role) if kind not in ("", "linear") else None
        if follower is not None:
            found.modules[role.module] = follower
    found.ends += [m for m in residual_ends(order) if m not in found.ends]


def _activation(role: LayerRole) -> str:
    """Return the activation after a layer; projections of an attention, and layers before a softmax, are linear."""
    if "softmax" in role.activation or (role.inside == "attention" and not role.activation):
        return "linear"
    return role.activation


def _follower(order: Order, role: LayerRole) -> nn.Module | None:
    through = {"shape", "pool", "scale", "dropout", "concat", "norm", "sum"}
    calls = (c for i in role.calls for c in order.after(i, through) if c.kind == "activation")
    return next((c.module for c in calls if c.what == role.activation), None)


def _transformer(layer: nn.Module, found: Surroundings) -> None:
    """Know the layers of a transformer of torch, which torch.fx does not look into."""
    function: Any = layer.activation
    kind = activation_kind(function) if isinstance(function, nn.Module) else plain_name(function)
    for name, activation in (("linear1", kind), ("linear2", "linear")):
        found.activations.setdefault(getattr(layer, name), activation)
    ends = [getattr(layer, name) for name in ("self_attn", "multihead_attn", "linear2") if hasattr(layer, name)]
    found.ends += [m for m in ends if m not in found.ends]
    for part in layer.modules():
        if isinstance(part, AFFINE):
            found.activations.setdefault(part, "linear")
            found.order += [part] if part not in found.order else []


def residual_ends(order: Order) -> Iterator[nn.Module]:
    """Yield the last module with weights of each residual branch: of two ways from a step to a sum, the longer."""
    for call in order.calls:
        parts = sorted(set(call.inputs))
        if call.kind != "sum" or len(parts) != 2:
            continue
        before = [order.ancestors(i) | {i} for i in parts]
        shared = before[0] & before[1]
        lengths = [sum(order.calls[i].kind in _BRANCHES for i in b - shared) for b in before]
        if shared and lengths[0] != lengths[1]:
            end = _last_with_weights(order, parts[lengths[1] > lengths[0]])
            if end is not None:
                yield end


def _last_with_weights(order: Order, index: int) -> nn.Module | None:
    while True:
        call = order.calls[index]
        if call.kind in ("layer", "norm", "attention"):
            return call.module
        if call.kind not in ("shape", "scale", "dropout", "pool") or len(set(call.inputs)) != 1:
            return None
        index = call.inputs[0]


def _refuse_lazy(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        if isinstance(p, nn.parameter.UninitializedParameter):
            raise ValueError(
                f"{name} of a lazy module has no shape yet: run the model once on real data, then initialize"
            )
