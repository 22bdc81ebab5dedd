"""The order of execution as torch.fx finds it, without running the model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx, nn

from lightning_diag.order.calls import Call, Kind, Order
from lightning_diag.order.kinds import function_kind, is_constant, module_kind, plain_name

_FACTS = ("shape", "device", "dtype", "ndim", "is_cuda", "requires_grad", "size", "dim", "numel", "len", "nelement",
          "is_floating_point", "stride", "layout")  # fmt: skip


class _Tracer(fx.Tracer):
    """A tracer to which every module of a known kind is one call."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_kind(m) is not None or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["running"] = getattr(getattr(self, "scope", None), "module_path", "")
        return node


def trace_symbolically(model: nn.Module) -> Order | str:
    """Return the order of execution, or why torch.fx cannot tell it."""
    try:
        graph = _Tracer().trace(model, _defaults(model))
    except Exception as error:  # whatever a forward does with a proxy
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
    return _Reader(model).read(graph)


def _defaults(model: nn.Module) -> dict[str, Any]:
    """Return the arguments of forward that have None, True or False for default: they choose, they are no data."""
    parameters = inspect.signature(model.forward).parameters.values()
    return {p.name: p.default for p in parameters if p.default is None or isinstance(p.default, bool)}


class _Reader:
    """Makes calls of the nodes of a graph."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())
        self._names: dict[int, list[str]] = {}
        for name, p in model.named_parameters(remove_duplicate=False):
            self._names.setdefault(id(p), []).append(name)
        self._parameters = dict(model.named_parameters(remove_duplicate=False))
        self._calls: list[Call] = []
        self._index: dict[fx.Node, int] = {}
        self._read: set[str] = set()

    def read(self, graph: fx.Graph) -> Order | str:
        """Return the order, or why the graph tells none."""
        outputs: tuple[int, ...] = ()
        for node in graph.nodes:
            inputs = tuple(self._index[n] for n in _nodes((node.args, node.kwargs)) if n in self._index)
            if node.op == "placeholder":
                self._add(node, "input", "input", "", None, ())
            elif node.op == "get_attr":
                self._read.update(self._names.get(id(self._parameters.get(str(node.target))), ()))
            elif node.op == "output":
                outputs = inputs
            elif inputs:
                self._call(node, inputs)
        if not outputs:
            return "no output depends on an input"
        return Order(tuple(self._calls), frozenset(outputs), "fx", frozenset(self._read))

    def _call(self, node: fx.Node, inputs: tuple[int, ...]) -> None:
        if node.op == "call_module":
            name = str(node.target)
            kind, what = module_kind(self._modules[name]) or ("other", type(self._modules[name]).__name__)
            self._add(node, kind, what, name, self._modules[name], inputs)
            return
        name = plain_name(node.target)
        fact = node.args[1] if name == "getattr" and len(node.args) > 1 else name
        if fact in _FACTS or is_constant(name):
            return
        kind = "shape" if name == "getattr" else function_kind(_dispatched(name, node), len(inputs))
        self._add(node, kind, name, str(node.meta.get("running", "")), None, inputs)

    def _add(
        self, node: fx.Node, kind: Kind, what: str, site: str, module: nn.Module | None, inputs: tuple[int, ...]
    ) -> None:
        self._index[node] = len(self._calls)
        self._calls.append(Call(len(self._calls), kind, what, site, module, inputs))


def _dispatched(name: str, node: fx.Node) -> str:
    """Return the name of a pooling function that torch hides behind a switch."""
    return node.name if name in ("fn", "boolean_dispatch") else name


def _nodes(value: Any) -> Iterator[fx.Node]:
    if isinstance(value, fx.Node):
        yield value
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from _nodes(v)
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from _nodes(v)
    elif isinstance(value, slice):
        yield from _nodes((value.start, value.stop, value.step))
    elif hasattr(value, "__dataclass_fields__"):
        yield from _nodes(tuple(vars(value).values()))
