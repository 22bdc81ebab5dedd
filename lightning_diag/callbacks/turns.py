"""Whose turn it is: callbacks that must act before others at the start of fit."""

from __future__ import annotations

from typing import Any


def put_first(trainer: Any, callback: Any, behind: tuple[type, ...] = ()) -> None:
    """Put a callback before all others, so that learning rate finders and the like find its work done.

    The Trainer gets a new list: the one that is being gone through stays as it is.

    Args:
        trainer: the Trainer.
        callback: one of its callbacks.
        behind: those that go before it nevertheless.
    """
    others = [c for c in trainer.callbacks if c is not callback]
    ahead = [c for c in others if isinstance(c, behind)]
    trainer.callbacks = [*ahead, callback, *(c for c in others if c not in ahead)]
