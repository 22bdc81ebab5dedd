"""How much weight matrices amplify, and where a normalization makes that not matter."""

from __future__ import annotations

import numpy as np

from lightning_diag.records import History, Layer
from lightning_diag.rules.phase import is_matrix, pick
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.seen import wiring

_PLAIN = ("linear", "conv1d", "conv2d", "conv3d")


def is_affine(layer: Layer) -> bool:
    """Tell whether a layer is a linear or convolution layer of torch, or named like one."""
    kind = layer.type.lower()
    return kind.endswith(_PLAIN) or kind.startswith(("noisylinear", "lazylinear", "lazyconv"))


def fan_in(history: History, parameter: str) -> int:
    """Return the number of inputs that one unit of a weight adds up, 0 where its shape is not known."""
    known = wiring(history).get("parameters", {}).get(parameter)
    shape = list(known[0] or ()) if known else []
    return int(np.prod(shape[1:])) if len(shape) > 1 else 0


def gains(history: History, step: int) -> dict[str, float]:
    """Return site -> gain of its weight at a step, in order of execution.

    The gain is RMS of the weight times the square root of its fan in: by how much the RMS of a signal of independent
    parts grows. LeCun's initialization has 1, He's 1.41, torch's own 0.58. Weights that are all zero are left out.
    """
    layers = [x for x in history.layers if is_affine(x) and "#" not in x.site]
    weight = {x.site: p for x in layers for p in x.parameters if p == f"{x.site}.weight" and is_matrix(x, p)}
    if not weight and not any(x.parameters for x in history.layers):
        raise Unmeasured("no layer with weights was seen")
    rms = pick(history, "parameter/rms", tuple(weight.values()), np.array([step], dtype=np.int64))[0]
    found = {}
    for (site, name), value in zip(weight.items(), rms, strict=True):
        inputs = fan_in(history, name)
        if inputs and np.isfinite(value) and value > 0:
            found[site] = float(value) * float(np.sqrt(inputs))
    return found


def resets_scale(history: History, site: str) -> bool:
    """Tell whether a normalization takes the output of a layer, so that the scale of its weight has no effect."""
    layers = history.layers
    followers = [x for x in layers if x.follows.split("#")[0] == site]
    if not followers:
        where = next((i for i, x in enumerate(layers) if x.site == site), len(layers))
        followers = [x for x in layers[where + 1 : where + 2] if not x.follows]
    return any("norm" in x.type.lower() for x in followers)
