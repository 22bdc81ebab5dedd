"""Layers and activations that are followed by a normalization or a dropout of their own.

A module is changed in place into a subclass of its own class, which calls a child on the result. So it keeps its
identity (a module shared by several parents stays shared), its name, ``weight`` and ``bias`` for parents that read
them, its place in a Sequential, its hooks and the keys of its state_dict; what is new has keys below it
(``0.weight`` stays, ``0.norm.weight`` is new). A Sequential in place of the layer would lose ``.weight``, an insertion
into a Sequential would rename all that comes after it, a hook would be lost in pickles and copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, final

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

Layout = Literal["", "flat", "tokens"]
_MADE: Final[dict[type[nn.Module], type[nn.Module]]] = {}  # one new class for each old one
_OWN: Final = ("__dict__", "__weakref__", "__module__", "__doc__")


class Followed(nn.Module):
    """What a module gets that is followed by others: its result goes through its children named in ``_followers``."""

    _followers: dict[str, Layout]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return what the module put out before, after its followers."""
        out = super().forward(*args, **kwargs)
        for name, layout in self._followers.items():
            out = applied(self._modules[name], layout, out)
        return out  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle and copy by the class that was there before; this one is made anew."""
        return (_rebuild, (original_class(self),), *super().__reduce_ex__(protocol)[2:])

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Any, strict: bool, *rest: Any
    ) -> None:
        """Say in plain words that a checkpoint is from before the insertion."""
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *rest)
        missing, _, _ = rest
        for name in self._followers:
            own = [key for key in self._modules[name].state_dict() if not key.endswith("num_batches_tracked")]  # type: ignore[union-attr]
            if own and f"{prefix}{name}.{own[0]}" not in state_dict:
                missing.append(f"{prefix}{name} (this state is from before the insertion of {name})")


def follow(module: nn.Module, name: str, follower: nn.Module, layout: Layout = "") -> None:
    """Let the result of a module go through another one from now on, in place.

    Args:
        module: a layer or an activation.
        name: of the child; one that the module has no attribute for.
        follower: what comes after.
        layout: how it wants its input: "flat" as (rows, channels) and "tokens" as (batch, channels, positions), both
            of a tensor that has its channels last; "" as it is.

    Raises:
        ValueError: if the module has an attribute of that name.
    """
    if hasattr(module, name):
        raise ValueError(f"{type(module).__name__} has an attribute {name!r} of its own")
    if not isinstance(module, (Followed, FollowedActivation)):
        _change_class(module, _with_followers)
        module._followers = {}  # type: ignore[assignment]
    assert isinstance(module, (Followed, FollowedActivation))
    module.add_module(name, follower)
    module._followers = {**module._followers, name: layout}


def unfollow(module: nn.Module, name: str) -> None:
    """Undo ``follow``; a ``FollowedActivation`` stays, with nothing after its activation."""
    assert isinstance(module, (Followed, FollowedActivation))
    delattr(module, name)
    module._followers = {k: v for k, v in module._followers.items() if k != name}
    if not module._followers and isinstance(module, Followed):
        del module._followers
        _change_class(module, _original)


def original_class(module: nn.Module) -> type[nn.Module]:
    """Return the class of a module as it was before something followed it."""
    return _original(type(module))


def _original(cls: type[nn.Module]) -> type[nn.Module]:
    return cls.__bases__[1] if cls.__bases__[0] is Followed else cls


def _with_followers(cls: type[nn.Module]) -> type[nn.Module]:
    if cls not in _MADE:
        _MADE[cls] = type(cls.__name__, (Followed, cls), {"__module__": __name__, "__doc__": cls.__doc__})
    return _MADE[cls]


def _change_class(module: nn.Module, change: Any) -> None:
    """Change the class of a module; below a parametrization, so that this comes off as usual."""
    cls = type(module)
    if not is_parametrized(module):
        module.__class__ = change(cls)
        return
    namespace = {k: v for k, v in vars(cls).items() if k not in _OWN}
    module.__class__ = type(cls.__name__, (change(cls.__bases__[0]),), namespace)


def _rebuild(cls: type[nn.Module]) -> nn.Module:
    made: type[nn.Module] = _with_followers(cls)
    return made.__new__(made)


def applied(follower: nn.Module | None, layout: Layout, x: Tensor) -> Tensor:
    """Return what a module makes of a tensor that is laid out for it; no control flow, so that torch.fx can follow."""
    if follower is None:
        return x
    if layout == "flat":
        return follower(x.reshape(-1, x.shape[-1])).reshape(x.shape)  # type: ignore[no-any-return]
    if layout == "tokens":
        return follower(x.flatten(1, -2).transpose(1, 2)).transpose(1, 2).contiguous().reshape(x.shape)  # type: ignore[no-any-return]
    return follower(x)  # type: ignore[no-any-return]


@final
class FollowedActivation(nn.Module):
    """An activation without parameters and what comes after it; the activation stays a module that hooks can see."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self._followers: dict[str, Layout] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of x, normalized or with dropout."""
        out = self.activation(x)
        for name, layout in self._followers.items():
            out = applied(self._modules[name], layout, out)
        return out  # type: ignore[no-any-return]
