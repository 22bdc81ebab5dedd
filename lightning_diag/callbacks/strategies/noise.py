"""Noise on the inputs that fades while training goes on: a continuation method."""

from __future__ import annotations

import math
from typing import Any, Literal, Union, final, get_args

import torch

from lightning_diag.callbacks.strategies.batches import part_of, place_of, with_parts
from lightning_diag.callbacks.strategies.substitution import BatchChange
from lightning_diag.callbacks.strategies.values import choice, fraction, number, planned_steps, seed_of_step

Decay = Literal["linear", "cosine", "exponential", "constant"]
LEAST = 0.01  # what an exponential decay has left where it ends


@final
class InputNoise(BatchChange):
    """Adds Gaussian noise to the inputs of training batches, less and less of it.

    Formula: x + s(t) * n, n ~ N(0, 1), s(t) = std * decay(t / (until * T)) for the t-th of T optimizer steps, 0 from
    step until * T on. Averaged over the noise the loss is a blurred one, with fewer small hollows; as the noise fades
    the real one comes back, and training goes on from where the blurred one has led. Noise that stays ("constant") is
    a regularizer. Validation sees no noise. The noise of a step depends on the seed, the step and the rank only, so
    that neither shuffling nor dropout changes, and a resumed run sees the same.

    Args:
        std: standard deviation at the start, in units of the inputs (standardized ones have spread 1).
        decay: its course: linear 1 - p, cosine (1 + cos(pi p)) / 2, exponential 0.01^p for the share p of the way, or
            constant to the end of the run.
        until: share of the planned optimizer steps after which there is no more noise, in (0, 1].
        inputs: index, key or attribute of the inputs in a batch; None: the batch, its first element, or the only
            floating point tensor of a mapping that is not named like targets.

    Raises:
        ValueError: a value is out of range; the inputs cannot be told, or the number of steps is unknown.
        TypeError: a value, or the inputs, are no floating point numbers.

    Source: Bishop, Training with Noise is Equivalent to Tikhonov Regularization, 1995; continuation: Mobahi and Fisher,
        On the Link between Gaussian Homotopy Continuation and Convex Envelopes, 2015.
    """

    def __init__(
        self, std: float = 0.1, *, decay: Decay = "linear", until: float = 0.75, inputs: Union[int, str, None] = None
    ) -> None:
        super().__init__()
        self.std = number("std", std)
        self.decay: Decay = choice("decay", decay, get_args(Decay))
        self.until = fraction("until", until, above_zero=True)
        self.inputs = inputs
        self._steps = self._seed = 0
        self._now = self.std

    def std_at(self, progress: float) -> float:
        """Return the standard deviation after a share of the planned steps.

        Example:
            >>> InputNoise(0.2, until=0.5).std_at(0.25)
            0.1
        """
        if self.decay == "constant":
            return self.std
        p = progress / self.until
        if p >= 1:
            return 0.0
        left = {"linear": 1 - p, "cosine": (1 + math.cos(math.pi * p)) / 2, "exponential": float(LEAST**p)}
        return self.std * left[self.decay]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._steps = 1 if self.decay == "constant" else planned_steps(trainer, "decay='constant'")
        super().on_train_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self._now = self.std_at(trainer.global_step / self._steps)
        self._seed = seed_of_step(trainer, batch_idx)

    def change(self, batch: Any) -> Any:
        """Return the batch with noise on its inputs."""
        if self._now == 0:
            return batch
        place = place_of(batch, self.inputs, "inputs")
        x = part_of(batch, place)
        if not x.is_floating_point():
            raise TypeError(
                f"InputNoise adds to floating point inputs, got {x.dtype} (scale images to [0, 1]; to token numbers "
                "nothing can be added)"
            )
        generator = torch.Generator(device=x.device).manual_seed(self._seed)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return with_parts(batch, {place: x + self._now * noise})
