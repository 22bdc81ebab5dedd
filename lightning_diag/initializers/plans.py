"""Which weight gets what: the plan of an initialization, made without changing anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from lightning_diag.graph import clean
from lightning_diag.initializers.gains import gain_of
from lightning_diag.initializers.parts import NORMS, Part, weight_parts
from lightning_diag.initializers.pretrained import is_pretrained
from lightning_diag.initializers.rows import Block, Initializer, initializer
from lightning_diag.initializers.surroundings import Surroundings
from lightning_diag.initializers.words import check_positive

GainChoice = float | Literal["auto", "torch"]
_OLD: Final = ("weight_g", "weight_orig")  # torch.nn.utils.weight_norm, spectral_norm and prune


@dataclass(frozen=True)
class Assignment:
    """What happens to one part of one parameter.

    Attributes:
        name: qualified name of the parameter, with the gate or projection in brackets.
        scheme: name of the initializer; "keep" where the weights stay.
        block: fans and gain.
        activation: kind of the activation that follows; "linear" if none does, "unknown" if it was not found.
        why: why it is kept, or why it gets another scheme than was asked for; "" otherwise.
    """

    name: str
    scheme: str
    block: Block = field(default_factory=lambda: Block(1, 1))
    activation: str = ""
    why: str = ""
    module: nn.Module = field(default_factory=nn.Identity, repr=False, compare=False)
    part: Part | None = field(default=None, repr=False, compare=False)


def assignments(
    model: nn.Module, row: Initializer, around: Surroundings, gain: GainChoice, exclude: Iterable[str]
) -> list[Assignment]:
    """Return what happens to each weight of a model, in order of registration; normalization and biases apart.

    Raises:
        ValueError: a lazy, sharded or meta parameter, a weight behind an old-style hook, a gain that is not above 0.
    """
    if gain not in ("auto", "torch"):
        check_positive("gain", gain)
    globs = tuple(exclude)
    chosen: dict[int, Assignment] = {}
    layers = [a for name, module in model.named_modules() for a in _of_module(name, module, row, around, gain, globs)]
    for number, a in enumerate(layers):
        held = a.module._parameters.get(a.part.parameter) if a.part is not None else None
        key = number if held is None or a.part is None else hash((id(held), str(a.part.rows)))
        before = chosen.get(key)
        if before is None or (before.part is not None and before.part.kind == "embedding"):
            chosen[key] = a  # tied weights once, as the layer and not as the embedding
    return list(chosen.values())


def left_out(model: nn.Module) -> list[str]:
    """Return the names of parameters that belong to no layer that is known: they stay as their maker left them."""
    known = (*NORMS, nn.PReLU)
    names = []
    for name, module in model.named_modules():
        if isinstance(module, known) or any(True for _ in weight_parts(module)) or "parametrizations" in name:
            continue
        names += [clean(f"{name}.{p}" if name else p) for p, _ in module.named_parameters(recurse=False)]
    return names


def excluded(name: str, module: nn.Module, globs: tuple[str, ...]) -> str:
    """Return why a module is not to be touched, "" if it may be."""
    if is_pretrained(module):
        return "marked as pretrained"
    return "excluded" if is_excluded(name, globs) else ""


def is_excluded(name: str, globs: Iterable[str]) -> bool:
    """Return whether a module, or one that it is part of, is named by a glob."""
    return any(fnmatchcase(name, g) or fnmatchcase(name, f"{g}.*") for g in globs)


def weight_of(module: nn.Module, parameter: str) -> Tensor:
    """Return a weight, parametrized or not."""
    value = getattr(module, parameter)
    assert isinstance(value, Tensor)
    return value


def _of_module(
    name: str, module: nn.Module, row: Initializer, around: Surroundings, gain: GainChoice, globs: tuple[str, ...]
) -> Iterator[Assignment]:
    why = excluded(clean(name), module, globs)
    if not why:
        _refuse_hooks(name, module)
    for part in weight_parts(module):
        full = clean(f"{name}.{part.parameter}" if name else part.parameter)
        label = f"{full}[{part.label}]" if part.label else full
        if not why and not _trainable(module, part.parameter):
            why = "frozen"
        if not why:
            _refuse(full, weight_of(module, part.parameter))
        if why or not weight_of(module, part.parameter).numel():
            yield Assignment(label, "keep", why=why or "it has no elements", module=module, part=part)
            continue
        yield _assign(label, module, part, row, around, gain)


def _assign(
    label: str, module: nn.Module, part: Part, row: Initializer, around: Surroundings, gain: GainChoice
) -> Assignment:
    activation, why = _activation(module, part, around, row)
    scheme = row.name
    if part.kind == "embedding" and (row.scaled or row.name == "identity"):
        return Assignment(label, "normal", Block(1, 1), activation, "a look-up adds up one row: N(0, 1)", module, part)
    if part.kind == "recurrent" and row.scaled:
        scheme, why = "orthogonal", "from one time step to the next: orthogonal keeps the norm"
    if part.kind in ("recurrent_input", "attention") and row.name == "identity":
        scheme, why = "lecun_normal", "gates and projections that are all alike learn alike"
    factor = 1.0
    if isinstance(gain, (int, float)):
        factor = float(gain)
    elif part.kind != "recurrent" and (row.gained or gain == "torch"):
        factor = gain_of(activation, around.modules.get(module), like_torch=gain == "torch")
    shown = "unknown" if why.startswith("which activation") else activation
    return Assignment(label, scheme, Block(part.fan_in, part.fan_out, factor), shown, why, module, part)


def _activation(module: nn.Module, part: Part, around: Surroundings, row: Initializer) -> tuple[str, str]:
    """Return the activation behind a part, and what was assumed."""
    if part.kind in ("recurrent_input", "recurrent"):
        relu = getattr(module, "nonlinearity", "") == "relu" or getattr(module, "mode", "") == "RNN_RELU"
        return ("relu" if relu else "tanh"), ""
    if part.kind in ("attention", "embedding") or part.parameter.startswith("weight_hr"):
        return "linear", ""
    if module in around.activations:
        return around.activations[module], ""
    assumed = "which activation follows is not known: relu is assumed; give example_inputs" if row.gained else ""
    return "relu", assumed


def _trainable(module: nn.Module, parameter: str) -> bool:
    if is_parametrized(module, parameter):
        return any(p.requires_grad for p in module.parametrizations[parameter].parameters())  # type: ignore[index,union-attr]
    return bool(getattr(module, parameter).requires_grad)


def _refuse(name: str, weight: Tensor) -> None:
    if isinstance(weight, nn.parameter.UninitializedParameter):
        raise ValueError(f"{name} of a lazy module has no shape yet: run the model once on real data, then initialize")
    if weight.device.type == "meta":
        raise ValueError(f"{name} is on the meta device and holds no numbers: initialize after it was materialized")
    if type(weight).__name__ == "DTensor":
        raise ValueError(f"{name} is sharded over processes: initialize before the model is sharded")
    if not weight.is_floating_point():
        raise ValueError(f"{name} holds {weight.dtype}, only real floating-point weights are initialized: exclude it")


def _refuse_hooks(name: str, module: nn.Module) -> None:
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)) and is_parametrized(module):
        raise ValueError(
            f"weights of the recurrent layer {name or type(module).__name__} are parametrized, so that its gates "
            f"cannot be set; initialize before it is parametrized, or exclude={[name]!r}"
        )
    held = [p for p in _OLD if p in module._parameters]
    if held:
        raise ValueError(
            f"the weight of {name or type(module).__name__} is made by a hook from {held[0]} (weight_norm, "
            "spectral_norm or prune of torch.nn.utils), so that it cannot be set; use torch.nn.utils.parametrizations, "
            f"initialize before the hook is added, or exclude={[name]!r}"
        )


def asked(scheme: str) -> Initializer:
    """Return the row of a scheme.

    Raises:
        TypeError: not a name.
        ValueError: an unknown name.
    """
    if not isinstance(scheme, str):
        raise TypeError(f"scheme must be the name of an initializer, got {scheme!r}")
    return initializer(scheme)
