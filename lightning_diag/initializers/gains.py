"""By how much a weight makes up for what the activation behind it takes from the signal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from torch import nn


@dataclass(frozen=True)
class Gain:
    """The gain of an activation f: 1 / sqrt(E[f(z)^2]) for z ~ N(0, 1) where f is a rectifier or like one, else 1.

    Attributes:
        activation: kind of the activation.
        value: the gain used here.
        torch: what ``torch.nn.init.calculate_gain`` says, None where it says nothing.
        source: where the value is from.
    """

    activation: str
    value: float
    torch: float | None
    source: str


_HE = "He et al. 2015, eq. 10"
_MOMENT = "1 / sqrt(E[f(z)^2]), z ~ N(0, 1), as He et al. 2015 derive it for ReLU"
_GLOROT = "Glorot and Bengio 2010: gain 1, f(z) ~ z near 0"
GAINS: Final[tuple[Gain, ...]] = (
    Gain("linear", 1.0, 1.0, "nothing follows"),
    Gain("relu", math.sqrt(2.0), math.sqrt(2.0), _HE),
    Gain("relu6", math.sqrt(2.0), None, _HE),
    Gain("leaky_relu", math.sqrt(2.0 / (1 + 0.01**2)), math.sqrt(2.0 / (1 + 0.01**2)), "He et al. 2015, eq. 15"),
    Gain("prelu", math.sqrt(2.0 / (1 + 0.25**2)), None, "He et al. 2015, eq. 15"),
    Gain("gelu", 1.5335, None, _MOMENT),
    Gain("silu", 1.6765, None, _MOMENT),
    Gain("mish", 1.4868, None, _MOMENT),
    Gain("elu", 1.2452, None, _MOMENT),
    Gain("celu", 1.2452, None, _MOMENT),
    Gain("hardswish", 1.7367, None, _MOMENT),
    Gain("selu", 1.0, 0.75, "Klambauer et al. 2017: made for 1 / fan_in"),
    Gain("tanh", 1.0, 5.0 / 3.0, _GLOROT),
    Gain("sigmoid", 1.0, 1.0, _GLOROT),
    Gain("softsign", 1.0, None, _GLOROT),
    Gain("hardtanh", 1.0, None, _GLOROT),
    Gain("hardsigmoid", 1.0, None, _GLOROT),
    Gain("softplus", 1.0, None, _GLOROT),
)
RECTIFIERS: Final = ("relu", "relu6", "leaky_relu", "prelu")
_BY_NAME: Final = {row.activation: row for row in GAINS}


def gain_of(activation: str, module: nn.Module | None = None, *, like_torch: bool = False) -> float:
    """Return the gain for the activation that follows a weight.

    Args:
        activation: its kind; "linear" or a kind that is not in ``GAINS`` (softmax, say) has 1.
        module: the activation itself, for the slope of LeakyReLU and PReLU.
        like_torch: use the values of ``torch.nn.init.calculate_gain`` where it has one (tanh: 5/3 instead of 1).

    Example:
        >>> round(gain_of("relu"), 3), gain_of("tanh"), round(gain_of("tanh", like_torch=True), 3)
        (1.414, 1.0, 1.667)
    """
    if activation in ("leaky_relu", "prelu") and module is not None:
        slope = module.negative_slope if isinstance(module, nn.LeakyReLU) else _slope(module)
        return math.sqrt(2.0 / (1 + float(slope) ** 2))
    row = _BY_NAME.get(activation, GAINS[0])
    return row.torch if like_torch and row.torch is not None else row.value


def _slope(module: nn.Module) -> float:
    return float(module.weight.detach().float().mean()) if isinstance(module, nn.PReLU) else 0.25
