"""All probes of one sampled step: opened before the forward pass, closed before the optimizer's next one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.probes.activations import ActivationProbe
from lightning_diag.probes.batch import batch_tensors, take_batch
from lightning_diag.probes.compiled import EagerStep, OutOfMemoryGuard
from lightning_diag.probes.functions import FunctionProbe
from lightning_diag.probes.handwritten import HandWritten
from lightning_diag.probes.norms import in_wrong_mode
from lightning_diag.probes.parameters import ParameterProbe
from lightning_diag.probes.readings import Part, Readings
from lightning_diag.records import Layer
from lightning_diag.statistics.views import storage


class SampledStep:
    """Observes one optimizer step.

    Args:
        module: the LightningModule.
        eager: whether compiled code is made to run eagerly for this step.
        guarded: whether the training step is tried again where that does not fit into memory.
        forward: whether activations and functions are observed at all (not where compiled code is left alone).
        on_error: called with the exception of a failing measurement.
        silent: rectifiers that had silent units in the sample before.
        deep: whether what costs more is measured too: spread across samples, normalization, clones among units.
        fresh: ids of the parameters whose optimizer stepped in the batch before: their gradients should be cleared.
        first: whether this is the first look at the run.
        written: what the steps before told of a loss that is written by hand.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        eager: bool,
        guarded: bool,
        forward: bool,
        on_error: Callable[[BaseException], None],
        silent: Collection[str] = (),
        deep: bool = True,
        fresh: Collection[int] = (),
        first: bool = False,
        written: HandWritten | None = None,
    ) -> None:
        self.readings = Readings()
        self.batch: dict[str, dict[str, Any]] = {}
        self._module = module
        self._forward = forward
        self._again = False
        self.in_eval: list[str] = []
        self._activations = ActivationProbe(module, self.readings, on_error, silent, deep=deep)
        seen = self._activations
        self._functions = FunctionProbe(module, self.readings, seen.function, seen.prediction, on_error)
        self._functions.maker = seen.maker
        self._functions.first = first
        self._functions.losses.written = written
        self._parameters = ParameterProbe(module, self.readings, on_error, deep=deep, fresh=fresh)
        self._eager = EagerStep() if eager else None
        self._guard = OutOfMemoryGuard(module, self._give_up) if guarded else None
        self.on_out_of_memory: Callable[[BaseException], None] = on_error

    def open(self, batch: Any) -> None:
        """Take the batch and attach everything."""
        self.batch = take_batch(batch, self.readings)
        self._functions.losses.batch = {storage(t): path for path, t in batch_tensors(batch) if storage(t)}
        sizes = {t.shape[0] for _, t in batch_tensors(batch) if t.dim()}
        self._functions.batch_size = sizes.pop() if len(sizes) == 1 else 0
        if not self._forward:
            return
        if self._eager is not None:
            self._eager.open()
        self._activations.__enter__()
        self._functions.open()
        if self._guard is not None:
            self._guard.open()

    def _give_up(self, error: BaseException) -> None:
        """Let go of all that an eager step needs and go on without observing it."""
        self._functions.close()
        self._activations.__exit__()
        if self._eager is not None:
            self._eager.close()
        self.on_out_of_memory(error)

    def before_backward(self, *, automatic: bool, scale: Tensor | None, loss: Tensor | None = None) -> None:
        """The forward pass is over (automatic optimization), or one of several is, with this loss."""
        self._functions.close()
        self._functions.settle(loss)
        self._parameters.before_backward()
        self.in_eval = in_wrong_mode(self._module, training=True)
        self._again = self._forward and not automatic
        if automatic:
            self._activations.detach_modules()
            if self._eager is not None:
                self._eager.close()
        self._activations.paused = True
        if scale is not None:
            self.readings.site("total", "", 1)
            self.readings.scalar("total/gradient_scale", "", scale)

    def after_backward(self) -> None:
        """A backward pass is over; under manual optimization another forward pass may follow."""
        self._activations.paused = False
        if self._again and self._activations.attached:
            self._functions.open()

    def before_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        self._parameters.before_step(optimizer)

    def finish(self, waiting: list[Tensor]) -> tuple[Part, list[float]]:
        """Measure the updates, detach, and bring all over in one transfer, the numbers that ``waiting`` holds too."""
        self._parameters.after_step()
        self._activations.settle()
        self.close()
        modes = [float(not m.training) for m in self._module.modules()]
        self.readings.site("total", "", 1)
        self.readings.waiting = waiting
        part = self.readings.fetch()
        part.scalars["total/eval_modules", ""] = sum(modes)
        return part, self.readings.brought

    def close(self) -> FunctionProbe | None:
        """Detach everything; returns the function mode if it lies under another one and could not be left yet."""
        self._functions.close()
        self._activations.__exit__()
        if self._guard is not None:
            self._guard.close()
        if self._eager is not None:
            self._eager.close()
        return self._functions if self._functions.lingering else None

    @property
    def layers(self) -> list[Layer]:
        """The layers seen, in order of execution, with their roles."""
        return self._activations.ordered_layers()

    @property
    def losses(self) -> list[dict[str, Any]]:
        """What was seen of the loss calls: name, reduction, shapes, dtypes."""
        return self._functions.losses.calls

    @property
    def differences(self) -> list[dict[str, Any]]:
        """Where a prediction and a tensor of the batch were subtracted."""
        return self._functions.losses.differences

    @property
    def products(self) -> list[dict[str, Any]]:
        """Where multiplying a prediction with a tensor of the batch made more numbers than either has."""
        return self._functions.losses.products

    @property
    def reshapes(self) -> list[dict[str, Any]]:
        """Where a reshape put parts of several samples together."""
        return self._functions.reshapes

    @property
    def attends_ahead(self) -> dict[str, bool]:
        """Module -> whether attention in it sees later places of its own sequence; told of the first sample only."""
        return self._functions.ahead

    @property
    def sequences(self) -> dict[str, list[int]]:
        """Recurrent and attention layer -> the numbers of samples and of time steps that it takes its input for."""
        return self._activations.sequences

    @property
    def seconds(self) -> float:
        """Time spent inside hooks."""
        return self._activations.seconds + self._functions.seconds + self._parameters.seconds
