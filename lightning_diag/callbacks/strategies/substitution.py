"""Other batches for the training step: what stands in for the step of one module while it is trained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any

from lightning.pytorch import Callback

from lightning_diag.callbacks.strategies.rehearsal import draws_batches

Change = Callable[[Any], Any]  # batch -> another batch; the one given stays as it is
_NAME = "training_step"


class Substitution:
    """Calls a module's training step with changed batches.

    A batch is changed once, however often the step is called with it (a line search calls it again). Several callbacks
    share one substitution; changes are made in the order in which they were added.

    Args:
        original: the step, an attribute of the class (called with the module) or of the module itself.
        own: whether it is the module's own.
    """

    def __init__(self, original: Callable[..., Any], *, own: bool) -> None:
        self.original, self.own, self.__name__ = original, own, _NAME  # pickle asks a method for its name
        self.__wrapped__ = getattr(original, "__wrapped__", original)  # Lightning looks at the arguments of the step
        self.changes: list[Change] = []
        self._last: tuple[Any, Any] | None = None

    def __call__(self, module: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
        if self._last is None or self._last[0] is not batch:
            changed = batch
            for change in self.changes:
                changed = change(changed)
            self._last = batch, changed
        given = () if self.own else (module,)
        return self.original(*given, self._last[1], *args, **kwargs)

    def forget(self) -> None:
        """Forget the last batch: the same object may come again and is to be changed anew."""
        self._last = None


class BatchChange(Callback):
    """A callback that hands the training step another batch than the loader gave; validation sees the loader's.

    Hooks, and other callbacks, see the batch as it was. The batch itself is never written to.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if reason := draws_batches(pl_module):
            raise ValueError(f"{type(self).__name__} cannot change the batches of {type(pl_module).__name__}: {reason}")
        if (present := _present(pl_module)) is None:
            own = pl_module.__dict__.get(_NAME)
            present = Substitution(getattr(type(pl_module), _NAME) if own is None else own, own=own is not None)
            setattr(pl_module, _NAME, MethodType(present, pl_module))
        if self.change not in present.changes:
            present.changes.append(self.change)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (present := _present(pl_module)) is not None:
            present.forget()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._withdraw(pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._withdraw(pl_module)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._withdraw(pl_module)

    def change(self, batch: Any) -> Any:
        """Return another batch."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the methods that Lightning puts on callbacks: they hold model and Trainer."""
        return {k: v for k, v in self.__dict__.items() if k not in ("log", "log_dict")}

    def _withdraw(self, module: Any) -> None:
        present = _present(module)
        if present is None or self.change not in present.changes:
            return
        present.changes.remove(self.change)
        if not present.changes:
            delattr(module, _NAME)
            if present.own:
                setattr(module, _NAME, present.original)


def plain_copy(module: Any) -> Any:
    """Return a copy of a module whose training step is its own."""
    other = copy.deepcopy(module)
    if (present := _present(other)) is not None:
        delattr(other, _NAME)
        if present.own:
            step = present.original
            setattr(other, _NAME, MethodType(step.__func__, other) if isinstance(step, MethodType) else step)
    return other


def _present(module: Any) -> Substitution | None:
    found = getattr(module.__dict__.get(_NAME), "__func__", None)
    return found if isinstance(found, Substitution) else None
