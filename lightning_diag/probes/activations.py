"""Activations and the gradients with respect to them, by hooks that live for one sampled step."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_diag.graph import AFFINE, activation_kind, clean, may_fuse, observed_modules, unit_axis, with_roles
from lightning_diag.probes.hooks import Hook
from lightning_diag.probes.lineage import Lineage
from lightning_diag.probes.norms import take_batch_norm
from lightning_diag.probes.readings import Readings, measuring
from lightning_diag.probes.recurrent import RepeatedCalls, take_over_time
from lightning_diag.records import Layer
from lightning_diag.statistics.rows import rows_of, spread
from lightning_diag.statistics.sampling import sample
from lightning_diag.statistics.units import BOUNDED, GATES, RECTIFIERS, saturation, unit_max
from lightning_diag.statistics.views import main_tensor, plain, stands_whole, tensors

_MOST_SUMMED = 1 << 20  # elements of a softmax that are summed over the batch
_LEAST_ROWS = 4  # samples of a batch that can be told apart
MOST_CALLS = 8  # calls of one module in a step that get a site of their own; later ones are not observed


class ActivationProbe:
    """Observes the module outputs of one step: attach, run the step, detach.

    Hooks reduce at once (a later in-place operation overwrites what one keeps), return None, keep no tensor and do
    nothing while a backward pass runs (activation checkpointing calls modules again).

    Args:
        root: the LightningModule.
        readings: where statistics go.
        on_error: called with the exception of a failing hook; the training goes on.
        silent: rectifiers that had silent units in the sample before; the part of the bias is looked at there alone.
        deep: whether the spread across samples and batch normalization are measured, too.
    """

    def __init__(
        self,
        root: nn.Module,
        readings: Readings,
        on_error: Callable[[BaseException], None],
        silent: Collection[str] = (),
        *,
        deep: bool = True,
    ) -> None:
        self.readings, self.on_error, self.silent, self.deep = readings, on_error, silent, deep
        self._lineage, self._repeated = Lineage(), RepeatedCalls()
        self.layers: list[Layer] = []
        self.sequences: dict[str, list[int]] = {}  # layer over a time axis -> what it takes for (samples, steps)
        self.paused = False
        self.seconds = 0.0
        self._root = root
        self._names = {id(p): clean(n) for n, p in root.named_parameters()}
        self._handles: list[RemovableHandle] = []
        self._tensor_handles: list[RemovableHandle] = []
        self._calls: dict[str, int] = {}
        self._makers: dict[int, tuple[weakref.ref[Tensor], str, nn.Module | None, int]] = {}
        self._outputs: set[str] = set()  # sites whose output a loss was called with
        self._before: tuple[nn.Module, torch.Size] | None = None
        self._above: dict[str, Tensor] = {}  # rectifier -> whether a unit would fire without the bias before it

    def __enter__(self) -> ActivationProbe:
        fused = {id(m) for f in self._root.modules() if may_fuse(f) for m in f.modules()}
        for name, module in observed_modules(self._root):
            if id(module) in fused:
                continue
            if activation_kind(module) in RECTIFIERS:
                before = Hook(partial(self._guarded, self._before_forward, name))
                self._handles.append(module.register_forward_pre_hook(before))
            after = Hook(partial(self._guarded, self._after_forward, name))
            self._handles.append(module.register_forward_hook(after))
        return self

    @property
    def attached(self) -> bool:
        """Whether hooks are on the modules."""
        return bool(self._handles)

    def __exit__(self, *exc: object) -> None:
        self.detach_modules()
        for handle in self._tensor_handles:
            handle.remove()
        self._tensor_handles.clear()

    def detach_modules(self) -> None:
        """Take the hooks off the modules; those on tensors stay until the backward pass is over."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._makers.clear()
        self._lineage.forget()
        self._above.clear()
        self._before = None

    def ordered_layers(self) -> list[Layer]:
        """Return the layers seen, in order of execution, with their roles."""
        return with_roles(self.layers, self._outputs)

    def _guarded(self, hook: Callable[..., None], name: str, module: nn.Module, *args: Any) -> None:
        if self.paused or (not torch.is_grad_enabled() and not module.training):
            return
        start = time.perf_counter()
        try:
            with measuring():
                hook(name, module, *args)
        except Exception as error:  # the doctor never ends the training
            self.on_error(error)
        self.seconds += time.perf_counter() - start

    def _before_forward(self, name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._above.pop(name, None)
        x = main_tensor(args)
        if x is not None:
            self._would_fire(name, x)

    def _would_fire(self, name: str, x: Tensor) -> None:
        """Before a rectifier: would its units fire without the bias of the layer before?"""
        maker = self._maker(x) if name in self.silent else None
        bias = getattr(maker[1], "bias", None) if maker else None
        values = plain(x)
        if maker is None or values is None or not isinstance(bias, Tensor) or values.dim() < 2:
            return
        highest = unit_max(values, unit_axis(maker[1], values, None))
        if highest.shape == bias.shape:
            self._above[name] = highest - bias.detach() > 0

    def _after_forward(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        call = self._calls.get(name, 0)
        self._calls[name] = call + 1
        out = main_tensor(output)
        if out is None:
            return
        if call >= MOST_CALLS:
            if self.deep and out.requires_grad and not out.is_leaf:
                later = partial(self._later_gradient, name, call)
                self._tensor_handles.append(out.register_hook(later))  # type: ignore[no-untyped-call]
            return
        site = name if call == 0 else f"{name}#{call}"
        own = tuple(self._names[id(p)] for p in module.parameters() if id(p) in self._names)
        x = main_tensor(args)
        self._take(site, module, activation_kind(module), x, out, own)
        self._inputs(site, args)
        if x is not None and x.dim() == 3 and isinstance(first := getattr(module, "batch_first", None), bool):
            self.sequences[site] = list(x.shape[:2] if first else x.shape[1::-1])
        if isinstance(module, nn.RNNBase):
            self._states(site, output)
            if self.deep and x is not None:
                take_over_time(site, module, x, self.readings)
        if self.deep and x is not None and isinstance(module, nn.modules.batchnorm._BatchNorm):
            values = plain(x)
            if values is not None and stands_whole(values, x):
                take_batch_norm(site, module, values, self.readings)

    def function(self, site: str, kind: str, x: Tensor, out: Tensor) -> None:
        """Take a functional activation as if it were a module of that kind."""
        if self.paused or not self.attached:
            return
        if kind in RECTIFIERS and x is not out:
            self._would_fire(site, x)
        self._take(site, None, kind, x, out, ())
        self._inputs(site, (x,))

    def _take(
        self, site: str, module: nn.Module | None, kind: str, x: Tensor | None, out: Tensor, own: tuple[str, ...]
    ) -> None:
        maker = self._maker(x)
        values = plain(out)
        axis = 0 if values is None else self._axis(module, kind or not own, x, values)
        units = 0 if values is None or not values.dim() else values.shape[axis]
        name = type(module).__name__ if module is not None else kind
        affine = isinstance(module, AFFINE)
        straight = self._lineage.straight(x) if affine and x is not None else ""
        if affine:
            self._lineage.note(site, out)
        layer = Layer(site, name, "hidden", kind, maker[0] if maker else "", units, own, straight=straight)
        self.layers.append(layer)
        if self.readings.tensor("activation", site, out) and values is not None and not out.is_complex():
            self._units(site, module, values, kind, axis)
            if kind in GATES and x is not None and x is not out:
                self._gate(site, kind, x, values, axis)
            if self.deep and stands_whole(values, out) and values.dim() > 1 and values.shape[0] >= _LEAST_ROWS:
                std, rank = spread(rows_of(values)).unbind()
                self.readings.scalar("activation/sample_std", site, std)
                self.readings.scalar("activation/effective_rank", site, rank)
        self._makers[id(out)] = (weakref.ref(out), site, module, axis)
        if own and values is not None and module is not None:
            self._before = (module, values.shape)
        if values is not None and out.requires_grad and not out.is_leaf:
            self.readings.site("activation_gradient", site)
            self._tensor_handles.append(out.register_hook(partial(self._gradient, site)))  # type: ignore[no-untyped-call]

    def _axis(self, module: nn.Module | None, keeps: object, x: Tensor | None, values: Tensor) -> int:
        """The axis of the units: that of the input where a function or module of torch keeps the layout."""
        found = None if x is None else self._makers.get(id(x))
        of_torch = module is None or type(module).__module__.startswith("torch.nn.")
        if x is not None and found is not None and found[0]() is x and keeps and of_torch and x.dim() == values.dim():
            return found[3]
        return unit_axis(module, values, self._before)

    def maker(self, x: Tensor) -> str:
        """Return the module that made a tensor, or made what a function made it of; "" if it is not known."""
        found = self._maker(x)
        return "" if found is None else found[0].partition(":")[0].partition("#")[0]

    def prediction(self, x: Tensor) -> None:
        """Note that a loss was called with this tensor: what made it is an output."""
        if (maker := self._maker(x)) is not None:
            self._outputs.add(maker[0])

    def _units(self, site: str, module: nn.Module | None, values: Tensor, kind: str, axis: int) -> None:
        if kind in RECTIFIERS and values.dim() > 1:
            silent = unit_max(values, axis) <= 0
            self.readings.silence(
                site, silent, values.shape[0], self._above.pop(site.split("#")[0] if module else site, None)
            )
        if kind in ("softmax", "log_softmax") and values.dim() > 1 < values.shape[0] and values.numel() <= _MOST_SUMMED:
            sums = (values.float().exp() if kind == "log_softmax" else values.float()).sum(0)
            self.readings.scalar("activation/sample_sum_error", site, (sums - 1).abs().amax())
        if kind in BOUNDED and values.dim() > 1:
            usual = {"hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0)}.get(kind, (0.0, 1.0))
            low, high = getattr(module, "min_val", usual[0]), getattr(module, "max_val", usual[1])
            flat_elements, flat_units = saturation(values, kind, axis, low, high)
            self.readings.scalar("activation/saturated_fraction", site, flat_elements)
            self.readings.scalar("activation/saturated_units_fraction", site, flat_units)

    def _gate(self, site: str, kind: str, x: Tensor, values: Tensor, axis: int) -> None:
        """Which units of a gate are shut on all examples."""
        before = plain(x)
        if before is not None and before.shape == values.shape and values.dim() > 1:
            self.readings.silence(site, unit_max(before, axis) <= GATES[kind], values.shape[0], None)

    def _inputs(self, site: str, args: tuple[Any, ...]) -> None:
        """Whether a module's inputs were finite; a sum tells, for NaN and Inf survive it.

        Where it costs nothing to know that the output is finite, the inputs are not looked at.
        """
        numbers = next((t for t in tensors(args) if t.is_floating_point()), None)
        if numbers is None or (numbers.device.type == "cpu" and site not in self.readings.nonfinite):
            return
        inputs = [p for t in tensors(args) if t.is_floating_point() and (p := plain(t)) is not None]
        if inputs:
            bad = torch.stack([(~torch.isfinite(t.float().sum() * 0)).to(inputs[0].device) for t in inputs]).any()
            self.readings.scalar("activation/input_nonfinite", site, bad)

    def _gradient(self, site: str, gradient: Tensor) -> None:
        def take(values: Tensor) -> None:
            self.readings.tensor("activation_gradient", site, sample(values), bins=False)

        self._look(take, gradient)

    def _states(self, site: str, output: Any) -> None:
        """Where the last state of a recurrent layer is used and not its outputs, its gradient stands for theirs."""

        def look(gradient: Tensor) -> None:
            if self.readings.rms("activation_gradient", site) is None:
                self._gradient(site, gradient)

        for state in tensors(output[1:]):
            if state.requires_grad and not state.is_leaf:
                self._tensor_handles.append(state.register_hook(look))  # type: ignore[no-untyped-call]

    def _later_gradient(self, name: str, call: int, gradient: Tensor) -> None:
        self._look(partial(self._repeated.note, name, call), gradient)

    def _look(self, take: Callable[[Tensor], object], gradient: Tensor) -> None:
        """Measure a gradient while the backward pass runs."""
        start = time.perf_counter()
        try:
            with measuring():
                values = plain(gradient)
                if values is not None:
                    take(values)
        except Exception as error:
            self.on_error(error)
        self.seconds += time.perf_counter() - start

    def settle(self) -> None:
        """After the last backward pass: record what can only be told of all calls together."""
        with measuring():
            self._repeated.give(self.readings)

    def _maker(self, x: Tensor | None) -> tuple[str, nn.Module | None] | None:
        found = None if x is None else self._makers.get(id(x))
        return (found[1], found[2]) if found is not None and found[0]() is x else None
