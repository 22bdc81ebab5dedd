"""The calls of one forward pass and which feeds which."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, final

from torch import Size, nn

Kind = Literal[
    "input", "layer", "affine", "activation", "norm", "dropout", "embedding", "recurrent", "attention",
    "shape", "pool", "scale", "sum", "concat", "product", "matmul", "other",
]  # fmt: skip


@final
@dataclass(frozen=True)
class Call:
    """One call of a module or a function that took part in the forward pass.

    Attributes:
        index: its place in the order of execution, from 0.
        kind: what it does to data. "layer" is a linear layer or convolution that is a module, "affine" one that is a
            function; "sum", "concat", "product" and "matmul" join several tensors that depend on the input; "scale"
            is arithmetic with parameters and constants; "shape" and "pool" keep the meaning of values.
        what: the kind of an activation ("relu"), else the name of the function or class.
        site: name of the module that was called; of a function, of the module that called it.
        module: the module that was called, None for a function.
        inputs: indices of the calls whose results it got.
        shape: shape of its (first) result, None where torch.fx found the order without running the model.
    """

    index: int
    kind: Kind
    what: str
    site: str
    module: nn.Module | None = field(repr=False)
    inputs: tuple[int, ...]
    shape: Size | None = None


@final
@dataclass(frozen=True)
class Order:
    """The calls of a forward pass in order of execution.

    Attributes:
        calls: all calls that depend on an input.
        outputs: indices of the calls whose results the model returns.
        how: "fx" (traced symbolically), "recorded" (from one forward pass) or "names" (as the user said).
        read: names of parameters that somebody other than their own module reads (``F.linear(x, self.fc.weight)``).
    """

    calls: tuple[Call, ...]
    outputs: frozenset[int]
    how: Literal["fx", "recorded", "names"]
    read: frozenset[str] = frozenset()

    @cached_property
    def users(self) -> tuple[tuple[int, ...], ...]:
        """For each call, the calls that use its result."""
        users: list[list[int]] = [[] for _ in self.calls]
        for call in self.calls:
            for i in dict.fromkeys(call.inputs):
                users[i].append(call.index)
        return tuple(tuple(u) for u in users)

    @cached_property
    def by_module(self) -> dict[nn.Module, tuple[Call, ...]]:
        """The calls of each module that was called, in order."""
        found: dict[nn.Module, tuple[Call, ...]] = {}
        for call in self.calls:
            if call.module is not None:
                found[call.module] = (*found.get(call.module, ()), call)
        return found

    def after(self, index: int, through: Collection[str]) -> Iterator[Call]:
        """Yield the calls behind one, nearest first, going on only behind those of a kind in ``through``."""
        yield from self._walk(index, through, self.users)

    def before(self, index: int, through: Collection[str]) -> Iterator[Call]:
        """Yield the calls ahead of one, nearest first, going on only ahead of those of a kind in ``through``."""
        yield from self._walk(index, through, tuple(call.inputs for call in self.calls))

    def _walk(self, index: int, through: Collection[str], edges: tuple[tuple[int, ...], ...]) -> Iterator[Call]:
        queue, seen = list(edges[index]), set(edges[index])
        while queue:
            call = self.calls[queue.pop(0)]
            yield call
            if call.kind in through:
                new = [i for i in edges[call.index] if i not in seen]
                seen.update(new)
                queue += new

    def ancestors(self, index: int) -> frozenset[int]:
        """Return the indices of all calls that a call depends on."""
        found: set[int] = set()
        stack = list(self.calls[index].inputs)
        while stack:
            i = stack.pop()
            if i not in found:
                found.add(i)
                stack += self.calls[i].inputs
        return frozenset(found)
