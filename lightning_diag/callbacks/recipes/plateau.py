"""Reduce-on-plateau is told its metric: the one that is logged in validation, or the mean loss of training."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from lightning_diag.callbacks.recipes.metric import chosen_loss
from lightning_diag.optim import Plateau


class StepPlateau(Callback):
    """Tells reduce-on-plateau its metric at every validation, or at the end of every epoch where there is none.

    Lightning itself steps such a scheduler at ends of epochs: with the old value where no validation ran, once where
    several did, and after the checkpoint was written, so that a resumed run misses one. Here it counts validations,
    however often they come, and is stepped before checkpoints are written. The value is the mean over ranks.

    Args:
        monitor: the logged metric; None: the validation loss, or without one the mean training loss of an epoch.

    Attributes:
        monitor: what is watched; "" until the first validation has shown what is logged.

    Raises:
        ValueError: the metric that was asked for is not logged; the message lists those that are.
    """

    def __init__(self, monitor: str | None = None) -> None:
        self.asked, self.monitor = monitor, monitor or ""
        self._when: Literal["", "validation", "epoch"] = ""
        self._sum: Any = 0.0
        self._count = 0
        self._before: list[str] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.enable_validation and self.asked is None:
            self._watch_training("there is no validation")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if self._when != "validation" and self.asked is None and isinstance(loss, torch.Tensor):
            self._sum, self._count = self._sum + loss.detach(), self._count + 1

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._before = list(trainer.callback_metrics)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if not self._when:
            self._choose(list(trainer.callback_metrics))
        if self._when == "validation":
            self._tell(trainer, trainer.callback_metrics[self.monitor])

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._when == "validation":
            return
        if self.asked is None:
            if self._count and self._when == "epoch":
                self._tell(trainer, torch.as_tensor(self._sum / self._count))
            self._sum, self._count = 0.0, 0
        elif self.asked in trainer.callback_metrics:
            self._when = "epoch"
            self._tell(trainer, trainer.callback_metrics[self.asked])
        elif self._before or not trainer.enable_validation:
            raise ValueError(_missing(self.asked, list(trainer.callback_metrics)))

    def _choose(self, logged: list[str]) -> None:
        """Choose the metric at the first validation, when what is logged is known; one of training comes later."""
        new = [name for name in logged if name not in self._before]
        if self.asked is None:
            chosen = chosen_loss(logged, self._before)
            if chosen is None:
                self._watch_training(f"no loss of validation is logged, or several are ({', '.join(new) or 'nothing'})")
                return
            self.monitor, self._when = chosen, "validation"
            rank_zero_info(f"Recipe(schedule='plateau') watches {self.monitor}.")
        elif self.asked in new:
            self._when = "validation"
        self._before = self._before or [""]  # a validation was seen

    def _watch_training(self, reason: str) -> None:
        self.monitor, self._when = "mean training loss of the epoch", "epoch"
        rank_zero_info(f"Recipe(schedule='plateau') watches the {self.monitor}: {reason}.")

    def _tell(self, trainer: Any, metric: Any) -> None:
        """Tell the schedulers the mean of the metric over ranks."""
        value = trainer.strategy.reduce(torch.as_tensor(metric, device=trainer.strategy.root_device), reduce_op="mean")
        for config in trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, Plateau) and trainer.global_step >= config.scheduler.warmup_steps:
                config.scheduler.step(float(value))

    def state_dict(self) -> dict[str, Any]:
        return {"monitor": self.monitor, "when": self._when, "sum": float(self._sum), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.asked in (None, state_dict["monitor"]):
            self.monitor, self._when = state_dict["monitor"], state_dict["when"]
            self._sum, self._count = state_dict["sum"], state_dict["count"]


def _missing(wanted: str, logged: list[str]) -> str:
    near = difflib.get_close_matches(wanted, logged, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"Recipe(schedule='plateau') watches {wanted}, and that is not logged{hint} (logged: "
        f"{', '.join(logged) or 'nothing'}). "
        'Log it, self.log("val_loss", loss), or name another: Recipe(monitor=...)'
    )
