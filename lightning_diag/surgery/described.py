"""The layers of a model as a table, before and after surgery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, final

from rich.table import Table
from rich.text import Text
from torch import nn

from lightning_diag.order import LayerRole, Order, roles, trace
from lightning_diag.order.calls import Call

_ON_THE_WAY: Final = frozenset({"shape", "pool", "scale", "dropout", "norm"})
_SHOWN: Final = frozenset({"norm", "activation", "dropout", "sum", "concat", "product", "pool"})


@final
@dataclass(frozen=True)
class LayerRow:
    """One line of the table.

    Attributes:
        name: of the layer.
        layer: its kind and size: "Linear 64 -> 32".
        role: "hidden", "output", or what it is inside of.
        bias: whether it has one.
        then: what its result goes through, up to its activation or the next layer: "BatchNorm1d, relu".
    """

    name: str
    layer: str
    role: str
    bias: bool
    then: str


def describe(model: nn.Module, example_inputs: Any = None) -> tuple[LayerRow, ...]:
    """Return a row for each linear layer and convolution that runs, in order of execution.

    Raises:
        ValueError: if the order of execution cannot be found.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        >>> for row in describe(net):
        ...     print(row.name, row.layer, row.role, row.then, sep=" | ")
        0 | Linear 4 -> 8 | hidden | BatchNorm1d, relu
        3 | Linear 8 -> 2 | output |
    """
    order = trace(model, example_inputs)
    return tuple(_row(order, role) for role in roles(model, order))


def _row(order: Order, role: LayerRole) -> LayerRow:
    layer: Any = role.module
    given = (
        getattr(layer, "in_channels", None) or getattr(layer, "in_features", None) or getattr(layer, "in1_features", 0)
    )
    made = getattr(layer, "out_channels", None) or getattr(layer, "out_features", 0)
    own = [type(child).__name__ for name, child in layer.named_children() if name != "parametrizations"]
    return LayerRow(
        role.name,
        f"{type(layer).__name__} {given} -> {made}",
        role.inside or role.role,
        getattr(layer, "bias", None) is not None,
        ", ".join([*own, *_then(order, role.calls[0])]),
    )


def _then(order: Order, index: int) -> list[str]:
    """Return what follows a call on its single way, up to an activation and what normalizes or drops behind it."""
    found: list[str] = []
    seen_activation = False
    while len(order.users[index]) == 1:
        call = order.calls[order.users[index][0]]
        if call.kind not in _ON_THE_WAY and (seen_activation or call.kind not in _SHOWN):
            break
        if call.kind in _SHOWN:
            found.append(_word(call))
        seen_activation |= call.kind == "activation"
        if call.kind in ("sum", "concat", "product"):
            break
        index = call.index
    return found


def _word(call: Call) -> str:
    joins = {"sum": "+", "concat": "concat", "product": "×", "activation": call.what}
    return joins.get(call.kind, call.what)


def compare(before: tuple[LayerRow, ...], after: tuple[LayerRow, ...], title: str = "") -> Table:
    """Return a table of the layers before and after surgery; what changed is in bold.

    Args:
        before: ``describe(model)`` before.
        after: the same after.
        title: of the table.
    """
    table = Table(title=title or None, title_justify="left")
    for heading in ("layer", "", "role", "before", "after"):
        table.add_column(heading, overflow="fold")
    old = {row.name: row for row in before}
    for row in after:
        was, now = _after_layer(old.get(row.name)), _after_layer(row)
        table.add_row(row.name, row.layer, row.role, was, Text(now, style="bold green" if was != now else "dim"))
    return table


def _after_layer(row: LayerRow | None) -> str:
    if row is None:
        return ""
    return ("bias" if row.bias else "no bias") + (f", {row.then}" if row.then else "")
