"""The order of execution as recorded in one forward pass."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from lightning_diag.order.calls import Call, Kind, Order
from lightning_diag.order.kinds import function_kind, is_constant, module_kind, plain_name

Visit = Callable[[Call, tuple[Tensor, ...]], None]


def record(model: nn.Module, example_inputs: Any, visit: Visit | None = None) -> Order:
    """Return the order of execution of one forward pass, run as the model stands.

    Modules are seen by hooks, functions (``F.relu``, ``+``, ``torch.cat``) by a ``TorchFunctionMode``; a result is
    known by the identity of its tensor, so in-place operations and control flow that depends on data are followed.

    ``visit``, if given, gets each call with the tensors that it made, at once: a later call may overwrite them.

    Raises:
        ValueError: if the inputs hold no tensor, or the forward pass returns none that depends on them.
        Exception: whatever the forward pass raises.
    """
    args, kwargs = arguments(model, example_inputs)
    recorder = _Recorder(model, visit)
    for tensor in tensors((args, kwargs)):
        recorder.add("input", "input", "", None, (), (tensor,))
    if not recorder.calls:
        raise ValueError(f"example_inputs holds no tensor, got {type(example_inputs).__name__}")
    with recorder.watching():
        out = model(*args, **kwargs)
    outputs = recorder.sources(tensors(out))
    if not outputs:
        raise ValueError(f"forward returned no tensor that depends on its inputs, but {type(out).__name__}")
    return Order(tuple(recorder.calls), frozenset(outputs), "recorded", frozenset(recorder.read))


def arguments(model: nn.Module, example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and named arguments on the device of the model: a tuple is the first, a dict the second."""
    device = next((p.device for p in model.parameters()), None)

    def moved(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) and device is not None else value

    if isinstance(example_inputs, Mapping):
        return (), {k: moved(v) for k, v in example_inputs.items()}
    if type(example_inputs) in (tuple, list):
        return tuple(moved(v) for v in example_inputs), {}
    return (moved(example_inputs),), {}


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a tensor, or in nested tuples, lists, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from tensors(v)
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from tensors(v)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            yield from tensors(getattr(value, f.name))


class _Recorder(TorchFunctionMode):
    """Writes down calls while a model runs."""

    def __init__(self, model: nn.Module, visit: Visit | None = None) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.read: set[str] = set()
        self._model = model
        self._visit = visit
        self._made: dict[int, tuple[weakref.ref[Tensor], int]] = {}  # id of a tensor -> itself, the call it came from
        self._scopes: list[str] = []  # modules that are running and looked into
        self._within: list[tuple[int, ...]] = []  # inputs of the module that is running and not looked into
        self._handles: list[RemovableHandle] = []
        self._names: dict[int, list[str]] = {}
        for name, p in model.named_parameters(remove_duplicate=False):
            self._names.setdefault(id(p), []).append(name)

    def add(
        self,
        kind: Kind,
        what: str,
        site: str,
        module: nn.Module | None,
        inputs: tuple[int, ...],
        out: tuple[Tensor, ...],
    ) -> None:
        """Write down a call and the tensors that it made."""
        shape = Size(out[0].shape) if out else None
        self.calls.append(Call(len(self.calls), kind, what, site, module, inputs, shape))
        for tensor in out:
            self._made[id(tensor)] = (weakref.ref(tensor), len(self.calls) - 1)
        if self._visit is not None and out:
            self._within.append(())  # what it calls is not the model's
            self._visit(self.calls[-1], out)
            self._within.pop()

    def sources(self, values: Iterator[Tensor]) -> tuple[int, ...]:
        """Return the calls that made these tensors; none for those that do not depend on an input."""
        found = []
        for tensor in values:
            made = self._made.get(id(tensor))
            if made is not None and made[0]() is tensor:  # else the number is that of a tensor that is gone
                found.append(made[1])
        return tuple(found)

    def watching(self) -> _Watch:
        """Return a context in which calls are written down."""
        return _Watch(self)

    def attach(self) -> None:
        for name, module in self._model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            self._handles.append(module.register_forward_pre_hook(self._starting(name, module), with_kwargs=True))
            ending = self._ending(name, module)
            self._handles.append(module.register_forward_hook(ending, always_call=True))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _starting(self, name: str, module: nn.Module) -> Any:
        kind = module_kind(module)

        def start(_: nn.Module, args: Any, kwargs: Any) -> None:
            if self._within or kind is not None:
                self._within.append(self.sources(tensors((args, kwargs))))
            else:
                self._scopes.append(name)

        return start

    def _ending(self, name: str, module: nn.Module) -> Any:
        kind = module_kind(module)

        def end(_: nn.Module, args: Any, out: Any) -> None:
            if not self._within:
                self._scopes.pop()
                return
            inputs = self._within.pop()
            if not self._within and kind is not None and inputs:
                self.add(kind[0], kind[1], name, module, inputs, tuple(tensors(out)))

        return end

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if self._within:
            return func(*args, **kwargs)
        given = tuple(tensors((args, kwargs)))
        inputs = self.sources(iter(given))
        out = func(*args, **kwargs)
        if inputs:
            for t in given:
                self.read.update(self._names.get(id(t), ()))
            self._look(func, inputs, args, out)
        return out

    def _look(self, func: Any, inputs: tuple[int, ...], args: tuple[Any, ...], out: Any) -> None:
        name = plain_name(func)
        if name == "setitem" and isinstance(args[0], Tensor):
            made: tuple[Tensor, ...] = (args[0],)
        else:
            made = tuple(tensors(out))
        if not made or is_constant(name):
            return
        kind: Kind = "shape" if name == "get" else function_kind(name, len(inputs))
        self.add(kind, name, self._scopes[-1] if self._scopes else "", None, inputs, made)


class _Watch:
    """Hooks and mode, on while it is entered."""

    def __init__(self, recorder: _Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        self._recorder.attach()
        self._recorder.__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *exception: Any) -> None:
        self._recorder.__exit__(*exception)  # type: ignore[no-untyped-call]
        self._recorder.detach()
