"""Take normalization out of a model: removed, or folded into the layer before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_diag.order import Order, trace
from lightning_diag.order.recorded import arguments, tensors
from lightning_diag.order.untouched import untouched
from lightning_diag.surgery.changes import Changes
from lightning_diag.surgery.folding import folded, why_not_foldable
from lightning_diag.surgery.followed import Followed, FollowedActivation
from lightning_diag.surgery.normalizations import NORMALIZATIONS
from lightning_diag.surgery.operable import check_operable, perform
from lightning_diag.surgery.places import axes_of, channels_of

_TYPES: Final[tuple[tuple[str, tuple[type[nn.Module], ...]], ...]] = (
    ("batch", (nn.modules.batchnorm._BatchNorm,)),
    ("layer", (nn.LayerNorm,)),
    ("group", (nn.GroupNorm,)),
    ("instance", (nn.modules.instancenorm._InstanceNorm,)),
    ("rms", (nn.RMSNorm,)),
)


def kind_of_norm(module: nn.Module) -> str:
    """Return the name in NORMALIZATIONS of a normalization module, "" if it is none."""
    return next((name for name, types in _TYPES if isinstance(module, types)), "")


def remove_normalization(
    model: nn.Module,
    kinds: Iterable[str] | None = None,
    *,
    example_inputs: Any = None,
    names: Iterable[str] | None = None,
) -> nn.Module:
    """Return the model, in place, without its normalization; a layer that had no bias because of one gets one of zero.

    What stood in a Sequential becomes an Identity, so that nothing is renamed.

    Args:
        model: the model.
        kinds: names of NORMALIZATIONS; all by default.
        example_inputs: as for ``insert_normalization``; the changed model is tried on it.
        names: as for ``insert_normalization``.

    Raises:
        ValueError: if a kind is unknown, the order of execution is needed and cannot be found, or the changed model
            does not run. The model is unchanged then.
    """
    known = tuple(row.name for row in NORMALIZATIONS)
    chosen = known if kinds is None else tuple(kinds)
    if set(chosen) - set(known):
        raise ValueError(f"kinds must be of {', '.join(known)}, got {', '.join(sorted(set(chosen) - set(known)))}")
    check_operable(model)
    norms = [m for m in model.modules() if kind_of_norm(m) in chosen]
    for name, module in model.named_modules():
        if type(module).__module__ == "torch.nn.modules.transformer" and any(m in norms for m in module.children()):
            raise ValueError(f"{name or 'the model'} ({type(module).__name__}) reads the weights of its norms itself")
    bare = [m for m in model.modules() if axes_of(m) is not None and getattr(m, "bias", None) is None]
    order = trace(model, example_inputs, names=names) if norms and bare else None

    def operate(changes: Changes) -> None:
        for norm in norms:
            for layer in _fed_by(order, norm) if order else ():
                if layer in bare and layer._parameters.get("bias", 0) is None:
                    weight = next(layer.parameters())
                    zero = torch.zeros(channels_of(layer), device=weight.device, dtype=weight.dtype)
                    changes.set_parameter(layer, "bias", nn.Parameter(zero))
            take_out(changes, norm)

    return perform(model, operate, example_inputs, what="its normalization removed")


def take_out(changes: Changes, norm: nn.Module) -> None:
    """Remove a norm from wherever it stands: from behind what it follows, or for an Identity."""
    for module in list(changes.model.modules()):
        if isinstance(module, (Followed, FollowedActivation)) and module._modules.get("norm") is norm:
            changes.unfollow(module, "norm")
    changes.replace(norm, nn.Identity())


def _fed_by(order: Order, norm: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers whose result a norm gets directly."""
    for module, calls in order.by_module.items():
        if calls[0].kind == "layer" and module._modules.get("norm") is norm:
            yield module
    for call in order.by_module.get(norm, ()):
        for other in order.before(call.index, {"shape"}):
            if other.kind == "layer" and other.module is not None:
                yield other.module


def fold_batchnorm(
    model: nn.Module, *, example_inputs: Any = None, names: Iterable[str] | None = None, tolerance: float = 1e-4
) -> nn.Module:
    """Return the model, in place, with each BatchNorm folded into the layer before it, for inference.

    weight' = weight * s and bias' = (bias - mean) * s + shift with s = scale / sqrt(variance + eps), of the running
    statistics: in evaluation the outputs stay what they were. A BatchNorm that no layer feeds alone stays.

    Args:
        model: the model.
        example_inputs: as for ``insert_normalization``; if given, outputs before and after are compared.
        names: as for ``insert_normalization``.
        tolerance: largest difference allowed then, relative to the largest output.

    Raises:
        ValueError: if there is a BatchNorm but none can be folded, or outputs differ. The model is unchanged then.
    """
    check_operable(model)
    norms = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return model
    order = trace(model, example_inputs, names=names)
    reasons = {name: why_not_foldable(model, order, norm) for name, norm in norms}
    chosen = [norm for name, norm in norms if not isinstance(reasons[name], str)]
    if not chosen:
        raise ValueError("no BatchNorm can be folded: " + "; ".join(f"{n}: {r}" for n, r in list(reasons.items())[:5]))
    with Changes(model) as changes:
        before = None if example_inputs is None else _evaluated(model, example_inputs)
        for name, norm in norms:
            layer = reasons[name]
            if isinstance(layer, nn.Module):
                weight, bias = folded(layer, norm)
                changes.set_parameter(layer, "weight", weight)
                changes.set_parameter(layer, "bias", bias)
                take_out(changes, norm)
        if before is not None:
            _compare(before, _evaluated(model, example_inputs), tolerance)
    return model


def _evaluated(model: nn.Module, example_inputs: Any) -> tuple[Tensor, ...]:
    args, kwargs = arguments(model, example_inputs)
    with untouched(model):
        model.eval()
        return tuple(t for t in tensors(model(*args, **kwargs)) if t.is_floating_point())


def _compare(before: tuple[Tensor, ...], after: tuple[Tensor, ...], tolerance: float) -> None:
    for a, b in zip(before, after, strict=True):
        error = float((a - b).abs().max() / a.abs().max().clamp_min(1e-12))
        if not error <= tolerance:
            raise ValueError(f"folded outputs differ by {error:.1e} of the largest, more than tolerance={tolerance:g}")
