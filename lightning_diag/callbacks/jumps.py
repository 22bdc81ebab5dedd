"""Jumps of the loss and of the gradient norm, which make the next steps sampled and the tripwires asked."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

_JUMP = 10.0  # above this multiple of what it was, a loss or a gradient norm has jumped


class Jumps:
    """Compares each loss with a running mean and each gradient norm with the median of the last 32 samples."""

    def __init__(self) -> None:
        self.jumped = False
        self._mean: float | None = None
        self._norms: deque[float] = deque(maxlen=32)

    def loss(self, value: float) -> bool:
        """Take the loss of a step; return whether it is non-finite or has jumped."""
        mean = self._mean
        self.jumped = not math.isfinite(value) or (mean is not None and value > _JUMP * mean > 0)
        if not self.jumped:
            self._mean = value if mean is None else 0.9 * mean + 0.1 * value
        return self.jumped

    def norm(self, value: float) -> None:
        """Take the gradient norm of a sample."""
        self.jumped |= bool(self._norms) and value > _JUMP * float(np.median(self._norms))
        self._norms.append(value)
