"""Changes of a model that are taken back together if one of them cannot be made."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import final

from torch import nn

from lightning_diag.surgery.followed import Followed, FollowedActivation, Layout, follow, unfollow


@final
class Changes:
    """A context manager: an exception that leaves its body leaves the model as it was, bit for bit.

    Args:
        model: what is changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._undo: list[Callable[[], object]] = []

    def __len__(self) -> int:
        """Return how many changes were made."""
        return len(self._undo)

    def __enter__(self) -> Changes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.undo()

    def undo(self) -> None:
        """Take all changes back, the last one first."""
        while self._undo:
            self._undo.pop()()

    def follow(self, module: nn.Module, name: str, follower: nn.Module, layout: Layout = "") -> None:
        """Let a module be followed by another one, which gets its device, type of numbers and mode."""
        carrier = module
        if not isinstance(module, (Followed, FollowedActivation)) and not any(True for _ in module.parameters()):
            carrier = self._wrapper_of(module)
        follow(carrier, name, follower.train(module.training), layout)
        self._undo.append(lambda: unfollow(carrier, name))

    def _wrapper_of(self, activation: nn.Module) -> FollowedActivation:
        for parent in self.model.modules():
            if isinstance(parent, FollowedActivation) and parent.activation is activation:
                return parent
        wrapper = FollowedActivation(activation).train(activation.training)
        self.replace(activation, wrapper)
        return wrapper

    def replace(self, old: nn.Module, new: nn.Module) -> None:
        """Put a module in the place of another one, wherever that stands.

        Raises:
            ValueError: if it is the model itself.
        """
        if old is self.model:
            raise ValueError(f"{type(old).__name__} is the whole model and cannot be replaced in it")
        places = [(p, name) for p in self.model.modules() for name, child in p._modules.items() if child is old]
        for parent, name in places:
            if parent is not new:
                parent._modules[name] = new

        def back() -> None:
            for parent, name in places:
                if parent is not new:
                    parent._modules[name] = old

        self._undo.append(back)

    def unfollow(self, module: nn.Module, name: str) -> None:
        """Take away what follows a module."""
        assert isinstance(module, (Followed, FollowedActivation))
        follower, layout = module.get_submodule(name), module._followers[name]
        unfollow(module, name)
        self._undo.append(lambda: follow(module, name, follower, layout))

    def set_parameter(self, layer: nn.Module, name: str, new: nn.Parameter | None) -> None:
        """Give a layer another parameter, or none, under a name that it has."""
        old = layer._parameters[name]
        layer._parameters[name] = new

        def back() -> None:
            layer._parameters[name] = old

        self._undo.append(back)

    def lay_out(self, module: nn.Module, name: str, layout: Layout) -> None:
        """Change how what follows a module wants its input."""
        assert isinstance(module, (Followed, FollowedActivation))
        old = module._followers
        module._followers = {**old, name: layout}

        def back() -> None:
            module._followers = old

        self._undo.append(back)

    def set_attribute(self, module: nn.Module, name: str, value: object) -> None:
        """Give a module another value under a name that it has."""
        old, plain = getattr(module, name), name in module.__dict__
        setattr(module, name, value)

        def back() -> None:
            module._modules.pop(name, None)
            if plain:
                module.__dict__[name] = old
            else:
                setattr(module, name, old)

        self._undo.append(back)
