"""How much a network can express: its narrowest hidden layer, and whether it bends at all."""

from __future__ import annotations

from lightning_diag.records import History, Layer

_BENDING = ("LSTM", "GRU", "RNN", "Attention", "Transformer", "Pool", "LayerNorm", "GroupNorm")


def narrowest(history: History) -> Layer | None:
    """Return the hidden layer with weights that has the fewest units, None without one."""
    hidden = [x for x in history.layers if x.role == "hidden" and x.parameters and x.units and "Norm" not in x.type]
    return min(hidden, key=lambda x: x.units, default=None)


def is_bent(history: History) -> bool:
    """Tell whether something in the network is nonlinear: an activation, or a layer with one inside."""
    return any(x.activation or any(word in x.type for word in _BENDING) for x in history.layers)
