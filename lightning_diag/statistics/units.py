"""Statistics per unit: which units of a layer ever fire, which sit on the flat part of their activation."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

RECTIFIERS: Final = frozenset({"relu", "relu6"})
# What is let through by a gate, up to which input it is as good as shut: value and slope are below 2 % there.
GATES: Final = {"gelu": -3.0, "silu": -6.0, "mish": -6.0, "hardswish": -3.0}
FLAT: Final = 0.05  # share of the largest derivative below which an activation counts as flat
_MOST = 1 << 18  # elements looked at for saturation


def unit_max(x: Tensor, axis: int) -> Tensor:
    """Return the largest value of each unit over examples and positions, shape (units,)."""
    dims = [d for d in range(x.dim()) if d != axis % x.dim()]
    return x.amax(dims) if dims else x


def flat_part(y: Tensor, kind: str, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Return where the derivative of a bounded activation is below 5 % of its maximum, told from its output.

    sigmoid: y (1 - y) < 0.05 / 4; tanh: 1 - y^2 < 0.05; softsign: (1 - |y|)^2 < 0.05; hard versions: at a bound
    (relu6: at the upper one, zeros are the rectifier's normal state).

    Raises:
        ValueError: the activation is not bounded.
    """
    if kind == "sigmoid":
        return (y - 0.5).abs().gt(0.5 * float((1 - FLAT) ** 0.5))
    if kind == "tanh":
        return y.abs().gt(float((1 - FLAT) ** 0.5))
    if kind == "softsign":
        return y.abs().gt(1 - float(FLAT**0.5))
    if kind == "relu6":
        return y.ge(high)
    if kind in ("hardtanh", "hardsigmoid"):
        return (y <= low) | (y >= high)
    raise ValueError(f"{kind!r} is no bounded activation; allowed: {', '.join(sorted(BOUNDED))}")


BOUNDED: Final = frozenset({"sigmoid", "tanh", "softsign", "relu6", "hardtanh", "hardsigmoid"})


def saturation(y: Tensor, kind: str, axis: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Return (share of flat elements, share of units flat on >= 95 % of their elements), shape (2,).

    Of tensors above 262,144 elements the first examples that fit are looked at.
    """
    if y.numel() > _MOST and axis % y.dim() != 0:
        y = y[: max(16, _MOST * y.shape[0] // y.numel())]
    mask = flat_part(y, kind, low, high).float()
    dims = [d for d in range(y.dim()) if d != axis % y.dim()]
    per_unit = mask.mean(dims) if dims else mask
    return torch.stack([per_unit.mean(), (per_unit >= 0.95).float().mean()])
