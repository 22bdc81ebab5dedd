"""A sample of a large tensor: always the same one, and like the whole whatever axis its values follow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from lightning_diag.statistics.sampling import SAMPLE, sample

# Beyond what 64 independent pieces would give once in a hundred draws: 1.63 / sqrt(64).
LIMIT = 0.204
SHAPES = [
    (64, 512), (256, 512), (128, 100), (1000, 300), (4096, 64), (64, 4096), (7, 65_536), (128, 65),  # example, unit
    (32, 64, 16, 16), (32, 48, 14, 14), (32, 3, 64, 64), (8, 96, 28, 28),  # example, channel, row, column
    (16, 128, 256), (8, 77, 96), (32, 196, 192), (32, 8, 24), (40, 4, 64), (24, 12, 32),  # example, token, feature
]  # fmt: skip


def distance(x: Tensor) -> float:
    """The Kolmogorov-Smirnov distance between a tensor and its sample."""
    a, b = np.sort(sample(x).numpy()), np.sort(x.numpy().ravel())
    at = np.concatenate([a, b])
    below = [np.searchsorted(v, at, side="right") / len(v) for v in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_like_the_whole_whatever_axis_the_values_follow(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    assert distance(torch.rand(shape, generator=generator)) < 0.03
    for axis, size in enumerate(shape):
        ascending = torch.rand(size, generator=generator).sort()[0]
        for values in (ascending, ascending[torch.randperm(size, generator=generator)]):
            x = values.view([-1 if d == axis else 1 for d in range(len(shape))]).expand(shape).contiguous()
            assert distance(x) < LIMIT, f"values follow axis {axis}"


@given(n=st.integers(1, 60_000))
def test_as_many_as_promised_and_the_same_every_time(n: int) -> None:
    x = torch.arange(n, dtype=torch.float64)
    found = sample(x)
    assert len(found) == min(n, SAMPLE)
    assert torch.equal(sample(x), found)
    distinct = len(found.unique())
    assert distinct == len(found) or (SAMPLE < n < 2 * SAMPLE and distinct > 0.8 * SAMPLE)


def test_small_tensors_are_taken_whole() -> None:
    x = torch.randn(16, 16, 16)
    assert torch.equal(sample(x), x.view(-1))


def test_channels_last_is_read_in_its_order_in_memory() -> None:
    x = torch.randn(16, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(sample(last), sample(x.permute(0, 2, 3, 1).contiguous()))


def test_no_random_numbers_are_drawn() -> None:
    before = torch.get_rng_state()
    sample(torch.ones(100_000))
    assert torch.equal(torch.get_rng_state(), before)
