import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from lightning_diag.trends import concordance, descent, gap, is_plateau, jumps, noise, slope, smooth

NUMBERS = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))
SERIES = arrays(np.float64, st.integers(3, 60), elements=NUMBERS)
SCALES = st.sampled_from([1e-6, 0.5, 3.0, 1e6])
RNG = np.random.default_rng(0)


@given(SERIES, SCALES, st.sampled_from([-7.0, 0.0, 100.0]))
def test_scale_equivariance(v, scale, offset):
    x = np.arange(len(v))
    near = {"rel": 1e-6, "abs": 1e-7 * scale}
    assert slope(x, scale * v + offset) == pytest.approx(scale * slope(x, v), **near)
    assert noise(scale * v + offset) == pytest.approx(scale * noise(v), **near)
    assert smooth(scale * v + offset, 3) == pytest.approx(scale * smooth(v, 3) + offset, **near)


@given(SERIES)
def test_slope_and_concordance_change_sign_with_time(v):
    x = np.arange(len(v))
    assert slope(x, v[::-1]) == pytest.approx(-slope(x, v), abs=1e-9)
    assert concordance(v[::-1]) == pytest.approx(-concordance(v))
    assert -1 <= concordance(v) <= 1


@given(SERIES, SCALES)
def test_descent_knows_no_unit(v, scale):
    a, b = descent(v), descent(scale * v)
    assert a.n == b.n
    assert b.end == pytest.approx(scale * a.end)
    assert a.kind == b.kind or a.noise <= 1e-6  # without any noise rounding decides


@given(SERIES)
def test_non_finite_points_are_left_out(v):
    holes = np.insert(v, [1, 2], [np.nan, np.inf])
    assert noise(holes) == noise(v)
    assert descent(holes) == descent(v)


@given(st.integers(300, 2000), st.floats(-5, 5))
def test_slope_of_a_line_is_exact_also_when_thinned(n, a):
    x = np.arange(n)
    assert slope(x, a * x + 3) == pytest.approx(a, abs=1e-9)


def test_slope_survives_a_quarter_of_outliers():
    x = np.arange(100.0)
    y = 2 * x
    y[::4] = 1e9
    assert slope(x, y) == pytest.approx(2, rel=0.3)
    assert np.isnan(slope([1], [2]))
    assert np.isnan(slope([1, 1], [2, 3]))
    with pytest.raises(ValueError, match="equal lengths"):
        slope([1, 2], [1])


@pytest.mark.parametrize("trend", [0.0, 5.0])
def test_noise_is_the_standard_deviation_whatever_the_trend(trend):
    x = np.arange(4000)
    v = 0.3 * RNG.standard_normal(4000) + trend * np.sin(x / 500) + trend * x / 4000
    v[::100] += 50
    assert noise(v) == pytest.approx(0.3, rel=0.08)
    assert noise(x**1.0) == 0
    assert np.isnan(noise([1, 2]))


def test_smooth():
    assert smooth([1, 9, 1, 1, 5], 3).tolist() == [5, 1, 1, 1, 3]
    assert smooth([1, 2], 1).tolist() == [1, 2]
    for window in (0, 2):
        with pytest.raises(ValueError, match=f"window is {window}"):
            smooth([1], window)


@pytest.mark.parametrize("seed", range(50))
def test_flat_noise_neither_falls_nor_rises(seed):
    v = np.random.default_rng(seed).standard_normal(300)
    assert descent(v).kind == "flat"
    assert descent(v + 100).kind == "flat"
    assert is_plateau(v)


@pytest.mark.parametrize("n", [12, 50, 1000])
def test_kinds(n):
    jitter = 0.01 * np.random.default_rng(n).standard_normal(n)
    down = np.linspace(2.0, 1.0, n)
    assert descent(down + jitter).kind == "falling"
    assert descent(down[::-1] + jitter).kind == "rising"
    assert descent(down[:11]).kind == "unknown"
    assert not is_plateau(down)
    assert not is_plateau([1.0])


def test_slight():
    v = 100 - np.linspace(0, 0.4, 20_000) + RNG.standard_normal(20_000)
    d = descent(v)
    assert d.kind == "slight"
    assert d.relative == pytest.approx(0.004, abs=0.002)
    assert d.in_noise < 0.5


def test_a_fall_in_the_first_points_counts():
    v = 0.1 + 0.01 * RNG.standard_normal(10_000)
    v[:5] = 2
    assert descent(v).kind == "falling"
    assert descent(v).begin == 2


def test_constant_series():
    assert descent(np.full(50, 2.0)).kind == "flat"
    assert descent(np.zeros(50)).kind == "flat"
    assert descent(np.zeros(50)).relative == 0
    assert descent([]).kind == "unknown"


@given(SCALES)
def test_jumps(scale):
    v = scale * np.array([1e3, 1, 1, 2, 1, 500, np.nan, 0, 1])
    assert np.flatnonzero(jumps(v, decades=2, warm_points=3)).tolist() == [5]
    assert not jumps(v, decades=2, warm_points=7).any()
    assert not len(jumps([], decades=1, warm_points=0))


def test_gap():
    x = np.arange(20.0)
    train, validate = np.exp(-x / 5), 1 + 0.01 * (x - 8) ** 2
    g = gap(train, validate)
    assert g.best in (7, 8)
    assert g.rise > 0.5
    assert g.train_fall > 0.1
    assert g.worse_share > 0.8
    assert g.level[0] < 0.1
    offset = gap(train + 5, validate)
    assert offset.rise == g.rise
    assert offset.train_fall == pytest.approx(g.train_fall)
    assert gap(train, train).rise <= 0
    with pytest.raises(ValueError, match="equal length"):
        gap(train, validate[:-1])
