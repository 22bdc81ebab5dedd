"""Moments against numpy in float64, and the laws they obey, on both paths: with and without branches on values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from lightning_diag.statistics.moments import FIELDS, _moments_masked, merge, moments
from lightning_diag.statistics.views import flat

Path: TypeAlias = Callable[[Tensor], Tensor]
Row: TypeAlias = npt.NDArray[np.float64]


def masked(x: Tensor) -> Tensor:
    """The path of other devices, which never branches on values."""
    return _moments_masked(flat(x))


both = pytest.mark.parametrize("path", [moments, masked], ids=["cpu", "masked"])
floats = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=False)
numbers = st.lists(floats, min_size=1, max_size=60)
tame = st.lists(st.floats(-1e4, 1e4, width=32, allow_subnormal=False), min_size=1, max_size=60)


def twin(x: Any) -> Row:
    """The same by numpy in float64, with two passes."""
    v = (x.double().numpy() if isinstance(x, Tensor) else np.asarray(x, dtype=np.float64)).ravel()
    finite = v[np.isfinite(v)]
    counts = [len(v) - len(finite), np.isnan(v).sum()]
    if not len(finite):
        return np.array([np.nan] * 4 + counts)
    return np.array([finite.mean(), finite.std(), finite.min(), finite.max(), *counts])


def agree(found: Tensor, expected: Row) -> None:
    """Moments within a thousandth of the spread (float32 rounding of a mean far from zero allowed), counts exactly."""
    row = found.double().numpy()
    assert found.dtype == torch.float32
    assert found.shape == (len(FIELDS),)
    assert np.isnan(row).tolist() == np.isnan(expected).tolist(), (row, expected)
    assert row[4:].tolist() == expected[4:].tolist()
    if np.isnan(expected[0]):
        return
    size = np.abs(expected[2:4]).max()
    assert row[2:4] == pytest.approx(expected[2:4], rel=1e-6, abs=1e-37)
    assert row[0] == pytest.approx(expected[0], abs=2e-6 * size + 1e-37)
    assert row[1] == pytest.approx(expected[1], rel=1e-3, abs=2e-6 * size + 1e-37)


@both
@given(values=numbers)
def test_equal_to_the_twin_on_anything(path: Path, values: list[float]) -> None:
    x = torch.tensor(values)
    agree(path(x), twin(x))


def made(seed: int, kind: str, n: int = 5000) -> Tensor:
    x = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    return {
        "normal": x,
        "rectified": x.relu(),
        "all zero": x * 0,
        "constant": x * 0 + 0.1,
        "shifted": 1000 + x,
        "far shifted": 1e5 + x,
        "huge": x * 1e30,
        "tiny": x * 1e-30,
        "tiniest": x * 1e-36,
        "one outlier": torch.cat([x, torch.tensor([1e20])]),
    }[kind]


KINDS = ("normal", "rectified", "all zero", "constant", "shifted", "far shifted", "huge", "tiny", "tiniest",
         "one outlier")  # fmt: skip


@both
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_twin_on_hard_scales(path: Path, kind: str) -> None:
    x = made(0, kind)
    agree(path(x), twin(x))


@pytest.mark.parametrize("kind", ["shifted", "far shifted"])
@both
def test_the_spread_survives_a_large_mean(path: Path, kind: str) -> None:
    """The textbook formula in float32 would give 0 or nonsense here."""
    std = float(path(made(1, kind))[1])
    assert std == pytest.approx(1.0, rel=0.05)


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_dtype_is_summed_in_float32_or_wider(path: Path, dtype: torch.dtype) -> None:
    x = (made(2, "normal", 70_000) * 100 + 300).to(dtype)  # the sum, 2e7, does not fit into float16
    agree(path(x), twin(x))


@both
def test_float16_sums_do_not_overflow(path: Path) -> None:
    x = torch.full((4096,), 60_000.0, dtype=torch.float16)
    agree(path(x), twin(x))


@both
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_elements_are_counted_and_left_out(path: Path, bad: float) -> None:
    x = made(3, "normal", 1000)
    x[[3, 500, 999]] = bad
    row = path(x)
    agree(row, twin(x))
    assert row[4:].tolist() == [3, 3 if bad != bad else 0]


@both
def test_infinities_that_cancel_are_counted(path: Path) -> None:
    agree(path(torch.tensor([torch.inf, -torch.inf, 1.0, 2.0])), twin([np.inf, -np.inf, 1.0, 2.0]))


@both
@pytest.mark.parametrize("values", [[torch.nan], [torch.inf, torch.nan], [torch.inf] * 3], ids=str)
def test_without_finite_elements_moments_are_absent(path: Path, values: list[float]) -> None:
    row = path(torch.tensor(values))
    assert torch.isnan(row[:4]).all()
    assert row[4] == len(values)


def layouts() -> dict[str, Tensor]:
    x = torch.arange(2 * 6 * 4 * 8, dtype=torch.float32).view(2, 6, 4, 8).sin()
    return {
        "contiguous": x,
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "transposed": x.transpose(0, 2),
        "every other": x[:, ::2, :, ::3],
        "one column": x[..., 0],
        "expanded": x[:1, :1].expand(3, 5, 4, 8),
        "scalar": torch.tensor(3.5),
        "flipped": x.flip(0, 3),
    }


@both
@pytest.mark.parametrize("name", layouts())
def test_the_layout_in_memory_does_not_matter(path: Path, name: str) -> None:
    x = layouts()[name]
    agree(path(x), twin(x.contiguous()))


@both
def test_the_tensor_is_not_changed(path: Path) -> None:
    for kind in KINDS:
        for dtype in (torch.float32, torch.float64):
            x = made(4, kind).to(dtype)
            before = x.clone()
            path(x)
            assert torch.equal(x, before), (kind, dtype)


@both
@given(values=numbers, seed=st.integers(0, 99))
def test_order_does_not_matter(path: Path, values: list[float], seed: int) -> None:
    x = torch.tensor(values)
    shuffled = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))]
    agree(path(shuffled), twin(x))


@both
@given(values=tame, factor=st.sampled_from([2.0**-80, 0.5, -1.0, -8.0, 1e3, 2.0**80]))
def test_scaling_the_data_scales_the_moments(path: Path, values: list[float], factor: float) -> None:
    x = torch.tensor([v if abs(v) > 1e-3 else 0.0 for v in values])
    mean, std, low, high, bad, nan = twin(x)
    scaled = np.array([mean, std, low, high, bad, nan]) * [factor, abs(factor), factor, factor, 1, 1]
    if factor < 0:
        scaled[[2, 3]] = scaled[[3, 2]]
    agree(path(x * factor), scaled)


@both
@given(values=st.lists(numbers, min_size=1, max_size=5))
def test_split_and_merge_is_the_whole(path: Path, values: list[list[float]]) -> None:
    rows = np.stack([path(torch.tensor(v)).double().numpy() for v in values])[:, None]
    counts = np.array([[float(len(v))] for v in values])
    whole = merge(rows, counts)
    agree(torch.from_numpy(whole[0]).float(), twin([x for p in values for x in p]))


def test_merging_leaves_out_the_sites_that_a_part_lacks() -> None:
    parts = np.full((2, 3, 6), np.nan)
    parts[0, 0] = twin([1.0, 3.0])
    parts[1, 0] = twin([5.0])
    parts[1, 1] = twin([2.0, np.nan])
    found = merge(parts, np.array([[2.0, 0.0, 0.0], [1.0, 2.0, 0.0]]))
    np.testing.assert_allclose(found[0], twin([1.0, 3.0, 5.0]))
    np.testing.assert_allclose(found[1], twin([2.0, np.nan]))
    assert np.isnan(found[2]).all(), "a site in no part has no numbers at all, not zero of them"


def test_merging_parts_of_which_one_holds_nothing_finite() -> None:
    values = [[np.nan, np.inf], [1.0, 2.0, 4.0]]
    found = merge(np.stack([twin(v) for v in values])[:, None], np.array([[2.0], [3.0]]))
    np.testing.assert_allclose(found[0], twin([x for p in values for x in p]))
