"""The table of initializers: how each fills a block of weights, and which variance it aims at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Generator, Tensor, nn

from lightning_diag.initializers.words import check_positive, unknown

Mode = Literal["fan_in", "fan_out"]


@dataclass(frozen=True)
class Block:
    """What an initializer must know of the weights it fills.

    Attributes:
        fan_in: inputs that one output adds up.
        fan_out: outputs that one input goes to.
        gain: factor for the activation that follows.
    """

    fan_in: float
    fan_out: float
    gain: float = 1.0


@dataclass(frozen=True)
class Options:
    """Settings of the initializers that take one.

    Attributes:
        std: standard deviation; normal (0.01), truncated_normal (0.02).
        bound: uniform draws from [-bound, bound] (0.05).
        value: constant (0.0).
        mode: whose variance Kaiming keeps: that of the signal (fan_in) or of the gradient (fan_out).
        generator: source of random numbers; None: torch's own.
    """

    std: float | None = None
    bound: float = 0.05
    value: float = 0.0
    mode: Mode = "fan_in"
    generator: Generator | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.std is not None:
            check_positive("std", self.std)
        check_positive("bound", self.bound)
        if self.mode not in ("fan_in", "fan_out"):
            raise unknown("mode", self.mode, ("fan_in", "fan_out"))
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)) or not math.isfinite(self.value):
            raise ValueError(f"value must be a finite number, got {self.value!r}")

    def fan(self, block: Block) -> float:
        """Return the fan that the mode names."""
        return block.fan_in if self.mode == "fan_in" else block.fan_out


Fill = Callable[[Tensor, Block, Options], Any]
Variance = Callable[[Block, Options], float]


@dataclass(frozen=True)
class Initializer:
    """One way to start weights.

    Attributes:
        name: what users call it.
        fill: fills a tensor in place.
        variance: the variance of a weight that it aims at; None where weights are not drawn independently.
        formula: that variance in words.
        nonlinearity: for which activations it was derived.
        gained: whether the gain of the activation that follows enters.
        scaled: whether the variance follows the fans; if not, embeddings and recurrent weights get the same.
        source: where it is from.
        options: names of the ``Options`` it reads.
    """

    name: str
    fill: Fill
    variance: Variance | None
    formula: str
    nonlinearity: str
    source: str
    gained: bool = False
    scaled: bool = True
    options: tuple[str, ...] = ()


def _normal(t: Tensor, std: float, o: Options) -> Tensor:
    return nn.init.normal_(t, 0.0, std, generator=o.generator)


def _uniform(t: Tensor, std: float, o: Options) -> Tensor:
    bound = math.sqrt(3.0) * std
    return nn.init.uniform_(t, -bound, bound, generator=o.generator)


def _glorot(b: Block, _: Options) -> float:
    return 2.0 * b.gain**2 / (b.fan_in + b.fan_out)


def _lecun(b: Block, _: Options) -> float:
    return b.gain**2 / b.fan_in


def _he(b: Block, o: Options) -> float:
    return b.gain**2 / o.fan(b)


def _orthogonal(t: Tensor, b: Block, o: Options) -> None:
    """Fill with the rows (or columns) of a random orthogonal matrix; the QR needs single precision."""
    draw = torch.empty(t.shape, dtype=torch.promote_types(t.dtype, torch.float32), device=t.device)
    t.copy_(nn.init.orthogonal_(draw, b.gain, generator=o.generator))


def _identity(t: Tensor, *_: Any) -> None:
    if t.dim() == 2:
        nn.init.eye_(t)
    elif t.dim() in (3, 4, 5):
        nn.init.dirac_(t)
    else:
        raise ValueError(f"identity is defined for matrices and convolutions, got a weight of shape {tuple(t.shape)}")


_TRUNCATED = 0.7737413  # variance of N(0, 1) cut at -2 and 2
_ANY = "any, small nets"
INITIALIZERS: Final[tuple[Initializer, ...]] = (
    Initializer("zeros", lambda t, b, o: nn.init.zeros_(t), lambda b, o: 0.0, "0", "none: all units stay alike",
                "training_neural_networks: what happens when W = 0", scaled=False),
    Initializer("constant", lambda t, b, o: nn.init.constant_(t, o.value), lambda b, o: 0.0, "0",
                "none: all units stay alike", "better_optimisation: symmetry problem", scaled=False,
                options=("value",)),
    Initializer("normal", lambda t, b, o: _normal(t, o.std or 0.01, o), lambda b, o: (o.std or 0.01) ** 2, "std^2",
                _ANY, "training_neural_networks: small random numbers, 0.01", scaled=False, options=("std",)),
    Initializer("uniform", lambda t, b, o: nn.init.uniform_(t, -o.bound, o.bound, generator=o.generator),
                lambda b, o: o.bound**2 / 3, "bound^2 / 3", _ANY, "better_optimisation: U(-0.05, 0.05)", scaled=False,
                options=("bound",)),
    Initializer("truncated_normal",
                lambda t, b, o: nn.init.trunc_normal_(t, 0.0, s := o.std or 0.02, -2 * s, 2 * s, generator=o.generator),
                lambda b, o: _TRUNCATED * (o.std or 0.02) ** 2, "0.774 std^2 (cut at 2 std)", "transformers",
                "Devlin et al. 2019: 0.02", scaled=False, options=("std",)),
    Initializer("xavier_normal", lambda t, b, o: _normal(t, math.sqrt(_glorot(b, o)), o), _glorot,
                "2 / (fan_in + fan_out)", "tanh, sigmoid, softsign", "Glorot and Bengio 2010, eq. 12"),
    Initializer("xavier_uniform", lambda t, b, o: _uniform(t, math.sqrt(_glorot(b, o)), o), _glorot,
                "2 / (fan_in + fan_out)", "tanh, sigmoid, softsign", "Glorot and Bengio 2010, eq. 16"),
    Initializer("lecun_normal", lambda t, b, o: _normal(t, math.sqrt(_lecun(b, o)), o), _lecun, "1 / fan_in",
                "linear, tanh, selu", "LeCun et al. 1998, 4.6; the slides' Xavier"),
    Initializer("lecun_uniform", lambda t, b, o: _uniform(t, math.sqrt(_lecun(b, o)), o), _lecun, "1 / fan_in",
                "linear, tanh, selu", "LeCun et al. 1998, 4.6"),
    Initializer("kaiming_normal", lambda t, b, o: _normal(t, math.sqrt(_he(b, o)), o), _he, "gain^2 / fan",
                "relu and its relatives", "He et al. 2015, eq. 10 and 14", gained=True, options=("mode",)),
    Initializer("kaiming_uniform", lambda t, b, o: _uniform(t, math.sqrt(_he(b, o)), o), _he, "gain^2 / fan",
                "relu and its relatives", "He et al. 2015, eq. 10 and 14", gained=True, options=("mode",)),
    Initializer("orthogonal", _orthogonal, None, "gain^2 / max(rows, columns)", "any, deep and recurrent",
                "Saxe et al. 2014", gained=True),
    Initializer("identity", _identity, None, "an identity matrix, or a Dirac kernel", "linear, recurrent with relu",
                "Le et al. 2015; Zagoruyko and Komodakis 2017", scaled=False),
    Initializer("lsuv", _orthogonal, None, "such that V(z) = 1 on given data", "any", "Mishkin and Matas 2016"),
    Initializer("zero_gamma", lambda t, b, o: _normal(t, math.sqrt(_he(b, o)), o), _he,
                "gain^2 / fan; 0 at the end of residual branches", "relu, residual networks",
                "Goyal et al. 2017, 5.1; He et al. 2019", gained=True, options=("mode",)),
)  # fmt: skip
_BY_NAME: Final = {row.name: row for row in INITIALIZERS}


def initializer(name: str) -> Initializer:
    """Return the row of that name.

    Raises:
        ValueError: no such row; the message has the names and the nearest one.

    Example:
        >>> initializer("kaiming_normal").variance(Block(fan_in=8, fan_out=4, gain=2**0.5), Options())  # 2 / fan_in
        0.25...
    """
    if name not in _BY_NAME:
        raise unknown("initializer", name, _BY_NAME)
    return _BY_NAME[name]
