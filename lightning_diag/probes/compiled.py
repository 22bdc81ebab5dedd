"""Compiled models: on a sampled step they run eagerly, so that hooks fire; nothing is compiled anew."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.graph import clean


def compiled_modules(root: nn.Module) -> list[str]:
    """Return the names of the modules that are compiled, or call a compiled function ("" is the root itself)."""
    if "torch._dynamo" not in sys.modules:  # torch.compile imports it
        return []
    return [clean(name) for name, module in root.named_modules() if _is_compiled(module)]


def _is_compiled(module: nn.Module) -> bool:
    if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
        return True
    own = module.__dict__.values()
    kind: Any = type(module)
    return any(_is_compiled_function(v) for v in own if callable(v)) or _calls_compiled(kind)


def _is_compiled_function(value: Any) -> bool:
    return hasattr(value, "_torchdynamo_orig_callable")


def _calls_compiled(kind: type) -> bool:
    """Return whether a method of a class is compiled, or names a global that is."""
    return any(_is_compiled_function(f) or _names_compiled(f) for f in _methods(kind))


def _methods(kind: type) -> Iterator[Any]:
    for cls in kind.__mro__:
        if not cls.__module__.startswith(("torch.", "lightning.", "pytorch_lightning.", "builtins")):
            yield from (f for f in vars(cls).values() if callable(f))


def _names_compiled(function: Any) -> bool:
    if not isinstance(function, FunctionType):
        return False
    known = function.__globals__
    return any(_is_compiled_function(known.get(name)) for name in function.__code__.co_names)


def something_compiled() -> bool:
    """Return whether torch.compile has traced anything in this process: a compiled function may hide anywhere."""
    dynamo = sys.modules.get("torch._dynamo")
    counters = getattr(getattr(dynamo, "utils", None), "counters", {})
    return bool(counters.get("frames", {}).get("total", 0)) if counters else False


def can_run_eagerly() -> bool:
    """Return whether this torch can run a compiled model eagerly for a step (2.6 and later)."""
    return hasattr(torch.compiler, "set_stance")


class EagerStep:
    """Makes compiled code run eagerly until closed, by ``torch.compiler.set_stance``."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def open(self) -> None:
        """Switch to eager; free of charge where nothing was ever compiled."""
        if "torch._dynamo" in sys.modules:
            stance: Any = torch.compiler.set_stance
            self._stack.enter_context(stance("force_eager"))

    def close(self) -> None:
        """Switch back to what was before."""
        self._stack.close()


class OutOfMemoryGuard:
    """Runs ``training_step`` again, undisturbed, where an eager step of a compiled model does not fit into memory.

    Args:
        module: the LightningModule; its ``training_step`` is wrapped until :meth:`close`.
        give_up: called with the error, to detach all and go back to compiled code, before the second try.
    """

    def __init__(self, module: nn.Module, give_up: Callable[[BaseException], None]) -> None:
        self._module, self._give_up = module, give_up
        self._opened = False
        self._own: Any = None

    def open(self) -> None:
        """Wrap the training step."""
        step = getattr(self._module, "training_step", None)
        if step is None:
            return
        self._own = self._module.__dict__.get("training_step")
        restore = _random_state(self._module)

        def training_step(*args: Any, **kwargs: Any) -> Any:
            try:
                return step(*args, **kwargs)
            except _OUT_OF_MEMORY as error:
                self._give_up(error.with_traceback(None))
            restore()
            return step(*args, **kwargs)

        self._module.__dict__["training_step"] = training_step
        self._opened = True

    def close(self) -> None:
        """Take the wrapper off."""
        if not self._opened:
            return
        self._opened = False
        self._module.__dict__.pop("training_step", None)
        if self._own is not None:
            self._module.__dict__["training_step"] = self._own


def _random_state(module: nn.Module) -> Callable[[], None]:
    """Return what sets torch's generators back to where they are now."""
    state = torch.get_rng_state()
    device = next((p.device for p in module.parameters() if p.device.type != "cpu"), None)
    home: Any = None if device is None else getattr(torch, device.type, None)
    there: Tensor | None = home.get_rng_state(device) if hasattr(home, "get_rng_state") else None

    def restore() -> None:
        torch.set_rng_state(state)
        if there is not None:
            home.set_rng_state(there, device)

    return restore


_OUT_OF_MEMORY: type[BaseException] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
