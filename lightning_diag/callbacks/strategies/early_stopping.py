"""Early stopping that watches what is logged, counts validations, and returns to the best weights."""

from __future__ import annotations

import difflib
import math
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, final

from lightning.pytorch.callbacks import EarlyStopping

from lightning_diag.callbacks.strategies.values import choice, natural, number
from lightning_diag.probes.metrics import metric_directions

Mode = Literal["min", "max"]
_VALIDATION = re.compile(r"(^|[^a-z])(val|valid|validation|dev|eval)([^a-z]|$)")
_LOWER = re.compile(r"loss|error|err([^a-z]|$)|perplexity|nll|mse|mae|rmse|mape|wer([^a-z]|$)|divergence")
_HIGHER = re.compile(r"acc|f1|auc|auroc|precision|recall|score|r2|iou|dice|map([^a-z]|$)|bleu|psnr|ssim|corr")


@final
class StopEarly(EarlyStopping):
    """Stops when validation has not improved for some validations, and returns to the weights that did best.

    Lightning's ``EarlyStopping`` with three differences. The metric is chosen among those that are really logged: the
    validation loss where there is one; what is chosen is in :attr:`monitor`. Patience counts validations, whether they
    come after every epoch, every few, or several times in one. At each best value a checkpoint is written, and at the
    end of fit, stopped or not, the best weights are put back into the module: with weight averaging beside it those
    that were validated, the averages.

    Args:
        monitor: name of the logged metric; None: the only validation metric with "loss" in its name, or the only
            validation metric.
        patience: validations without improvement after which training stops.
        min_delta: what counts as improvement of the metric, for patience; any improvement makes a checkpoint.
        mode: whether less ("min") or more ("max") of the metric is better; None: as its name or its torchmetrics object
            says.
        restore: whether the best weights are put back at the end.
        directory: where the checkpoint is written; None: ``checkpoints`` in the directory of the run.
        verbose: whether improvements are logged.

    Attributes:
        best_path: the checkpoint of the best weights; "" before the first.
        best_value: its value of the metric; None before the first.

    Raises:
        ValueError: there is no validation; the metric is not logged, more than one could be meant, or which way it gets
            better is not clear; a value is out of range.

    Source: Prechelt, Early Stopping - But When?, 1998; Goodfellow et al., Deep Learning, 2016, section 7.8.
    """

    def __init__(
        self,
        monitor: str | None = None,
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Mode | None = None,
        restore: bool = True,
        directory: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.asked = (monitor, None if mode is None else choice("mode", mode, ("min", "max")))
        self.smallest = number("min_delta", min_delta)
        self.restore, self.directory = restore, directory
        self.best_path: str = ""
        self.best_value: float | None = None
        super().__init__(
            monitor or "", self.smallest, natural("patience", patience), verbose, mode or "min",
            check_on_train_epoch_end=False,
        )  # fmt: skip
        self._before: frozenset[str] = frozenset()

    @property
    def state_key(self) -> str:
        """The arguments, not what was chosen by them: a resumed run has not chosen yet."""
        return self._generate_state_key(monitor=self.asked[0], mode=self.asked[1])

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage != "fit":
            return
        super().__init__(
            self.asked[0] or "", self.smallest, self.patience, self.verbose, self.asked[1] or "min",
            check_on_train_epoch_end=False,
        )  # fmt: skip
        self.best_path, self.best_value = "", None
        if not trainer.enable_validation:
            raise ValueError(
                "StopEarly needs validation: a validation_step, a loader for it, and limit_val_batches above 0. To "
                "stop on a metric of training use Lightning's EarlyStopping(monitor, check_on_train_epoch_end=True)"
            )

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._before = frozenset(trainer.callback_metrics)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self._should_skip_check(trainer):
            return
        self._choose(trainer, pl_module)
        super().on_validation_end(trainer, pl_module)
        if trainer.fast_dev_run:
            return
        value = float(trainer.strategy.reduce(trainer.callback_metrics[self.monitor], reduce_op="mean"))
        sign = 1 if self.mode == "max" else -1
        if math.isfinite(value) and (self.best_value is None or sign * value > sign * self.best_value):
            self.best_value = value
            self.best_path = self.best_path or self._new_path(trainer)
            trainer.save_checkpoint(self.best_path)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if not self.restore or trainer.fast_dev_run:
            return
        if not self.best_path:
            warnings.warn(
                f"StopEarly saw no finite {self.monitor or 'metric'}: the module keeps its last weights", stacklevel=1
            )
            return
        checkpoint = trainer.strategy.load_checkpoint(self.best_path)
        pl_module.on_load_checkpoint(checkpoint)
        trainer.strategy.load_model_state_dict(checkpoint, strict=pl_module.strict_loading)

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(), "monitor": self.monitor, "mode": self.mode,
            "best_path": self.best_path, "best_value": self.best_value,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        patience = self.patience
        super().load_state_dict(state_dict)
        self.patience = patience  # as it is asked for now, not as it was
        self._watch(state_dict["monitor"], state_dict["mode"], keep_best=True)
        if state_dict["best_path"] and Path(state_dict["best_path"]).is_file():
            self.best_path, self.best_value = state_dict["best_path"], state_dict["best_value"]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the methods that Lightning puts on callbacks: they hold model and Trainer."""
        return {k: v for k, v in self.__dict__.items() if k not in ("log", "log_dict")}

    def _choose(self, trainer: Any, module: Any) -> None:
        """Choose the metric at the first validation, when what is logged is known."""
        logged = list(trainer.callback_metrics)
        if not self.monitor:
            self._watch(chosen(logged, self._before), self.mode)
        elif self.monitor not in logged:
            near = difflib.get_close_matches(self.monitor, logged, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"StopEarly watches {self.monitor!r}, which is not logged{meant} {_logged(logged)}")
        if self.asked[1] is None and self.best_value is None:
            told = metric_directions(module, [self.monitor]).get(self.monitor)
            self._watch(self.monitor, {"higher": "max", "lower": "min"}.get(told or "") or direction(self.monitor))

    def _watch(self, monitor: str, mode: str, *, keep_best: bool = False) -> None:
        self.monitor = monitor
        if mode != self.mode:
            self.mode = mode
            self.min_delta = self.smallest * (1 if mode == "max" else -1)
            self.best_score = self.best_score if keep_best else -self.best_score

    def _new_path(self, trainer: Any) -> str:
        """Return a path that no other run has used, the same on every rank."""
        folder = Path(self.directory or Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints")
        name = re.sub(r"[^\w.-]+", "_", self.monitor)
        path, n = folder / f"best-{name}.ckpt", 1
        while path.exists():
            n += 1
            path = folder / f"best-{name}-{n}.ckpt"
        return str(trainer.strategy.broadcast(str(path)))


def chosen(logged: Iterable[str], before: Iterable[str] = ()) -> str:
    """Return the metric to watch among those that are logged.

    Args:
        logged: names of metrics after a validation.
        before: names that were there before it.

    Raises:
        ValueError: no metric of validation is logged, or several could be meant.

    Example:
        >>> chosen(["train_loss", "val_loss", "val_acc"])
        'val_loss'
    """
    names = [n for n in logged if n != "epoch"]
    old = set(before)
    of_validation = [n for n in names if _VALIDATION.search(n.lower())] or [n for n in names if n not in old]
    if not of_validation:
        raise ValueError(
            f"StopEarly finds no metric of validation {_logged(names)}; log one in validation_step: "
            'self.log("val_loss", loss)'
        )
    losses = [n for n in of_validation if "loss" in n.lower()]
    exact = [n for n in losses if re.fullmatch(r"\w*[/_.-]?loss", n.lower())]
    for candidates in (exact, losses, of_validation):
        if len(candidates) == 1:
            return candidates[0]
    raise ValueError(f"StopEarly could watch {' or '.join(map(repr, losses or of_validation))}: say monitor=...")


def direction(metric: str) -> Mode:
    """Return whether less or more of a metric is better, by its name.

    Raises:
        ValueError: the name does not tell.

    Example:
        >>> direction("val_acc"), direction("val/loss")
        ('max', 'min')
    """
    lower, higher = _LOWER.search(metric.lower()), _HIGHER.search(metric.lower())
    if bool(lower) == bool(higher):
        raise ValueError(f"whether less or more of {metric!r} is better is not clear: say mode='min' or mode='max'")
    return "min" if lower else "max"


def _logged(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"(logged: {listed or 'nothing'})"
