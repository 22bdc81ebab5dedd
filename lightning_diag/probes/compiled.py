"""Compiled models: on a sampled step they run eagerly, so that hooks fire; nothing is compiled anew."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn


def compiled_modules(root: nn.Module) -> list[str]:
    """Return the names of the modules that torch.compile wraps or was called on ("" is the root itself)."""
    return [
        name
        for name, module in root.named_modules()
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
    ]


def can_run_eagerly() -> bool:
    """Return whether this torch can run a compiled model eagerly for a step (2.6 and later)."""
    return hasattr(torch.compiler, "set_stance")


class EagerStep:
    """Makes compiled code run eagerly until closed, by ``torch.compiler.set_stance``."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def open(self) -> None:
        """Switch to eager."""
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
        self._own = module.__dict__.get("training_step")

    def open(self) -> None:
        """Wrap the training step."""
        step = getattr(self._module, "training_step", None)
        if step is None:
            return
        state = torch.get_rng_state()

        def training_step(*args: Any, **kwargs: Any) -> Any:
            try:
                return step(*args, **kwargs)
            except _OUT_OF_MEMORY as error:
                self._give_up(error.with_traceback(None))
            torch.set_rng_state(state)
            return step(*args, **kwargs)

        self._module.__dict__["training_step"] = training_step

    def close(self) -> None:
        """Take the wrapper off."""
        self._module.__dict__.pop("training_step", None)
        if self._own is not None:
            self._module.__dict__["training_step"] = self._own


_OUT_OF_MEMORY: type[BaseException] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
