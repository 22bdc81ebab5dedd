"""The parts of a history: series, tables, layers, samples, points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Stage: TypeAlias = Literal["preflight", "train", "validate"]
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

STAGES: tuple[Stage, ...] = ("preflight", "train", "validate")


class HistoryError(ValueError):
    """A history file cannot be read; the message says where and why."""


@dataclass(frozen=True)
class Series:
    """Values of one statistic over steps, both of shape (n,), steps ascending."""

    steps: Ints
    values: Floats

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Table:
    """One statistic over steps and sites: ``matrix[i, j]`` is site ``j`` at ``steps[i]``, NaN where absent."""

    steps: Ints
    sites: tuple[str, ...]
    matrix: Floats

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Layer:
    """One observed call of a module, in order of execution.

    ``site`` is the qualified module name (``name#1`` for the second call of a shared module in one forward pass);
    that of a functional activation is ``name:relu``, the name being that of the module that made its input, or that it
    was called in. ``role`` is "output" for the layer whose result the loss sees and the activation directly behind it,
    else "hidden". ``activation`` is the lower-case kind ("relu", "tanh", ...) of an activation, or "".
    ``follows`` is the site that made this layer's input, "" if unknown. ``parameters`` are qualified names.
    ``straight`` is, for an affine layer, the affine layer that feeds it with nothing but affine operations between.
    """

    site: str
    type: str
    role: Literal["hidden", "output"] = "hidden"
    activation: str = ""
    follows: str = ""
    units: int = 0
    parameters: tuple[str, ...] = ()
    source: str = ""
    straight: str = ""


@dataclass
class Sample:
    """One row of statistics over all sites; ``versions`` says which site list each family had."""

    step: int
    epoch: int
    stage: Stage
    versions: dict[str, int]
    values: Mapping[str, Floats]


class Points:
    """A growing pair of arrays."""

    def __init__(self) -> None:
        self.n = 0
        self._steps: Ints = np.empty(64, dtype=np.int64)
        self._values: Floats = np.empty(64)

    @property
    def steps(self) -> Ints:
        """The steps, shape (n,)."""
        return self._steps[: self.n]

    @property
    def values(self) -> Floats:
        """The values, shape (n,)."""
        return self._values[: self.n]

    def extend(self, steps: Ints, values: Floats) -> None:
        """Add points at the end."""
        end = self.n + len(steps)
        if end > len(self._steps):
            self._steps = np.concatenate([self.steps, np.empty(end, dtype=np.int64)])
            self._values = np.concatenate([self.values, np.empty(end)])
        self._steps[self.n : end], self._values[self.n : end] = steps, values
        self.n = end

    def keep(self, which: Ints) -> None:
        """Keep the points with these indices."""
        self._steps, self._values = self.steps[which], self.values[which]
        self.n = len(which)
