"""Where a normalization goes, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, final

from torch import Size, nn
from torch.nn.utils.parametrize import is_parametrized

from lightning_diag.order import LayerRole, Order, activation_roles, roles
from lightning_diag.surgery.followed import original_class
from lightning_diag.surgery.normalizations import Normalization

Position = Literal["pre", "post"]
_LINEAR: Final = nn.Linear
_CONVOLUTIONS: Final = (
    (1, (nn.Conv1d, nn.ConvTranspose1d)),
    (2, (nn.Conv2d, nn.ConvTranspose2d)),
    (3, (nn.Conv3d, nn.ConvTranspose3d)),
)
_TRANSFORMER: Final = "torch.nn.modules.transformer"


@final
@dataclass(frozen=True)
class Place:
    """What becomes of one layer.

    Attributes:
        name: of the layer.
        layer: the layer.
        verdict: "insert", "normalized" (it is already) or "kept" (as it is, for a reason).
        reason: why it is kept, "" otherwise.
        carrier: the module that will be followed by the normalization: the layer or its activation.
        channels: of the layer's result.
        axes: of positions in it: 0 for a linear layer.
        drop_bias: whether the bias of the layer cancels exactly and can go.
    """

    name: str
    layer: nn.Module = field(repr=False)
    verdict: Literal["insert", "normalized", "kept"]
    reason: str = ""
    carrier: nn.Module | None = field(default=None, repr=False)
    channels: int = 0
    axes: int = 0
    drop_bias: bool = False


def find_places(
    model: nn.Module, order: Order, row: Normalization, position: Position, shapes: Mapping[nn.Module, Size]
) -> tuple[Place, ...]:
    """Return what becomes of every layer of a model."""
    called = tuple(_place(model, order, role, row, position, shapes) for role in roles(model, order))
    seen = {place.layer for place in called}
    idle = [(n, m) for n, m in model.named_modules() if axes_of(m) is not None and m not in seen]
    never = "it is not called as a module in the forward pass"
    alone = "it is the whole model, so an output layer"
    return (*called, *(Place(name, module, "kept", never if name else alone) for name, module in idle))


def _place(
    model: nn.Module,
    order: Order,
    role: LayerRole,
    row: Normalization,
    position: Position,
    shapes: Mapping[nn.Module, Size],
) -> Place:
    axes, channels = axes_of(role.module), channels_of(role.module)
    place = Place(role.name, role.module, "kept", channels=channels, axes=axes or 0)
    if role.normalized:
        return replace(place, verdict="normalized")
    shape = shapes.get(role.module)
    for reason in (*_structural(model, role), *_of_kind(order, role, row, channels, axes or 0, shape)):
        return replace(place, reason=reason)
    if position == "pre":
        return replace(place, verdict="insert", carrier=role.module, drop_bias=_bias_cancels(order, role, row))
    carrier = activation_behind(order, role)
    if isinstance(carrier, str):
        return replace(place, reason=carrier)
    return replace(place, verdict="insert", carrier=carrier)


def axes_of(module: nn.Module) -> int | None:
    """Return how many axes of positions the result of a layer has; None if it is no linear layer or convolution."""
    if isinstance(module, _LINEAR):
        return 0
    return next((axes for axes, kinds in _CONVOLUTIONS if isinstance(module, kinds)), None)


def channels_of(module: nn.Module) -> int:
    """Return the number of channels that a layer puts out."""
    return int(getattr(module, "out_channels", 0) or getattr(module, "out_features", 0))


def _structural(model: nn.Module, role: LayerRole) -> Iterator[str]:
    """Yield why no normalization may follow a layer, whatever its kind."""
    if role.role == "output":
        yield "it is an output layer"
    if axes_of(role.module) is None:
        yield "it is neither a linear layer nor a convolution"
    inside = {
        "attention": "it is part of an attention",
        "gate": "it computes a gate (squeeze-and-excitation or the like)",
        "recurrence": "it is part of a recurrent cell: called on its own result",
    }
    if role.inside:
        yield inside[role.inside]
    path = role.name.split(".")
    parents = (model.get_submodule(".".join(path[:i])) for i in range(len(path)))
    if any(type(parent).__module__ == _TRANSFORMER for parent in parents):
        yield "it is part of a Transformer layer of torch, which reads its weight past it in evaluation"
    if hasattr(role.module, "norm"):
        yield "it has an attribute called norm"


def _of_kind(
    order: Order, role: LayerRole, row: Normalization, channels: int, axes: int, shape: Size | None
) -> Iterator[str]:
    """Yield why no normalization of this kind may follow a layer."""
    if channels < row.least_channels:
        yield f"it has {channels} channel(s), and {row.name} normalization over that many is constant"
    if row.name == "batch" and len(role.calls) > 1:
        yield f"it is called {len(role.calls)} times in a pass: batch statistics of several places would mix"
    if row.name == "instance" and axes == 0:
        if shape is None:
            yield "instance normalization of a linear layer needs tokens: give example_inputs= to show them"
        elif len(shape) < 3 or shape[:-1].numel() == shape[0]:
            yield "instance normalization needs several positions, and it puts out one per sample"
    if row.name == "instance" and axes and shape is not None and shape[-axes:].numel() == 1:
        yield "instance normalization needs several positions, and it puts out one per sample"


def _bias_cancels(order: Order, role: LayerRole, row: Normalization) -> bool:
    """Return whether the normalization takes out the bias of the layer, and nobody else reads it."""
    layer, cls = role.module, original_class(role.module)
    if not row.cancels_bias or getattr(layer, "bias", None) is None or order.how == "names":
        return False
    if is_parametrized(layer, "bias") or "bias" not in layer._parameters:
        return False
    own = _LINEAR if axes_of(layer) == 0 else next(k for _, ks in _CONVOLUTIONS for k in ks if isinstance(layer, k))
    plain = is_parametrized(layer) or cls.forward is own.forward  # a forward of the user's may use it otherwise
    return plain and not any(name.endswith(".bias") and _is_of(order, name, role) for name in order.read)


def _is_of(order: Order, name: str, role: LayerRole) -> bool:
    return name == f"{role.name}.bias"


def activation_behind(order: Order, role: LayerRole) -> nn.Module | str:
    """Return the module of the activation that only this layer feeds, or why there is none."""
    if len(role.calls) > 1:
        return f"it is called {len(role.calls)} times in a pass: behind which activation is not one answer"
    index = role.calls[0]
    while True:
        users = order.users[index]
        if len(users) != 1:
            return "its result goes several ways before an activation" if users else "nothing follows it"
        call = order.calls[users[0]]
        if call.kind == "sum":
            return "its activation stands on a residual sum: normalization there would break the identity path"
        if call.kind == "activation":
            break
        if call.kind not in ("pool", "dropout", "scale") and call.what != "Identity":
            return "no activation follows it"
        index = call.index
    if call.what == "glu":
        return "its activation is a GLU, which puts out half of its channels"
    if call.module is None:
        return f"its activation is a function ({call.what}): behind it is no place for a module"
    if len(order.by_module[call.module]) > 1:
        return "its activation is one module that is called several times"
    role_of = next(a for a in activation_roles(order) if a.module is call.module)
    return call.module if role_of.role == "hidden" else f"its activation is no hidden one: {role_of.role}"
