"""Bit counts and their folding against counting by value, on the edges that the TensorBoard sink writes."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, strategies as st

from lightning_diag.probes.samples import _added
from lightning_diag.sinks.tensorboard import edges
from lightning_diag.statistics.histogram import BINS, CODES, bit_counts, fold

Row: TypeAlias = npt.NDArray[np.float64]
normal = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
near = st.floats(-100, 100, width=32, allow_subnormal=False).map(lambda x: x if abs(x) > 1e-6 else 0.0)
spread = st.lists(st.one_of(near, normal, st.sampled_from([0.0, -0.0, 1.0, 1.25, -1.5, 2.0])), min_size=1, max_size=80)


def row(values: list[float]) -> Row:
    return fold(bit_counts([torch.tensor(values)]))[0].double().numpy()


def twin(values: list[float]) -> Row:
    """The same value by value: the largest magnitude gives the edges, the edges give the counts."""
    finite = [x for x in np.float32(values).astype(np.float64) if math.isfinite(x)]
    largest = max((abs(x) for x in finite), default=0.0)
    if not largest:
        top = -127 * 4
    else:
        mantissa, exponent = math.frexp(largest)  # largest = mantissa * 2 ** exponent, 0.5 <= mantissa < 1
        top = 4 * (exponent - 1) + int((mantissa * 2 - 1) * 4)
    counts = np.zeros(BINS)
    right = edges(top)[BINS // 2 :]
    for x in finite:
        k = int(np.searchsorted(right, abs(x), side="right"))  # bins hold their lower edge
        counts[BINS // 2 + k if x > 0 else BINS // 2 - 1 - k] += 1
    zeros = sum(x == 0 for x in finite)
    return np.array([np.float32(zeros / len(values)), top, *counts], dtype=np.float64)


@given(values=spread)
def test_equal_to_counting_by_value(values: list[float]) -> None:
    assert row(values).tolist() == twin(values).tolist()


@given(values=spread, bad=st.lists(st.sampled_from([math.nan, math.inf, -math.inf, -math.nan]), max_size=5))
def test_non_finite_elements_are_in_no_bin(values: list[float], bad: list[float]) -> None:
    found = row(values + bad)
    assert found[1:].tolist() == row(values)[1:].tolist()
    assert found[2:].sum() == len(values)


@pytest.mark.parametrize("values", [[math.nan], [math.inf, math.nan]], ids=str)
def test_nothing_finite_has_empty_bins(values: list[float]) -> None:
    found = row(values)
    assert found[0] == 0
    assert found[2:].sum() == 0


@pytest.mark.parametrize("values", [[0.0], [0.0, -0.0, 0.0]], ids=str)
def test_zeros_alone_lie_in_one_bin(values: list[float]) -> None:
    found = row(values)
    assert found[0] == 1
    assert found[2 + BINS // 2 - 1] == len(values) == found[2:].sum()


@given(values=st.lists(spread, min_size=1, max_size=6))
def test_many_vectors_at_once_are_as_one_by_one(values: list[list[float]]) -> None:
    together = fold(bit_counts([torch.tensor(v) for v in values]))
    assert together.shape == (len(values), BINS + 2)
    for found, v in zip(together, values, strict=True):
        assert found.tolist() == row(v).tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_dtypes_count_as_their_float32_values(dtype: torch.dtype) -> None:
    x = torch.randn(500, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(bit_counts([x]), bit_counts([x.float()]))


def test_the_other_devices_way_of_counting_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs where waiting for the device must be avoided: scatter_add instead of bincount."""
    x = [torch.randn(300, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    code = torch.cat([(v.view(torch.int32) >> 21) + 1024 + i * CODES for i, v in enumerate(x)])
    scattered = torch.zeros(3 * CODES).scatter_add_(0, code.long(), torch.ones(len(code))).view(-1, CODES)
    assert torch.equal(scattered, bit_counts(x).float())
    assert torch.equal(fold(scattered), fold(bit_counts(x)))


def added(*rows: Row) -> Row:
    """The histograms of several parts at one site, added."""
    return _added(np.array(rows)[:, None])[0]


def compatible(a: Row, b: Row) -> bool:
    """Whether two rows say the same; the share of zeros is computed from rounded ones."""
    return a[1:].tolist() == b[1:].tolist() and abs(a[0] - b[0]) < 1e-6


@given(parts=st.lists(spread, min_size=1, max_size=5))
def test_added_histograms_are_that_of_the_union(parts: list[list[float]]) -> None:
    assert compatible(added(*(row(p) for p in parts)), row([x for p in parts for x in p]))


@given(parts=st.lists(spread, min_size=3, max_size=3))
def test_adding_does_not_depend_on_order_or_grouping(parts: list[list[float]]) -> None:
    a, b, c = (row(p) for p in parts)
    assert compatible(added(a, b, c), added(c, a, b))
    assert compatible(added(added(a, b), c), added(a, added(b, c)))


@given(parts=st.lists(st.tuples(spread, spread), min_size=1, max_size=4))
def test_many_sites_are_added_as_one_by_one(parts: list[tuple[list[float], list[float]]]) -> None:
    together = _added(np.array([[row(a), row(b)] for a, b in parts]))
    for site in (0, 1):
        assert together[site].tolist() == added(*(row(p[site]) for p in parts)).tolist()


@given(values=spread, octaves=st.integers(-6, 6))
def test_doubling_the_data_moves_the_edges_alone(values: list[float], octaves: int) -> None:
    doubled = [x * 2.0**octaves for x in values]
    assume(all(x == 0 or 1e-36 < abs(x) < 1e36 for x in (*values, *doubled)))
    a, b = row(values), row(doubled)
    assert a[2:].tolist() == b[2:].tolist()
    assert b[1] - a[1] == (4 * octaves if any(values) else 0)


@given(values=spread)
def test_the_negative_side_mirrors_the_positive_one(values: list[float]) -> None:
    nonzero = [x for x in values if x]
    assume(nonzero)
    assert row([-x for x in nonzero])[2:].tolist() == row(nonzero)[2:][::-1].tolist()
