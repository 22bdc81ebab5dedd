"""How the samples of a batch differ: spread across them, and along how many directions."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

ROWS: Final = 128  # samples of a batch that are looked at
FEATURES: Final = 128  # features of a sample that are looked at


def rows_of(x: Tensor, rows: int = ROWS, features: int = FEATURES) -> Tensor:
    """Return up to ``rows`` samples (axis 0) with up to ``features`` evenly spread features each, shape (n, f)."""
    flat = x[:rows].reshape(min(rows, x.shape[0]), -1)
    return flat if flat.shape[1] <= features else flat.index_select(1, _columns(flat.shape[1], features, str(x.device)))


@lru_cache(maxsize=256)
def _columns(n: int, features: int, device: str) -> Tensor:
    return torch.linspace(0, n - 1, features, dtype=torch.float64).round().long().to(device)


def spread(x: Tensor) -> Tensor:
    """Return (standard deviation across samples, effective rank), shape (2,), of rows (samples, features).

    The deviation is the root mean square over features of each feature's standard deviation across samples. The
    effective rank is the participation ratio (sum of eigenvalues)^2 / sum of squared eigenvalues of the covariance of
    the samples: between 1 (all samples on a line) and min(samples - 1, features). NaN where all samples are the same.

    Example:
        >>> spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])).tolist()[1]
        1.0
    """
    centred = x.float() - x.float().mean(0)
    scale = centred.abs().amax()
    unit = centred / scale
    gram = unit @ unit.T if unit.shape[0] <= unit.shape[1] else unit.T @ unit
    trace = gram.diagonal().sum()
    return torch.stack([(centred.square().mean()).sqrt(), trace.square() / gram.square().sum()])
