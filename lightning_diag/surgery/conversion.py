"""Turn BatchNorm into another normalization and back."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from lightning_diag.surgery.changes import Changes
from lightning_diag.surgery.followed import Followed, FollowedActivation
from lightning_diag.surgery.normalizations import BatchNormNd, ChannelLayerNorm, groups_for
from lightning_diag.surgery.operable import check_operable, perform

_KINDS: Final = ("batch", "sync", "group", "layer")
_BATCH: Final = nn.modules.batchnorm._BatchNorm


def convert_normalization(model: nn.Module, kind: str, *, example_inputs: Any = None) -> nn.Module:
    """Return the model, in place, with its BatchNorm, GroupNorm and ChannelLayerNorm modules turned into one kind.

    Scales and shifts stay the same parameters; running statistics stay between "batch" and "sync", else they start
    anew. Names and keys stay. A ``nn.LayerNorm`` over the last axis that was not inserted here, InstanceNorm and
    RMSNorm stay as they are.

    Args:
        model: the model.
        kind: "batch", "sync" (SyncBatchNorm: over all devices), "group" or "layer" (over channels).
        example_inputs: one input; if given, the changed model is tried on it.

    Raises:
        ValueError: if there is nothing to turn, or the changed model does not run. The model is unchanged then.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind must be of {', '.join(map(repr, _KINDS))}, got {kind!r}")
    check_operable(model)
    norms = [m for m in model.modules() if _is_convertible(m) or _inserted_behind_linear(model, m)]
    if not norms:
        raise ValueError(f"{type(model).__name__} has no BatchNorm, GroupNorm or ChannelLayerNorm to turn into {kind}")
    chosen = [m for m in norms if not _is_already(m, kind)]

    def operate(changes: Changes) -> None:
        for norm in chosen:
            for carrier in _inserted_behind_linear(model, norm):
                changes.lay_out(carrier, "norm", "flat")
            changes.replace(norm, _converted(norm, kind).train(norm.training))

    return perform(model, operate, example_inputs, what=f"its normalization turned into {kind}")


def _is_convertible(module: nn.Module) -> bool:
    return isinstance(module, (_BATCH, nn.GroupNorm, ChannelLayerNorm))


def _inserted_behind_linear(model: nn.Module, norm: nn.Module) -> list[nn.Module]:
    """Return what a LayerNorm over the last axis was inserted behind."""
    if type(norm) is not nn.LayerNorm:
        return []
    kinds = (Followed, FollowedActivation)
    return [m for m in model.modules() if isinstance(m, kinds) and m._modules.get("norm") is norm]


def _is_already(norm: nn.Module, kind: str) -> bool:
    types: dict[str, type[nn.Module]] = {"sync": nn.SyncBatchNorm, "group": nn.GroupNorm, "layer": nn.LayerNorm}
    if kind == "batch":
        return isinstance(norm, _BATCH) and not isinstance(norm, nn.SyncBatchNorm)
    return isinstance(norm, types[kind])


def _converted(norm: nn.Module, kind: str) -> nn.Module:
    """Return a new norm with the parameters of the old one; it remembers what kind of BatchNorm there once was."""
    old: Any = norm
    channels, affine = _channels(norm), getattr(norm, "weight", None) is not None
    new: Any
    if kind == "group":
        new = nn.GroupNorm(groups_for(channels), channels, old.eps, affine)
    elif kind == "layer":
        new = ChannelLayerNorm(channels, old.eps)
        new.weight, new.bias = (new.weight, new.bias) if affine else (None, None)
    else:
        new = _batch(old, kind, channels, affine)
    if affine:
        new.weight, new.bias = old.weight, old.bias
    plain = isinstance(norm, _BATCH) and not isinstance(norm, nn.SyncBatchNorm)
    new.batchnorm_class = type(norm) if plain else getattr(norm, "batchnorm_class", BatchNormNd)
    like = next(norm.parameters(), torch.zeros(()))
    return new.to(device=like.device, dtype=like.dtype)  # type: ignore[no-any-return]


def _batch(old: Any, kind: str, channels: int, affine: bool) -> nn.Module:
    cls: type[nn.Module] = nn.SyncBatchNorm if kind == "sync" else getattr(old, "batchnorm_class", BatchNormNd)
    tracked = bool(getattr(old, "track_running_stats", True))
    new = cls(channels, old.eps, getattr(old, "momentum", 0.1), affine, tracked)
    if isinstance(old, _BATCH):
        for name, buffer in old.named_buffers():
            setattr(new, name, buffer)
    return new


def _channels(norm: nn.Module) -> int:
    shape = getattr(norm, "normalized_shape", None)
    return int(shape[0] if shape else getattr(norm, "num_features", 0) or getattr(norm, "num_channels", 0))
