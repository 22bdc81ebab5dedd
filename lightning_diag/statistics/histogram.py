"""A 64-bin histogram whose edges lie on a fixed grid, so that histograms of steps and ranks add up.

Edges are ``2**e * {1, 1.25, 1.5, 1.75}``: the upper bits of a float32 are the bin number, so no range need be known
and no extreme value can fall outside. ``top`` says which 31 bins below the largest magnitude are kept per sign; the
rest is the near-zero bin of its sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BINS = 64
CODES = 2048
_PER_SIGN = 31
_INFINITE = 255 << 2  # magnitudes from here on are Inf and NaN


def bit_counts(values: Sequence[Tensor]) -> Tensor:
    """Return how many elements of each vector have each pattern of sign, exponent and upper two mantissa bits.

    Shape (n, 2048); column 1024 + m holds positive magnitude code m, column m the negative one with code m.
    """
    device = values[0].device
    lengths = torch.tensor([len(v) for v in values])
    offsets = torch.arange(1024, len(values) * CODES, CODES, dtype=torch.int32)
    code = torch.cat([v.float() for v in values]).view(torch.int32) >> 21
    code += torch.repeat_interleave(offsets, lengths).to(device)
    size = len(values) * CODES
    if device.type == "cpu":
        return torch.bincount(code, minlength=size).view(-1, CODES)
    empty = torch.zeros(size, device=device)  # bincount would wait for the device
    return empty.scatter_add_(0, code.long(), torch.ones(len(code), device=device)).view(-1, CODES)


def fold(tables: Tensor) -> Tensor:
    """Return (zero share, top, 64 counts) of tables of bit counts: (n, 2048) -> (n, 66), float32.

    The zero share is that of zeros (and denormals below 2**-128) among all elements. Bins ascend: index 0 the most
    negative, 31 negative near zero with the exact zeros, 32 positive near zero, 63 the largest. ``top`` is
    ``4 * exponent + quarter`` of the largest magnitude. Non-finite elements are in no bin.
    """
    n, device = len(tables), tables.device
    positive, negative = tables[:, 1024 : 1024 + _INFINITE].float(), tables[:, :_INFINITE].float()
    magnitude = torch.arange(_INFINITE, device=device)
    top = torch.where(positive + negative > 0, magnitude, 0).amax(1)
    kept = top[:, None] - _PER_SIGN + 1 + torch.arange(_PER_SIGN, device=device)
    inside = kept >= 1
    upper = torch.where(inside, positive.gather(1, kept.clamp_min(0)), 0.0)
    lower = torch.where(inside, negative.gather(1, kept.clamp_min(0)), 0.0)
    zeros = (positive[:, 0] + negative[:, 0]).reshape(n, 1)
    near_upper = positive.sum(1, keepdim=True) - positive[:, :1] - upper.sum(1, keepdim=True)
    near_lower = negative.sum(1, keepdim=True) - negative[:, :1] - lower.sum(1, keepdim=True) + zeros
    exponent = (top - (127 << 2)).float()[:, None]
    share = zeros / tables.sum(1, keepdim=True)
    return torch.cat([share, exponent, lower.flip(1), near_lower, near_upper, upper], 1)
