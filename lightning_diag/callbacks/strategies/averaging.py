"""Averages of the weights along the way: their arithmetic mean (Polyak), or an exponential moving one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Union, final

import torch
from lightning import __version__ as lightning_version
from lightning.pytorch import Callback, callbacks as lightning_callbacks
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from lightning_diag.callbacks.strategies.batch_statistics import BatchStatistics
from lightning_diag.callbacks.strategies.values import fraction, natural, planned_steps

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import WeightAveraging
else:  # new in lightning 2.6
    WeightAveraging = getattr(lightning_callbacks, "WeightAveraging", Callback)

Average = Callable[[Tensor, Tensor, Union[Tensor, int]], Tensor]


class Averaging(WeightAveraging):
    """Trains as ever, but validates, saves and ends with the average of the weights.

    On Lightning's ``WeightAveraging``, with these differences: statistics of BatchNorm are recomputed for the averaged
    weights whenever these are used (:class:`BatchStatistics`); before the average begins the present weights are
    validated and saved; other buffers (counters, masks, tables) are those of the present model, not averages; a second
    fit starts anew; ``trainer.test(ckpt_path=...)`` after a fit tests what the checkpoint holds.

    Args:
        average: new average from the old one, the present weight and the number of averaged weights; None: their mean.
        start: share of the planned optimizer steps after which averaging begins, in [0, 1).
        every_n_steps: optimizer steps between two updates of the average.
        batchnorm_batches: training batches from which statistics of BatchNorm are recomputed; 0 leaves them those of
            the present weights.
        device: where the average is kept ("cpu" saves memory of the accelerator); None: where the model is.
    """

    def __init__(
        self, average: Average | None, start: float, every_n_steps: int, batchnorm_batches: int, device: str | None
    ) -> None:
        if not hasattr(lightning_callbacks, "WeightAveraging"):
            raise ImportError(
                f"{type(self).__name__} stands on Lightning's WeightAveraging, which the installed lightning "
                f"{lightning_version} does not have: pip install 'lightning>=2.6'"
            )
        self.start = fraction("start", start, below_one=True)
        self.every_n_steps = natural("every_n_steps", every_n_steps)
        self.batchnorm_batches = natural("batchnorm_batches", batchnorm_batches, least=0)
        super().__init__(device=device, use_buffers=False, avg_fn=average)
        self._first_step = 0
        self._statistics = BatchStatistics(self.batchnorm_batches)
        self._stale = self._swapped = False

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return whether the weights after this optimizer step (counted from zero) belong to the average."""
        since = -1 if step_idx is None else step_idx - self._first_step
        return since >= 0 and since % self.every_n_steps == 0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == "fit":  # the copy is made later, when other callbacks have changed what they change in the model
            self._average_model, self._latest_update_step = None, 0
            self._stale = self._swapped = False

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and "averaging_state" in checkpoint:  # else the weights are in the model already
            self._copy(pl_module)
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._statistics.check(pl_module)
        if self._average_model is None:
            self._copy(pl_module)
        elif self._device is None:
            self._average_model.to(pl_module.device)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._first_step = int(self.start * planned_steps(trainer, "start=0")) if self.start else 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        before = self._latest_update_step
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._latest_update_step != before:
            if not self._stale:
                self._statistics.note_modes(pl_module)
            self._stale = True

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn == "fit" and self._begun:
            self._refresh(trainer)
            self._swap_models(pl_module)
            self._swapped = True

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._swapped:
            self._swap_models(pl_module)
            self._swapped = False

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self._begun:
            self._refresh(trainer)
            self._copy_average_to_current(pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.on_validation_epoch_end(trainer, pl_module)
        self._stale = False  # what is saved now is saved as it is: no more passes over the data

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self._average_model is None:
            return
        if self._begun:
            self._refresh(trainer)
        else:
            self._average_model.module.load_state_dict(pl_module.state_dict())
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            self._average_model = None  # its weights are the model's now; what is saved from here on are the model's

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the methods that Lightning puts on callbacks: they hold model and Trainer."""
        return {k: v for k, v in self.__dict__.items() if k not in ("log", "log_dict")}

    @property
    def _begun(self) -> bool:
        return self._average_model is not None and bool(self._average_model.n_averaged > 0)

    def _copy(self, module: Any) -> None:
        self._average_model = AveragedModel(
            module, device=self._device or module.device, use_buffers=False, **self._kwargs
        )

    def _refresh(self, trainer: Any) -> None:
        if self._stale and self._average_model is not None:
            self._statistics.recompute(trainer, self._average_model.module)
            self._stale = False


@final
class PolyakAveraging(Averaging):
    """Validates, saves and ends with the arithmetic mean of the weights that training visited.

    Formula: mean of w(t) over the steps t = start * T ... T. A step size that leaps across a valley leaves weights on
    its sides; their mean lies near its bottom. Costs a second copy of the weights, one read of all weights an update,
    and a forward pass over ``batchnorm_batches`` before each validation and checkpoint, if the model has BatchNorm.

    Args:
        start: share of the planned optimizer steps after which averaging begins, in [0, 1). 0 is the lecture's formula,
            on convex problems the optimal one; of a network the first weights are far from the last, so half of them
            are left out by default.
        every_n_steps: optimizer steps between two weights that are averaged.
        batchnorm_batches: training batches from which statistics of BatchNorm are recomputed; 0 leaves them those of
            the present weights.
        device: where the average is kept; None: where the model is.

    Raises:
        ImportError: lightning is older than 2.6.
        ValueError: a value is out of range; or the number of steps is unknown and ``start`` is not 0.

    Source: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; Izmailov et al., Averaging
        Weights Leads to Wider Optima and Better Generalization, 2018.
    """

    def __init__(
        self,
        start: float = 0.5,
        *,
        every_n_steps: int = 1,
        batchnorm_batches: int = 100,
        device: str | None = None,
    ) -> None:
        super().__init__(None, start, every_n_steps, batchnorm_batches, device)


@final
class EMA(Averaging):
    """Validates, saves and ends with the exponential moving average of the weights.

    Formula: average <- a * average + (1 - a) * weight, with a = ``decay``, or the smaller (1 + n) / (10 + n) at the
    n-th update, so that the average of a short run is not made of its first weights. Remembers about 1 / (1 - decay)
    updates. Costs as :class:`PolyakAveraging`. The average has the type of the weights: in pure bfloat16 small updates
    are lost.

    Args:
        decay: what is kept of the average at each update, in (0, 1).
        warmup: whether the first updates keep less, as in the formula.
        start: share of the planned optimizer steps after which averaging begins, in [0, 1).
        every_n_steps: optimizer steps between two updates.
        batchnorm_batches: training batches from which statistics of BatchNorm are recomputed; 0 leaves them those of
            the present weights.
        device: where the average is kept; None: where the model is.

    Raises:
        ImportError: lightning is older than 2.6.
        ValueError: a value is out of range; or the number of steps is unknown and ``start`` is not 0.

    Source: Polyak averaging with exponential decay, Goodfellow et al., Deep Learning, 2016, section 8.7.3; the warmup
        as in TensorFlow's ``ExponentialMovingAverage(num_updates=...)``.
    """

    def __init__(
        self,
        decay: float = 0.999,
        *,
        warmup: bool = True,
        start: float = 0.0,
        every_n_steps: int = 1,
        batchnorm_batches: int = 100,
        device: str | None = None,
    ) -> None:
        self.decay, self.warmup = fraction("decay", decay, below_one=True, above_zero=True), warmup
        average = partial(_moving, decay=self.decay, warmup=warmup)
        super().__init__(average, start, every_n_steps, batchnorm_batches, device)


def _moving(average: Tensor, weight: Tensor, count: Tensor | int, *, decay: float, warmup: bool) -> Tensor:
    """Return the next average; ``count`` weights are in it already."""
    n = torch.as_tensor(count, dtype=torch.float32)
    kept = torch.clamp((1 + n) / (10 + n), max=decay) if warmup else torch.full_like(n, decay)
    return average + (weight - average) * (1 - kept).to(average.device, average.dtype)
