"""What several processes read, merged, is what one process would have read of all their data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from lightning_diag.probes.readings import Part, Readings
from lightning_diag.probes.samples import arranged, merged

values = st.one_of(
    st.floats(-100, 100, width=32, allow_subnormal=False), st.sampled_from([0.0, float("nan"), float("inf"), -1e30])
)
chunks = st.lists(st.lists(values, min_size=1, max_size=40), min_size=1, max_size=4)


def part(tensors: Mapping[tuple[str, str], Tensor], scalars: Mapping[tuple[str, str], float] = {}) -> Part:
    readings = Readings()
    for (family, site), x in tensors.items():
        readings.tensor(family, site, x)
    for (statistic, site), number in scalars.items():
        readings.site(statistic.split("/")[0], site)
        readings.scalar(statistic, site, torch.tensor(number))
    return readings.fetch()


def silent(mask: list[bool], examples: int, without_bias: list[bool] | None = None) -> Part:
    readings = Readings()
    readings.site("activation", "act")
    readings.silence("act", torch.tensor(mask), examples, None if without_bias is None else torch.tensor(without_bias))
    return readings.fetch()


def equal(found: Part, expected: Part) -> None:
    assert found.numel == expected.numel
    assert found.moments.keys() == expected.moments.keys()
    for key, row in expected.moments.items():
        size = np.nanmax(np.abs(row[2:4])) if not np.isnan(row[2]) else 1.0
        np.testing.assert_allclose(found.moments[key], row, rtol=1e-3, atol=max(1e-37, 2e-6 * size), err_msg=str(key))
        assert found.moments[key][2:].tolist() == pytest.approx(row[2:].tolist(), nan_ok=True)
    assert found.bins.keys() == expected.bins.keys()
    for key, row in expected.bins.items():
        assert found.bins[key][1:].tolist() == row[1:].tolist(), key


@given(pieces=chunks)
def test_activations_merge_to_those_of_the_union(pieces: list[list[float]]) -> None:
    key = ("activation", "net.0")
    parts = [part({key: torch.tensor(p)}) for p in pieces]
    equal(merged(parts), part({key: torch.tensor([x for p in pieces for x in p])}))


@given(pieces=chunks)
def test_the_zero_fraction_merges(pieces: list[list[float]]) -> None:
    finite = [[x for x in p if np.isfinite(x)] or [0.0] for p in pieces]
    parts = [part({("activation", "a"): torch.tensor(p)}) for p in finite]
    found = arranged(merged(parts), histograms=False).values["activation/zero_fraction"]
    assert found.tolist() == pytest.approx([np.mean([x == 0 for p in finite for x in p])], abs=1e-6)


@given(pieces=st.permutations([[1.0, -2.0, 0.0], [5.0] * 7, [float("nan"), 3.0], [1e-20]]))
def test_the_order_of_the_ranks_does_not_matter(pieces: list[list[float]]) -> None:
    parts = [part({("activation", "a"): torch.tensor(p)}) for p in pieces]
    equal(merged(parts), part({("activation", "a"): torch.tensor([x for p in pieces for x in p])}))


def test_parameters_are_the_same_everywhere_and_taken_once() -> None:
    w = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    one = part({("parameter", "w"): w, ("gradient", "w"): w, ("update", "w"): w})
    equal(merged([one, one, one]), one)


def test_shards_of_parameters_add_up() -> None:
    w = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    parts = [part({("parameter", "w"): w[:2]}), part({("parameter", "w"): w[2:]})]
    equal(merged(parts, sharded=True), part({("parameter", "w"): w}))


def test_a_site_that_only_one_rank_has_seen() -> None:
    a, b = torch.randn(4), torch.randn(3)
    found = merged([part({("activation", "a"): a}), part({("activation", "a"): a, ("activation", "b"): b})])
    equal(found, part({("activation", "a"): torch.cat([a, a]), ("activation", "b"): b}))


def test_a_unit_is_silent_only_where_it_is_so_everywhere() -> None:
    found = merged([silent([True, True, False], 8), silent([True, False, False], 24)]).silence["act"]
    assert (found.silent.tolist(), found.examples, found.without_bias) == ([True, False, False], 32, None)


def test_a_unit_that_would_fire_without_its_bias_on_one_rank_would_fire() -> None:
    parts = [silent([True, True], 8, [True, False]), silent([True, True], 8, [False, False]), silent([True, True], 8)]
    assert merged(parts).silence["act"].without_bias.tolist() == [True, False]  # type: ignore[union-attr]


def test_shares_are_averaged_and_alarms_are_not() -> None:
    parts = [
        part({}, {("activation/saturated_fraction", "a"): s, ("activation/input_nonfinite", "a"): bad})
        for s, bad in ((0.2, 0.0), (0.6, 1.0))
    ]
    found = merged(parts).scalars
    assert found["activation/saturated_fraction", "a"] == pytest.approx(0.4)
    assert found["activation/input_nonfinite", "a"] == 1.0


def test_one_part_is_left_as_it_is() -> None:
    one = part({("activation", "a"): torch.ones(3)})
    assert merged([one]) is one


def test_a_sample_is_laid_out_in_the_order_of_the_sites() -> None:
    x = {"b": torch.tensor([3.0, 4.0]), "a": torch.tensor([0.0, 0.0]), "c": torch.tensor([float("nan")])}
    sample = arranged(part({("activation", k): v for k, v in x.items()}), histograms=True)
    assert sample.sites == {"activation": ["b", "a", "c"]}
    assert sample.values["activation/rms"].tolist() == pytest.approx([12.5**0.5, 0.0, np.nan], nan_ok=True)
    assert sample.values["activation/nonfinite"].tolist() == [0, 0, 1]
    assert sample.values["activation/zero_fraction"][:2].tolist() == [0, 1]
    assert sample.histograms["activation"]["b"].counts.sum() == 2
    assert sample.histograms["activation"]["b"].sum_squares == pytest.approx(25)
    assert not arranged(part({("activation", "b"): x["b"]}), histograms=False).histograms


def test_update_ratio_and_gradient_norm_follow() -> None:
    w, g, u = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0]), torch.tensor([0.3, 0.4])
    tensors = {(f, n): x for n in ("v", "w") for f, x in (("gradient", g), ("parameter", w), ("update", u))}
    tensors["parameter", "v"] = torch.zeros(2)
    sample = arranged(part(tensors), histograms=False)
    assert sample.values["update/ratio"].tolist() == pytest.approx([np.nan, 0.1], nan_ok=True)
    assert sample.values["total/gradient_norm"].tolist() == pytest.approx([10**0.5])


def test_the_loss_scale_is_divided_out_of_activation_gradients_alone() -> None:
    x = torch.tensor([512.0, -1024.0])
    tensors = {("activation_gradient", "a"): x, ("gradient", "w"): x}
    found = arranged(part(tensors, {("total/gradient_scale", ""): 1024.0}), histograms=False).values
    assert found["activation_gradient/min"].tolist() == [-1]
    assert found["activation_gradient/std"].tolist() == pytest.approx([0.75])
    assert found["gradient/min"].tolist() == [-1024]
