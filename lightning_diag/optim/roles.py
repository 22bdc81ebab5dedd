"""What every parameter of a model is: a weight, a bias, part of a norm, an embedding; and how deep it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from torch import nn
from torch.nn.parameter import is_lazy

Role: TypeAlias = Literal["weight", "bias", "norm", "slope", "embedding"]
_NORMS: Final[tuple[type[nn.Module], ...]] = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []),
)
_LISTS: Final = (nn.Sequential, nn.ModuleList)


@dataclass
class Part:
    """One trainable parameter.

    Attributes:
        name: its qualified name, the first of them where it is shared.
        names: all its names.
        parameter: the parameter.
        role: what it is to its module.
        layer: position of its layer, from the input.
    """

    name: str
    names: tuple[str, ...]
    parameter: nn.Parameter
    role: Role
    layer: int


def trainable(model: nn.Module) -> list[Part]:
    """Return the trainable parameters of a model, each once, in order of registration.

    A role is read from the module that owns the parameter: norms and PReLU by type (or "norm" in the name of a class of
    one's own); a parameter with "bias" in its name, or with less than two dimensions, is a bias. A shared weight is an
    embedding where one of its owners is.

    Raises:
        ValueError: a parameter has no shape yet (a lazy layer).
    """
    depth = layers(model)
    names: dict[int, list[str]] = {}
    found: dict[int, Part] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for leaf, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            name = f"{prefix}.{leaf}" if prefix else leaf
            if is_lazy(parameter):
                raise ValueError(
                    f"{name} has no shape yet: run one batch through the model before its optimizer is made"
                )
            names.setdefault(id(parameter), []).append(name)
            part = Part(name, (), parameter, role(module, leaf, parameter), depth.get(prefix, 0))
            known = found.setdefault(id(parameter), part)
            if part.role == "embedding":
                known.role = "embedding"
    for key, part in found.items():
        part.names = tuple(names[key])
    return list(found.values())


def role(owner: nn.Module, leaf: str, parameter: nn.Parameter) -> Role:
    """Return what a parameter is to the module that owns it."""
    if isinstance(owner, _NORMS) or "norm" in type(owner).__name__.lower():
        return "norm"
    if isinstance(owner, nn.PReLU):
        return "slope"
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return "embedding"
    return "bias" if "bias" in leaf or parameter.ndim < 2 else "weight"


def layers(model: nn.Module) -> dict[str, int]:
    """Return module name -> position of its layer, 0 nearest to the input, in order of registration.

    In a ``Sequential`` or ``ModuleList`` each item that is no list itself is one layer (a block of a ResNet or of a
    transformer, say); elsewhere each module with parameters of its own is one. Norms and slopes belong to the layer
    before. Parameters of the whole model itself (a class token, say) belong to the first.
    """
    positions: dict[str, int] = {}
    last = -1

    def visit(prefix: str, module: nn.Module, in_list: bool) -> None:
        nonlocal last
        own = next(module.parameters(recurse=False), None) is not None
        whole = bool(prefix) and (own or (in_list and not _is_list(module)))
        if whole and next(module.parameters(), None) is not None:
            if last < 0 or not _is_companion(module):
                last += 1
            positions.update({f"{prefix}.{n}" if n else prefix: last for n, _ in module.named_modules()})
            return
        for name, child in module.named_children():
            visit(f"{prefix}.{name}" if prefix else name, child, isinstance(module, _LISTS))

    visit("", model, False)
    return positions


def _is_list(module: nn.Module) -> bool:
    """Return whether a module is a list of layers, or holds one (a transformer's encoder)."""
    return isinstance(module, _LISTS) or any(isinstance(child, nn.ModuleList) for child in module.children())


def _is_companion(module: nn.Module) -> bool:
    """Return whether a module has nothing but the parameters of norms and slopes."""
    return all(
        role(owner, leaf, p) in ("norm", "slope")
        for owner in module.modules()
        for leaf, p in owner.named_parameters(recurse=False)
    )
