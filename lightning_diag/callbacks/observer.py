"""One fit, observed: attaches probes on sampled steps and fills the history."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_diag.callbacks.facts import batch_size, dead_examples, group_name
from lightning_diag.callbacks.jumps import Jumps
from lightning_diag.callbacks.ranks import Ranks
from lightning_diag.callbacks.surroundings import FACTS, Surroundings
from lightning_diag.probes.compiled import can_run_eagerly, compiled_modules, something_compiled
from lightning_diag.probes.functions import FunctionProbe
from lightning_diag.probes.handwritten import HandWritten
from lightning_diag.probes.metrics import MetricReader, add_points, metric_directions
from lightning_diag.probes.readings import Part, Silence
from lightning_diag.probes.samples import Sample, arranged
from lightning_diag.probes.sampling import SamplingPlan
from lightning_diag.probes.sources import source_of, sources
from lightning_diag.probes.step import SampledStep
from lightning_diag.probes.units import SilentUnits, dead_from_start
from lightning_diag.records import History

_DENSE = 8  # samples at the start that measure everything, and of how many later ones one does
_SUSPECTS = 0.25  # share of a layer's units that must look dead before extra samples are taken


class Observer:
    """Takes the numbers of one fit.

    Args:
        module: the LightningModule.
        history: where they go.
        plan: which steps are sampled.
        histograms: whether bin counts go to the sinks.
        compiled: "eager" runs compiled code eagerly on sampled steps, "skip" leaves it unmeasured.
        ranks: the processes that train together.
    """

    def __init__(
        self,
        module: nn.Module,
        history: History,
        plan: SamplingPlan,
        *,
        histograms: bool,
        compiled: str = "eager",
        ranks: Ranks | None = None,
    ) -> None:
        self.module, self.history, self.plan, self.histograms = module, history, plan, histograms
        self.compiled, self.ranks = compiled, ranks or Ranks()
        self.metrics = MetricReader()
        self.steps, self.samples = int(history.run.get("steps", 0)), len(history)
        self.seconds = 0.0  # spent inside hooks, which the callback cannot time
        self.error: BaseException | None = None
        self.say: Callable[[str], None] = warnings.warn
        self.sample: Sample | None = None
        self._step: SampledStep | None = None
        self._units = SilentUnits(int(history.run.get("dead_examples", 512)), dead_from_start(history))
        self._losses: list[Any] = []
        self._size: int | None = None  # of the batch of the sampled step
        self._jumps = Jumps()
        self.surroundings = Surroundings(module)
        self._stepped_before = False
        self._sources: dict[str, str] | None = None  # where the user's code makes the modules, once asked for
        self._watched = False
        self._written = HandWritten()
        self._due = False  # a sample that waits for a batch in which an optimizer steps
        self._lingering: list[FunctionProbe] = []

    @property
    def sampling(self) -> bool:
        """Whether the running step is sampled."""
        return self._step is not None

    def start_step(self, step: int, batch: Any, *, watch: bool = True) -> None:
        """Attach the probes if the step is due; without ``watch`` only keep count with the other ranks."""
        self.stop_step()
        self._due |= self.plan.due(step)
        if not self._due:
            return
        self.ranks.expect()
        if not watch:
            return
        self._size = batch_size(batch)
        compiled = compiled_modules(self.module)
        eager = self.compiled == "eager" and can_run_eagerly()
        if compiled:
            self.history.update_run(compiled={"modules": compiled, "sampled_steps": self._compiled_state()})
        self._step = SampledStep(
            self.module,
            eager=eager,
            guarded=eager and bool(compiled),
            forward=eager or not (compiled or something_compiled()),
            on_error=self.failed,
            silent=self._units.some_silent,
            deep=self.deep,
            fresh=self.surroundings.owned if self._stepped_before else (),
            first=self.samples == 0,
            written=self._written,
        )
        self._step.on_out_of_memory = self._ran_out_of_memory
        self._step.open(batch)

    @property
    def deep(self) -> bool:
        """Whether the next sample is one of those (the first ones, then every eighth) that measure everything."""
        return self.samples < _DENSE or self.samples % _DENSE == 0

    def _compiled_state(self) -> str:
        if not can_run_eagerly():
            return "forward pass unmeasured: this torch cannot run compiled code eagerly (2.6 or later can)"
        skipped = "forward pass unmeasured: compiled='skip'"
        return {"eager": "run eagerly", "skip": skipped}.get(self.compiled, self.compiled)

    def _ran_out_of_memory(self, error: BaseException) -> None:
        """An eager step did not fit into memory: say so once, leave compiled code alone from now on."""
        self.compiled = f"forward pass unmeasured: an eager step ran out of memory ({type(error).__name__})"
        self.say(f"lightning_diag: {self.compiled}; the training goes on")

    def settle(self, size: int | None = None) -> None:
        """Set what follows from the facts of the run, and from the batch size where the loader did not state it."""
        run = self.history.run
        if run.get("batch_size") is None and size is not None:
            needed = dead_examples(run.get("dataset_size"), size, run.get("steps_planned"))
            self.history.update_run(batch_size=size, dead_examples=needed)
        self.plan.planned = run.get("steps_planned")
        self._units.examples_needed = int(run.get("dead_examples", 512))

    def failed(self, error: BaseException) -> None:
        """Remember the first failure of a probe; the callback then stands aside."""
        self.error = self.error or error

    def before_backward(self, *, automatic: bool, scale: Tensor | None, loss: Tensor | None = None) -> None:
        """The forward pass is over (automatic optimization), or one of several is, with this loss."""
        if self._step is not None:
            self._step.before_backward(automatic=automatic, scale=scale, loss=loss)

    def after_backward(self) -> None:
        """A backward pass is over."""
        if self._step is not None:
            self._step.after_backward()

    def before_optimizer(self, optimizer: torch.optim.Optimizer, step: int, number: str = "") -> None:
        """An optimizer is about to step; ``number`` tells it from the others where there are several."""
        for i, group in enumerate(optimizer.param_groups):
            self.metrics.add(f"learning_rate/{number}{group_name(optimizer, group, i)}", step, group.get("lr"))
        if self._step is not None:
            self._step.before_optimizer(optimizer)

    def end_batch(self, step: int, epoch: int, loss: Any, logged: Mapping[str, Any], *, stepped: bool) -> bool:
        """Take the loss and the metrics; after a step bring the sample over. Returns whether a sample was added."""
        self._losses.append(loss)
        self._stepped_before = stepped
        if not stepped:
            return False
        losses, self._losses = [x for x in self._losses if x is not None], []
        if losses:
            value = self.metrics.add("loss", step, losses[0] if len(losses) == 1 else sum(losses) / len(losses))
            self._watched = value is not None and not self.ranks.several  # else it is known with the next transfer
            if value is not None and self._watched:
                self._watch_loss(value)
        self.metrics.logged(logged, step)
        self.steps += 1
        if self._step is None:
            return False
        self._add_sample(self._step, step, epoch)
        return True

    def _watch_loss(self, value: float) -> None:
        if self._jumps.loss(value):
            self.plan.request(4)

    def _add_sample(self, seen: SampledStep, step: int, epoch: int) -> None:
        part, brought = seen.finish(self.metrics.waiting())
        points = self.metrics.take(brought)
        self.seconds += seen.seconds
        known: dict[str, Any] = {
            "layers": seen.layers,
            "losses": seen.losses,
            "differences": seen.differences,
            "products": seen.products,
            "sequences": seen.sequences,
            "reshapes": seen.reshapes,
            "attends_ahead": seen.attends_ahead,
            "overlap": self._written.overlap,
            "batch": seen.batch,
            "batch_size": self._size,
        }
        self.surroundings.add(part.rows, seen.in_eval, epoch)
        if self.samples & (self.samples - 1) == 0 and not self.ranks.several:  # ranks tell theirs at the end, once
            known |= self.surroundings.facts()
        self.stop_step()
        if self.ranks.several:
            part, points, known = self.ranks.together(part, points, known)
        if not self._watched:
            for value in (v for _, name, _, v in points if name == "loss"):
                self._watch_loss(value)
        self.settle(known.get("batch_size"))
        sample = arranged(part, histograms=self.histograms)
        self._follow_units(sample, part.silence)
        for family, sites in sample.sites.items():
            self.history.set_sites(family, sites)
        self._state(known)
        add_points(self.history, points)
        self.history.add_sample(step, epoch, sample.values)
        self.samples += 1
        self._due = False
        self.history.run.update(steps=self.steps, samples=self.samples, last_step=step)
        self._jumps.norm(float(sample.values.get("total/gradient_norm", np.zeros(1))[0]))
        self.sample = sample

    def _follow_units(self, sample: Sample, silence: Mapping[str, Silence]) -> None:
        rows, suspects = self._units.update(silence, sample.sites.get("activation", []))
        sample.values |= rows
        if suspects > _SUSPECTS:
            size = self.history.run.get("batch_size") or 1
            self.plan.request(-(-self._units.examples_needed // size))

    def _state(self, known: Mapping[str, Any]) -> None:
        if layers := known.get("layers"):
            if self._sources is None:
                self._sources = sources(self.module)
                self.history.update_run(source=self._sources.get("", ""))
            self.history.set_layers([replace(x, source=source_of(x.site, self._sources)) for x in layers])
        for key in ("losses", "differences", "products", "sequences", "reshapes", "attends_ahead", "overlap", "batch"):
            if known.get(key) and self.history.run.get(key) is None:
                self.history.update_run(**{key: known[key]})
        if self._written.refuted and any(c.get("by_hand") for c in self.history.run.get("losses") or ()):
            self.history.update_run(losses=[])
        self.history.update_run(**{key: known[key] for key in FACTS if known.get(key)})

    @property
    def alarming(self) -> bool:
        """Whether the last sample holds what a tripwire may catch: non-finite numbers, a jump of loss or gradient."""
        if self.sample is None or self._jumps.jumped:
            return True
        return any(np.nansum(row) > 0 for name, row in self.sample.values.items() if name.endswith("/nonfinite"))

    def take_logged(self, metrics: Mapping[str, Any], step: int, *, validation: bool) -> None:
        """Take what was logged at the end of a validation run or of an epoch."""
        self.metrics.logged(metrics, step, stage="validate" if validation else "train")
        directions = metric_directions(self.module, metrics)
        if directions:
            self.history.update_run(metric_direction={**self.history.run.get("metric_direction", {}), **directions})
        if not self.ranks.several:
            add_points(self.history, self.metrics.take())

    def abandon_step(self) -> None:
        """No optimizer stepped, or the batch was skipped: detach; the sample is taken at the next step instead."""
        self.stop_step()
        self.ranks.excuse()

    def stop_step(self) -> None:
        """Detach everything and let go of the step's tensors."""
        if self._step is not None and (mode := self._step.close()) is not None:
            self._lingering.append(mode)
        self._step = None
        for mode in self._lingering:
            mode.close()
        self._lingering = [m for m in self._lingering if m.lingering]

    def close(self, *, together: bool, crash: str = "") -> None:
        """Detach everything, bring the last points over (with the other ranks, if all end ``together``)."""
        start = time.perf_counter()
        self.stop_step()
        points = self.metrics.take()
        try:
            if together and crash:
                self.ranks.agree(crash=crash)
            elif together:
                known = self.surroundings.facts()
                if self.ranks.several:
                    _, points, known = self.ranks.together(Part(), points, known)
                self._state(known)
        finally:
            add_points(self.history, points)
            self._units.forget()
            self.sample = None
            self.seconds += time.perf_counter() - start
