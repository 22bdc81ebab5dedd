"""Layers inside an attention, a gate or a recurrence, told by what they feed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from lightning_diag.order.calls import Call, Order
from lightning_diag.order.kinds import BOUNDED

_MOVING: Final = frozenset({"shape", "scale", "dropout"})
_LEARNED: Final = frozenset({"layer", "affine", "embedding", "recurrent", "attention"})
_LARGEST_GATE: Final = 2  # layers; a gate with more is a network that computes a mask


def attending(order: Order, calls: Iterable[Call]) -> bool:
    """Return whether a layer projects for, or out of, a product of two learned matrices.

    A product with a matrix that is given (the adjacency of a graph, say) is no attention.
    """
    return any(
        _is_attention(order, other)
        for call in calls
        for other in (
            *order.after(call.index, {*_MOVING, "norm", "sum"}),
            *order.before(call.index, {*_MOVING, "concat", "norm"}),
        )
    )


def _is_attention(order: Order, call: Call) -> bool:
    if call.module is not None or call.kind not in ("attention", "matmul"):
        return False
    learned = [i for i in call.inputs if any(order.calls[a].kind in _LEARNED for a in {i, *order.ancestors(i)})]
    return len(learned) > 1


def looping(order: Order, calls: tuple[Call, ...]) -> bool:
    """Return whether a layer is called on something that came out of an earlier call of it."""
    return any(a.index in order.ancestors(b.index) for a, b in pairwise(calls))


def gating(order: Order) -> frozenset[int]:
    """Return the calls of layers whose only use is to weigh other values, as in squeeze-and-excitation.

    Of a product, the side that ends with a bounded activation is the gate, as far as the other side does not depend
    on it. A long gate is a network that computes a mask: only its last layer counts.
    """
    found: set[int] = set()
    for product in (c for c in order.calls if c.kind == "product" and len(set(c.inputs)) == 2):
        for side, other in (product.inputs[:2], product.inputs[1::-1]):
            bounded = _bounded(order, side)
            if bounded is None:
                continue
            own = (order.ancestors(side) | {side}) - order.ancestors(other) - {other}
            layers = [i for i in own if order.calls[i].kind == "layer"]
            if len(layers) > _LARGEST_GATE:
                last = {c.index for c in order.before(bounded.index, {*_MOVING, "norm"})}
                layers = [i for i in layers if i in last]
            found.update(layers)
    return frozenset(found)


def _bounded(order: Order, index: int) -> Call | None:
    """Return the bounded activation that a value comes from."""
    ahead = (order.calls[index], *(order.before(index, _MOVING) if order.calls[index].kind in _MOVING else ()))
    return next((c for c in ahead if c.kind == "activation" and c.what in BOUNDED), None)
