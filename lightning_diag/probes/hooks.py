"""Hooks that are worth nothing in a copy: a module copied in the middle of a sampled step is free of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Hook:
    """A hook on a module; its copies do nothing, and take themselves off at the first call of the copied module.

    Args:
        act: called with what a hook is called with; None in copies.

    Example:
        >>> import copy, torch
        >>> net = nn.Linear(2, 2)
        >>> handle = net.register_forward_hook(Hook(lambda *_: print("called")))
        >>> clone = copy.deepcopy(net)
        >>> _ = net(torch.ones(2)), clone(torch.ones(2))
        called
        >>> len(clone._forward_hooks)
        0
    """

    def __init__(self, act: Callable[..., None] | None) -> None:
        self.act = act

    def __call__(self, module: nn.Module, *args: Any) -> None:
        """Act; never return anything, for what a hook returns replaces the output."""
        if self.act is not None:
            self.act(module, *args)
        else:
            _take_off(module)

    def __deepcopy__(self, memo: object) -> Hook:
        """Return a hook that does nothing."""
        return Hook(None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a hook that does nothing."""
        return Hook, (None,)


def _take_off(module: nn.Module) -> None:
    for place in ("_forward_hooks", "_forward_pre_hooks"):
        hooks = module.__dict__[place]
        for key in [k for k, h in hooks.items() if isinstance(h, Hook) and h.act is None]:
            del hooks[key]
            module.__dict__.get(f"{place}_always_called", {}).pop(key, None)
