"""Swap the hidden activations of a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, final

from torch import nn

from lightning_diag.graph import activation_kind
from lightning_diag.order import ActivationRole, activation_roles, trace
from lightning_diag.surgery.changes import Changes
from lightning_diag.surgery.naming import row_named
from lightning_diag.surgery.operable import check_operable, perform

ActivationName = Literal["relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"]
_TRANSFORMER_LAYERS: Final = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_ELEMENTWISE: Final = ("relu6", "hardsigmoid", "hardtanh", "softsign", "mish", "celu", "softplus", "hardswish")


@final
@dataclass(frozen=True, kw_only=True)
class Activation:
    """A kind of activation that can be put in.

    Attributes:
        name: as the user says it.
        build: makes the module.
        initialization: name of the initializer that keeps the spread of signals through layers with it.
        source: where activation and initialization come from.
    """

    name: str
    build: Callable[[], nn.Module] = field(repr=False)
    initialization: str
    source: str


ACTIVATIONS: Final[tuple[Activation, ...]] = (
    Activation(name="relu", build=nn.ReLU, initialization="kaiming_normal", source="He et al. (2015), 2.2"),
    Activation(
        name="leaky_relu",
        build=partial(nn.LeakyReLU, 0.01),
        initialization="kaiming_normal",
        source="Maas et al. (2013); He et al. (2015), 2.2",
    ),
    Activation(name="prelu", build=nn.PReLU, initialization="kaiming_normal", source="He et al. (2015), 2.1"),
    Activation(name="elu", build=nn.ELU, initialization="kaiming_normal", source="Clevert et al. (2016)"),
    Activation(name="selu", build=nn.SELU, initialization="lecun_normal", source="Klambauer et al. (2017), 2"),
    Activation(name="gelu", build=nn.GELU, initialization="kaiming_normal", source="Hendrycks and Gimpel (2016)"),
    Activation(name="silu", build=nn.SiLU, initialization="kaiming_normal", source="Ramachandran et al. (2017)"),
    Activation(name="tanh", build=nn.Tanh, initialization="xavier_normal", source="Glorot and Bengio (2010), 4.2"),
    Activation(
        name="sigmoid", build=nn.Sigmoid, initialization="xavier_normal", source="Glorot and Bengio (2010), 4.2"
    ),
)


@final
@dataclass(frozen=True)
class ActivationPlace:
    """What becomes of one activation: "swap", "same" (it is of that kind already) or "kept", for a reason."""

    name: str
    kind: str
    module: nn.Module | None = field(repr=False)
    verdict: Literal["swap", "same", "kept"]
    reason: str = ""


def wanted_initialization(kind: str) -> str:
    """Return the name of the initializer that an activation wants.

    >>> wanted_initialization("selu")
    'lecun_normal'
    """
    row: Activation = row_named(kind, ACTIVATIONS, "activation")
    return row.initialization


def swap_activations(
    model: nn.Module,
    kind: ActivationName,
    *,
    replaces: Collection[str] | None = None,
    example_inputs: Any = None,
    names: Iterable[str] | None = None,
    initialize: Callable[[nn.Module, str], object] | None = None,
) -> nn.Module:
    """Return the model, in place, with its hidden activations turned into another kind.

    Activations of outputs, gates (what multiplies other values) and attention stay, and so do those inside recurrent
    modules. Trained weights were trained for the old activation.

    Args:
        model: the model; its ``forward`` is followed.
        kind: a name of ACTIVATIONS.
        replaces: kinds to replace ("sigmoid", "tanh"); all that work element by element by default.
        example_inputs: as for ``insert_normalization``.
        names: as for ``insert_normalization``.
        initialize: called with the changed model and ``wanted_initialization(kind)`` if anything was swapped:
            ``lightning_diag.initialize``, say. None leaves the weights as they are.

    Raises:
        ValueError: with the reason: a hidden activation to swap is a function (``F.relu``), so that only some would
            change; or there is none. The model is unchanged then.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 2), nn.Sigmoid())
        >>> [type(m).__name__ for m in swap_activations(net, "relu")]
        ['Linear', 'ReLU', 'Linear', 'Sigmoid']
    """
    row: Activation = row_named(kind, ACTIVATIONS, "activation")
    places = activation_places(model, kind, replaces=replaces, example_inputs=example_inputs, names=names)
    functions = [place.name for place in places if place.verdict == "swap" and place.module is None]
    if functions:
        raise ValueError(
            f"{len(functions)} hidden activation(s) of {type(model).__name__} are functions, which cannot be swapped: "
            f"{', '.join(functions[:5])}. Make modules of them (self.act = nn.ReLU()) or change the code"
        )
    chosen = [place for place in places if place.verdict == "swap"]
    if not chosen:
        if any(place.verdict == "same" for place in places):
            return model
        reasons = "; ".join(f"{place.name}: {place.reason}" for place in places[:5])
        raise ValueError(f"no hidden activation to swap in {type(model).__name__}: {reasons or 'it has none'}")

    def operate(changes: Changes) -> None:
        for place in chosen:
            assert place.module is not None
            _swap(changes, place.module, row)

    perform(model, operate, example_inputs, what=f"{kind} for its activations")
    if initialize is not None:
        initialize(model, row.initialization)
    return model


def activation_places(
    model: nn.Module,
    kind: ActivationName,
    *,
    replaces: Collection[str] | None = None,
    example_inputs: Any = None,
    names: Iterable[str] | None = None,
) -> tuple[ActivationPlace, ...]:
    """Return what ``swap_activations`` would do to each activation, and why not; the model is not changed."""
    row_named(kind, ACTIVATIONS, "activation")
    known = (*(row.name for row in ACTIVATIONS), *_ELEMENTWISE)
    chosen = known if replaces is None else tuple(replaces)
    if set(chosen) - set(known):
        raise ValueError(f"replaces must be of {', '.join(known)}, got {', '.join(sorted(set(chosen) - set(known)))}")
    check_operable(model)
    inside = {name for name, m in model.named_modules() if isinstance(m, _TRANSFORMER_LAYERS)}
    found = [role for role in activation_roles(trace(model, example_inputs, names=names)) if not _is_of(role, inside)]
    return (
        *(_place(role.name, role.kind, role.module, role.role, kind, chosen) for role in found),
        *(_place(name, old, layer, "hidden", kind, chosen) for name, old, layer in _of_transformers(model)),
    )


def _is_of(role: ActivationRole, names: Collection[str]) -> bool:
    owner = role.name.rpartition(":")[0] if role.module is None else role.name.rpartition(".")[0]
    return owner in names


def _of_transformers(model: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Yield name, kind and owner of the activations that Transformer layers of torch hold as an attribute."""
    for name, module in model.named_modules():
        if isinstance(module, _TRANSFORMER_LAYERS):
            held: Any = module.activation
            kind = activation_kind(held) if isinstance(held, nn.Module) else getattr(held, "__name__", "")
            yield f"{name}.activation".lstrip("."), kind, module


def _place(
    name: str, old: str, module: nn.Module | None, role: str, kind: str, chosen: Collection[str]
) -> ActivationPlace:
    reasons = {
        "output": "it is behind the output layer",
        "input": "no layer is ahead of it",
        "gate": "it is a gate: its result multiplies other values",
        "attention": "it is part of an attention",
    }
    if role != "hidden":
        return ActivationPlace(name, old, module, "kept", reasons[role])
    if old == kind:
        return ActivationPlace(name, old, module, "same")
    if old not in chosen:
        return ActivationPlace(name, old, module, "kept", f"{old or 'an unknown function'} is not to be replaced")
    return ActivationPlace(name, old, module, "swap")


def _swap(changes: Changes, old: nn.Module, row: Activation) -> None:
    like = next(changes.model.parameters(), None)
    new = row.build().train(old.training)
    if like is not None:
        new = new.to(device=like.device, dtype=like.dtype if like.is_floating_point() else None)
    if isinstance(old, _TRANSFORMER_LAYERS):
        changes.set_attribute(old, "activation", new)
        if isinstance(old, nn.TransformerEncoderLayer):  # what its fused path in evaluation computes
            changes.set_attribute(old, "activation_relu_or_gelu", {"relu": 1, "gelu": 2}.get(row.name, 0))
        return
    changes.replace(old, new)
