"""A sample of a large tensor's elements that no regular layout of units or channels can bias."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from lightning_diag.statistics.views import flat

SAMPLE = 4096
_PIECE = 64


def sample(x: Tensor) -> Tensor:
    """Return all elements of ``x`` up to 4,096, else that many: pieces of 64 at irregular positions, shape (n,)."""
    v = flat(x)
    if v.numel() <= SAMPLE:
        return v
    rows = v.numel() // _PIECE
    pieces = v[: rows * _PIECE].view(rows, _PIECE)
    return pieces.index_select(0, _rows(rows, str(v.device))).view(-1)


@lru_cache(maxsize=256)
def _rows(n: int, device: str) -> Tensor:
    pieces = torch.arange(SAMPLE // _PIECE)
    if n < 4 * len(pieces):  # golden-ratio positions would meet, and even ones miss every other row of some layouts
        return torch.randperm(n, generator=torch.Generator().manual_seed(0))[: len(pieces)].sort().values.to(device)
    return (pieces.double() * 0.6180339887498949 % 1.0 * n).long().to(device)
