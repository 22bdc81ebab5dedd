"""One fit, observed: attaches probes on sampled steps and fills the history."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_diag.callbacks.facts import batch_size, dead_examples
from lightning_diag.probes.activations import ActivationProbe
from lightning_diag.probes.metrics import MetricReader, metric_directions
from lightning_diag.probes.parameters import ParameterProbe
from lightning_diag.probes.readings import Readings, Silence
from lightning_diag.probes.samples import Sample, arranged
from lightning_diag.probes.sampling import SamplingPlan
from lightning_diag.probes.units import SilentUnits
from lightning_diag.records import History, Layer

_SUSPECTS = 0.25  # share of a layer's units that must look dead before extra samples are taken
_JUMP = 10.0  # a loss above this multiple of its running mean makes the next steps sampled


class Observer:
    """Takes the numbers of one fit.

    Args:
        module: the LightningModule.
        history: where they go.
        plan: which steps are sampled.
        histograms: whether bin counts are taken.
    """

    def __init__(self, module: nn.Module, history: History, plan: SamplingPlan, *, histograms: bool) -> None:
        self.module, self.history, self.plan, self.histograms = module, history, plan, histograms
        self.metrics = MetricReader()
        self.steps = 0
        self.samples = 0
        self.seconds = 0.0  # spent inside hooks, which the callback cannot time
        self.error: BaseException | None = None
        self.sample: Sample | None = None
        self._units = SilentUnits(int(history.run.get("dead_examples", 512)))
        self._activations: ActivationProbe | None = None
        self._parameters: ParameterProbe | None = None
        self._readings: Readings | None = None
        self._loss_mean: float | None = None
        self._losses: list[Any] = []
        self._norms: deque[float] = deque(maxlen=32)
        self._jumped = False

    @property
    def sampling(self) -> bool:
        """Whether the running step is sampled."""
        return self._readings is not None

    def start_step(self, step: int, batch: Any) -> None:
        """Attach the probes if the step is due."""
        self.stop_step()
        if not self.plan.due(step):
            return
        if not self.samples:
            self._settle_batch_size(batch)
        self._readings = Readings()
        self._activations = ActivationProbe(self.module, self._readings, self.failed)
        self._parameters = ParameterProbe(self.module, self._readings, self.failed)
        self._activations.__enter__()

    def _settle_batch_size(self, batch: Any) -> None:
        run = self.history.run
        if run.get("batch_size") is None and (size := batch_size(batch)) is not None:
            needed = dead_examples(run.get("dataset_size"), size, run.get("steps_planned"))
            self.history.update_run(batch_size=size, dead_examples=needed)
            self._units.examples_needed = needed

    def failed(self, error: BaseException) -> None:
        """Remember the first failure of a probe; the callback then stands aside."""
        self.error = self.error or error

    def before_backward(self, *, automatic: bool, scale: Tensor | None) -> None:
        """The forward pass is over (automatic optimization), or one of several is."""
        if self._activations is None or self._readings is None:
            return
        if automatic:
            self._activations.detach_modules()
        self._activations.paused = True
        if scale is not None:
            self._readings.site("total", "", 1)
            self._readings.scalar("total/gradient_scale", "", scale)

    def after_backward(self) -> None:
        """A backward pass is over."""
        if self._activations is not None:
            self._activations.paused = False

    def before_optimizer(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """An optimizer is about to step: its learning rates, and on sampled steps gradients and parameters."""
        for i, group in enumerate(optimizer.param_groups):
            self.metrics.add(f"learning_rate/{_group_name(optimizer, group, i)}", step, group.get("lr"))
        if self._parameters is not None:
            self._parameters.before_step(optimizer)

    def end_batch(self, step: int, epoch: int, loss: Any, logged: Mapping[str, Any], *, stepped: bool) -> bool:
        """Take the loss and the metrics; after a step bring the sample over. Returns whether a sample was added."""
        self._losses.append(loss)
        if not stepped:
            return False
        self._take_loss(step)
        self.metrics.logged(logged, step)
        self.steps += 1
        if not self.sampling:
            return False
        self._add_sample(step, epoch)
        return True

    def _take_loss(self, step: int) -> None:
        losses, self._losses = [x for x in self._losses if x is not None], []
        if not losses:
            return
        value = self.metrics.add("loss", step, losses[0] if len(losses) == 1 else sum(losses) / len(losses))
        if value is None:
            return
        mean = self._loss_mean
        self._jumped = not np.isfinite(value) or (mean is not None and value > _JUMP * mean > 0)
        if self._jumped:
            self.plan.request(4)
        elif np.isfinite(value):
            self._loss_mean = value if mean is None else 0.9 * mean + 0.1 * value

    def _add_sample(self, step: int, epoch: int) -> None:
        readings, activations, parameters = self._readings, self._activations, self._parameters
        if readings is None or activations is None or parameters is None:
            return
        parameters.after_step()
        part = readings.fetch()
        sample = arranged(part, histograms=self.histograms)
        self.seconds += activations.seconds + parameters.seconds
        layers = activations.ordered_layers()
        self.stop_step()
        self._add(sample, part.silence, layers, step, epoch)

    def _add(self, sample: Sample, silence: Mapping[str, Silence], layers: list[Layer], step: int, epoch: int) -> None:
        rows, suspects = self._units.update(silence, sample.sites.get("activation", []))
        sample.values |= rows
        if suspects > _SUSPECTS:
            self.plan.request(-(-self._units.examples_needed // (self.history.run.get("batch_size") or 1)))
        for family, sites in sample.sites.items():
            self.history.set_sites(family, sites)
        if layers:
            self.history.set_layers(layers)
        self.metrics.flush(self.history)
        self.history.add_sample(step, epoch, sample.values)
        self.samples += 1
        self.history.run.update(steps=self.steps, samples=self.samples, last_step=step)
        norm = float(sample.values.get("total/gradient_norm", np.zeros(1))[0])
        self._jumped |= bool(self._norms) and norm > _JUMP * float(np.median(self._norms))
        self._norms.append(norm)
        self.sample = sample

    @property
    def alarming(self) -> bool:
        """Whether the last sample holds what a tripwire may catch: non-finite numbers, a jump of loss or gradient."""
        if self.sample is None or self._jumped:
            return True
        values = self.sample.values
        return any(np.nansum(row) > 0 for name, row in values.items() if name.endswith("/nonfinite"))

    def take_logged(self, metrics: Mapping[str, Any], step: int, *, validation: bool) -> None:
        """Take what was logged at the end of a validation run or of an epoch."""
        self.metrics.logged(metrics, step, stage="validate" if validation else "train")
        directions = metric_directions(self.module, metrics)
        if directions:
            self.history.update_run(metric_direction={**self.history.run.get("metric_direction", {}), **directions})
        self.metrics.flush(self.history)

    def stop_step(self) -> None:
        """Detach everything and let go of the step's tensors."""
        if self._activations is not None:
            self._activations.__exit__()
        self._readings = self._activations = self._parameters = None

    def close(self) -> None:
        """Detach everything, bring the last points over, free the device state."""
        start = time.perf_counter()
        self.stop_step()
        self.metrics.flush(self.history)
        self.history.run.update(steps=self.steps, samples=self.samples)
        self._units.forget()
        self.sample = None
        self.seconds += time.perf_counter() - start


def _group_name(optimizer: torch.optim.Optimizer, group: Mapping[str, Any], index: int) -> str:
    kind = type(getattr(optimizer, "optimizer", optimizer)).__name__
    return str(group.get("name", f"{kind}.{index}" if len(optimizer.param_groups) > 1 else kind))
