"""How much a network can express: its narrowest hidden layer, and whether it bends at all."""

from __future__ import annotations

from lightning_diag.records import History, Layer

_GATING = ("softmax", "sigmoid")
_BENDING = ("LSTM", "GRU", "RNN", "Attention", "Transformer", "Pool", "LayerNorm", "GroupNorm")


def narrowest(history: History) -> Layer | None:
    """Return the hidden layer with weights that has the fewest units, None without one.

    A layer whose output goes into a softmax or sigmoid scores or gates what passes by: nothing has to pass through it.
    """
    hidden = [x for x in history.layers if x.role == "hidden" and x.parameters and x.units and "Norm" not in x.type]
    hidden = [x for x in hidden if x.units > 1 or not _is_gate(history, x)]
    return min(hidden, key=lambda x: x.units, default=None)


def _is_gate(history: History, layer: Layer) -> bool:
    """Tell whether what a layer of one unit puts out goes into a softmax or sigmoid within the network."""
    behind = history.layers[history.layers.index(layer) + 1 :]
    after = next((x for x in behind if x.parameters or x.activation in _GATING), None)
    return (
        after is not None
        and after.activation in _GATING
        and after.follows in (layer.site, "")
        and after.role != "output"
    )


def is_bent(history: History) -> bool:
    """Tell whether something in the network is nonlinear: an activation, or a layer with one inside."""
    return any(x.activation or any(word in x.type for word in _BENDING) for x in history.layers)
