"""Streaming statistics: the whole at once, in parts, and over ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from lightning_diag.preprocessing import Moments, StreamingMoments, merged, moments_of
from lightning_diag.preprocessing.moments import LEVELS, WIDEST

FIELDS = ("count", "mean", "squares", "low", "high", "products")


def same(a: Moments, b: Moments) -> None:
    for name in FIELDS:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-7)


@given(
    st.integers(0, 2**31),
    st.integers(2, 40),
    st.integers(1, 5),
    st.integers(1, 39),
    st.floats(-1e4, 1e4),
    st.booleans(),
)
def test_parts_merge_to_the_whole(seed: int, n: int, features: int, cut: int, shift: float, missing: bool) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, features, generator=rng, dtype=torch.float64) + shift
    if missing:
        x[torch.rand(n, features, generator=rng) < 0.3] = torch.nan
    cut = min(cut, n)
    for covariance in (False, True):
        same(
            merged(moments_of(x[:cut], covariance), moments_of(x[cut:], covariance)),
            moments_of(x, covariance),
        )


@given(st.integers(0, 2**31), st.integers(2, 30), st.permutations(range(30)))
def test_the_order_of_samples_does_not_matter(seed: int, n: int, order: list[int]) -> None:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    same(moments_of(x, True), moments_of(x[[i for i in order if i < n]], True))


def test_moments_are_those_of_numpy() -> None:
    x = np.random.default_rng(0).normal(1e6, 3.0, (500, 4))
    x[3, 1] = np.nan
    m = moments_of(torch.from_numpy(x))
    np.testing.assert_allclose(m.mean, np.nanmean(x, 0))
    np.testing.assert_allclose(m.std, np.nanstd(x, 0), rtol=1e-9)
    np.testing.assert_allclose(m.low, np.nanmin(x, 0))
    np.testing.assert_allclose(m.high, np.nanmax(x, 0))
    assert m.count.tolist() == [500, 499, 500, 500]
    complete = np.delete(x, 3, 0)
    np.testing.assert_allclose(
        moments_of(torch.from_numpy(x), True).covariance, np.cov(complete.T, bias=True), rtol=1e-6
    )


@pytest.mark.parametrize("level", LEVELS)
def test_what_has_statistics_of_its_own(level: Any) -> None:
    x = torch.randn(12, 3, 4, 5)
    meter = StreamingMoments(level)
    for part in x.split(5):
        meter.update(part)
    axes = {"all": (0, 1, 2, 3), "channel": (0, 2, 3), "element": (0,)}[level]
    shape = {"all": (), "channel": (3, 1, 1), "element": (3, 4, 5)}[level]
    assert meter.shape == shape
    torch.testing.assert_close(meter.compute().mean.reshape(shape).float(), x.mean(axes).reshape(shape))


def test_channels_may_be_the_last_axis() -> None:
    x = torch.randn(6, 7, 3)
    meter = StreamingMoments("channel", channel_axis=-1)
    meter.update(x)
    assert meter.shape == (1, 3)
    torch.testing.assert_close(meter.compute().mean.float(), x.mean((0, 1)))


def test_what_cannot_be_counted_is_told() -> None:
    meter = StreamingMoments("element")
    meter.update(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"features of shape \(4,\) came after batches of \(3,\)"):
        meter.update(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"infinite values \(1 in one batch\)"):
        StreamingMoments("all").update(torch.tensor([1.0, torch.inf]))
    with pytest.raises(ValueError, match="whitening 5000 features needs a covariance of 191 MiB"):
        StreamingMoments("element", covariance=True).update(torch.zeros(2, 5000))
    assert WIDEST == 4096


def _rank(rank: int, world: int, path: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}/store", rank=rank, world_size=world)
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    meter = StreamingMoments("element", covariance=True)
    for part in x[: 12 if rank == 0 else 28] if rank == 0 else (x[12:],):
        meter.update(part.reshape(-1, 3))
    m = meter.compute()
    torch.save({name: getattr(m, name) for name in FIELDS}, f"{path}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.full
def test_ranks_merge_to_the_whole(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, (2, str(tmp_path)), nprocs=2)  # type: ignore[attr-defined,no-untyped-call]
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for rank in range(2):
        same(Moments(**torch.load(tmp_path / f"{rank}.pt")), moments_of(x, True))
