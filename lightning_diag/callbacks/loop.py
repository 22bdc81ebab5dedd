"""Where Lightning's training loop is, and which earlier run it goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_diag.callbacks.outlets import warn
from lightning_diag.records import History, HistoryError


def logged_step(trainer: Any, own: int) -> int:
    """Return the step at which Lightning logs now; the one private attribute that is read, our own count without it."""
    loop = getattr(getattr(trainer, "fit_loop", None), "epoch_loop", None)
    step = getattr(loop, "_batches_that_stepped", None)
    return own if step is None else int(step)


def will_step(trainer: Any, batch_idx: int) -> bool:
    """Return whether the optimizer steps after this batch: the last one of an accumulation, or of the epoch."""
    every = int(getattr(trainer, "accumulate_grad_batches", 1) or 1)
    last = bool(trainer.is_last_batch) or batch_idx + 1 == trainer.num_training_batches
    return (batch_idx + 1) % every == 0 or last


def reads_metrics(trainer: Any, step: int, planned: int | None) -> bool:
    """Return whether the metrics logged in this step are read: Lightning takes long to gather them.

    A thousand times in a run, and no less often than they are logged; each epoch's are read at its end anyway.
    """
    every = max(1, min(getattr(trainer, "log_every_n_steps", 50), (planned or step) // 1000))
    return step % every == 0


def optimizer_number(trainer: Any, optimizer: Any) -> str:
    """Return what tells an optimizer from the others of the Trainer; "" where it is the only one."""
    known = list(getattr(trainer, "optimizers", []))
    return next((f"{i}." for i, o in enumerate(known) if o is optimizer), "") if len(known) > 1 else ""


def continued(continues: Mapping[str, Any]) -> History:
    """Return the history that a resumed run goes on with, or a new one where the old is not to be had."""
    path = continues.get("history")
    if not isinstance(path, str) or not Path(path).is_file():
        return History()
    try:
        history = History.load(path)
    except HistoryError as error:
        warn(f"lightning_diag cannot go on with the earlier history: {error}")
        return History()
    history.run = {"steps": int(history.run.get("steps", 0))}
    return history
