"""Insert dropout behind hidden activations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, final

from torch import nn

from lightning_diag.order import ActivationRole, Order, activation_roles, trace
from lightning_diag.order.inside import gating
from lightning_diag.surgery.changes import Changes
from lightning_diag.surgery.followed import Followed
from lightning_diag.surgery.operable import check_operable, perform
from lightning_diag.surgery.places import axes_of

DropoutKind = Literal["element", "channel"]
_HOMOGENEOUS: Final = ("relu", "leaky_relu", "prelu")  # f(0) = 0 and f(c x) = c f(x) for c > 0: dropout may come before
_KEEPING: Final = frozenset({"shape", "pool", "scale", "dropout", "concat", "norm"})
_CHANNELS: Final = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_BATCH: Final = nn.modules.batchnorm._BatchNorm


@final
@dataclass(frozen=True)
class DropoutPlace:
    """What becomes of one activation.

    Attributes:
        name: of the activation.
        kind: of the activation.
        verdict: "insert", "dropped" (dropout follows it already) or "kept" (as it is, for a reason).
        reason: why it is kept, "" otherwise.
        carrier: the module that will be followed by dropout: the activation, or what feeds it.
        axes: of positions in its result: 0 behind a linear layer.
        batchnorm: name of a BatchNorm that gets what was dropped, "" if there is none before the next activation.
    """

    name: str
    kind: str
    verdict: Literal["insert", "dropped", "kept"]
    reason: str = ""
    carrier: nn.Module | None = field(default=None, repr=False)
    axes: int = 0
    batchnorm: str = ""


def insert_dropout(
    model: nn.Module,
    p: float,
    *,
    kind: DropoutKind = "element",
    example_inputs: Any = None,
    names: Iterable[str] | None = None,
) -> nn.Module:
    """Return the model, in place, with dropout behind its hidden activations.

    Never behind an output, on a residual sum, in a gate, or where dropout stands already. Behind SELU it is
    AlphaDropout. Where a BatchNorm comes next, a warning says so: dropout changes the variance in training but not in
    evaluation, and running statistics are those of training (Li et al., Understanding the Disharmony between Dropout
    and Batch Normalization by Variance Shift, 2019). A rectifier that is a function, or one module called in several
    places, gets its dropout directly ahead of it, which is the same: dropout and rectifier commute.

    Args:
        model: the model; its ``forward`` is followed.
        p: probability to drop (not to keep), from 0 up to but without 1.
        kind: "element", or "channel": whole channels of convolutions.
        example_inputs: as for ``insert_normalization``.
        names: as for ``insert_normalization``.

    Raises:
        ValueError: with the reason, if p is out of range or there is no place. The model is unchanged then.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> insert_dropout(net, 0.2)[1]
        FollowedActivation(
          (activation): Tanh()
          (dropout): Dropout(p=0.2, inplace=False)
        )
    """
    if not isinstance(p, (int, float)) or isinstance(p, bool) or not (math.isfinite(p) and 0 <= p < 1):
        raise ValueError(f"p is the probability to drop, from 0 up to but without 1; got {p!r}")
    if kind not in ("element", "channel"):
        raise ValueError(f"kind must be 'element' or 'channel', got {kind!r}")
    places = dropout_places(model, example_inputs=example_inputs, names=names)
    chosen = [place for place in places if place.verdict == "insert"]
    if not chosen:
        if any(place.verdict == "dropped" for place in places):
            return model
        reasons = "; ".join(f"{place.name}: {place.reason}" for place in places[:5])
        raise ValueError(f"no place for dropout in {type(model).__name__}: {reasons or 'it has no activation'}")
    _warn_of_batchnorm(chosen)

    def operate(changes: Changes) -> None:
        for place in chosen:
            assert place.carrier is not None
            cls = _CHANNELS[place.axes] if kind == "channel" else nn.Dropout
            changes.follow(place.carrier, "dropout", nn.AlphaDropout(p) if place.kind == "selu" else cls(p))

    return perform(model, operate, example_inputs, what=f"dropout of {p}")


def dropout_places(
    model: nn.Module, *, example_inputs: Any = None, names: Iterable[str] | None = None
) -> tuple[DropoutPlace, ...]:
    """Return what ``insert_dropout`` would do behind each activation, and why not; the model is not changed."""
    check_operable(model)
    order = trace(model, example_inputs, names=names)
    names_of, gates = {m: name for name, m in model.named_modules()}, gating(order)
    return tuple(_place(order, role, gates, names_of) for role in activation_roles(order, each_call=True))


def _place(order: Order, role: ActivationRole, gates: frozenset[int], names: Mapping[nn.Module, str]) -> DropoutPlace:
    place, (index,) = DropoutPlace(role.name, role.kind, "kept"), role.calls
    if role.role != "hidden" or "softmax" in role.kind:
        return replace(place, reason=f"it is no hidden activation but one of {role.role}")
    if _drops_already(order, index):
        return replace(place, verdict="dropped")
    if order.users[index] and all(user in gates for user in order.users[index]):
        return replace(place, reason="it is part of a gate")
    if any(c.kind == "sum" for c in order.before(index, _KEEPING)):
        return replace(place, reason="it stands on a residual sum")
    carrier = _carrier(order, role)
    if isinstance(carrier, str):
        return replace(place, reason=carrier)
    before = (c.module for c in order.before(index, _KEEPING) if c.kind == "layer" and c.module is not None)
    axes = next((axes_of(m) or 0 for m in before), 0)
    return replace(place, verdict="insert", carrier=carrier, axes=axes, batchnorm=_batchnorm_next(order, index, names))


def _carrier(order: Order, role: ActivationRole) -> nn.Module | str:
    """Return the module that dropout can follow, or why there is none."""
    if role.module is not None and len(order.by_module[role.module]) == 1:
        return role.module
    it = "it is a function" if role.module is None else "it is one module that is called several times"
    if role.kind not in _HOMOGENEOUS:
        return f"{it}, and dropout ahead of {role.kind} is not the same as behind it"
    return _feeding(order, role.calls[0], it)


def _feeding(order: Order, index: int, it: str) -> nn.Module | str:
    """Return the module that only an activation gets its input from."""
    before = order.calls[order.calls[index].inputs[0]]
    if before.module is None or before.kind not in ("layer", "norm") or not before.module._parameters:
        return f"{it}, and neither layer nor norm is directly ahead of it"
    if len(order.users[before.index]) > 1 or len(order.by_module[before.module]) > 1:
        return f"{it}, and what is ahead of it is used elsewhere too"
    return before.module


def _drops_already(order: Order, index: int) -> bool:
    """Return whether dropout follows an activation, or was put directly ahead of it."""
    if any(c.kind == "dropout" for c in order.after(index, {"shape", "pool"})):
        return True
    ahead = [order.calls[i].module for i in order.calls[index].inputs]
    return any(isinstance(m, Followed) and "dropout" in m._followers for m in ahead)


def _batchnorm_next(order: Order, index: int, names: Mapping[nn.Module, str]) -> str:
    """Return the name of the BatchNorm that comes before the next activation, "" if there is none."""
    for call in order.after(index, {*_KEEPING, "layer", "sum"}):
        if call.module is not None and call.kind in ("norm", "layer"):
            found = next((m for m in call.module.modules() if isinstance(m, _BATCH)), None)
            if found is not None:
                return names[found]
    return ""


def _warn_of_batchnorm(places: list[DropoutPlace]) -> None:
    ahead = [f"{place.name} (next: {place.batchnorm})" for place in places if place.batchnorm]
    if ahead:
        warnings.warn(
            f"dropout is inserted ahead of BatchNorm at {len(ahead)} place(s): {', '.join(ahead[:3])}. The running "
            "variance is that of training, with dropout, which is not that of evaluation (variance shift): use one of "
            "both, or put dropout behind the last BatchNorm.",
            stacklevel=3,
        )
