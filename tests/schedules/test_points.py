"""Points computed by hand from the lectures' formulas, and laws that hold at every step."""

import math
import pickle
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, strategies as st

from lightning_diag import schedules as s

POINTS: list[tuple[Callable[[float], float], dict[float, float]]] = [
    (s.constant, {0: 1, 10**6: 1}),
    (partial(s.step_decay, every=30), {0: 1, 29: 1, 30: 0.1, 60: 0.01}),
    (partial(s.step_decay, every=2, factor=1 / 5), {1: 1, 2: 0.2, 5: 0.04}),
    (partial(s.milestones, milestones=(32, 48)), {31: 1, 32: 0.1, 47: 0.1, 48: 0.01}),
    (s.exponential, {0: 1, 1: 0.95, 2: 0.9025}),
    (partial(s.natural_exponential, k=0.1), {0: 1, 10: 0.36787944117144233}),
    (partial(s.linear, total_steps=10), {0: 1, 3: 0.7, 10: 0, 25: 0}),
    (partial(s.linear_to_floor, tau=100), {0: 1, 50: 0.505, 100: 0.01, 1000: 0.01}),
    (partial(s.cosine, total_steps=12), {0: 1, 4: 0.75, 6: 0.5, 8: 0.25, 12: 0, 18: 0}),
    (partial(s.cosine, total_steps=12, final=0.1), {6: 0.55, 12: 0.1}),
    (s.inverse_sqrt, {0: 1, 1: 1, 4: 0.5, 100: 0.1}),
    (partial(s.inverse_sqrt, w=25), {0: 1, 25: 1, 100: 0.5}),
    (partial(s.inverse_time, k=0.5), {0: 1, 2: 0.5, 18: 0.1}),
    (partial(s.polynomial, total_steps=10, power=2), {0: 1, 5: 0.25, 10: 0, 20: 0}),
    (partial(s.triangular, half_period=4, low=0.2), {0: 0.2, 2: 0.6, 4: 1, 6: 0.6, 8: 0.2, 12: 1}),
    (partial(s.triangular2, half_period=4, low=0.2), {4: 1, 8: 0.2, 12: 0.6, 20: 0.4}),
    (partial(s.exp_range, half_period=2, low=0.0, gamma=0.5), {0: 0, 2: 0.25, 4: 0, 6: 1 / 64}),
    (partial(s.cosine_restarts, period=4), {0: 1, 2: 0.5, 4: 1, 8: 0.5, 12: 1, 20: 0.5, 28: 1}),
    (partial(s.cosine_restarts, period=4, growth=1), {0: 1, 2: 0.5, 4: 1, 6: 0.5}),
    (partial(s.one_cycle, total_steps=11, rise=5 / 11, start=0.1, final=0.0),
     {0: 0.1, 2: 0.55, 4: 1, 7: 0.5, 10: 0, 99: 0}),
    (partial(s.warmup_stable_decay, total_steps=100), {0: 1, 89: 1, 90: 1, 95: 0.5, 100: 0, 200: 0}),
    (partial(s.linear_warmup, warmup_steps=4), {0: 0.2, 3: 0.8, 4: 1, 9: 1}),
    (partial(s.exponential_warmup, warmup_steps=2, start=0.01), {0: 0.01, 1: 0.1, 2: 1, 5: 1}),
    (s.join([partial(s.linear_warmup, warmup_steps=4), partial(s.linear, total_steps=10)], [4]),
     {0: 0.2, 4: 1, 9: 0.5, 14: 0}),
]  # fmt: skip
FALLING = (
    s.constant, s.exponential, s.inverse_sqrt, partial(s.step_decay, every=7),
    partial(s.milestones, milestones=(9, 20)),
    partial(s.natural_exponential, k=0.01), partial(s.linear, total_steps=50), partial(s.linear_to_floor, tau=50),
    partial(s.cosine, total_steps=50), partial(s.inverse_time, k=0.3), partial(s.polynomial, total_steps=50),
    partial(s.warmup_stable_decay, total_steps=50), s.schedule.fastest_plateau,
)  # fmt: skip


def name(f: object) -> str:
    return getattr(f, "func", f).__name__  # type: ignore[no-any-return]


@pytest.mark.parametrize(("factor", "points"), POINTS, ids=lambda x: name(x) if callable(x) else "")
def test_points(factor: Callable[[float], float], points: dict[float, float]) -> None:
    assert {t: factor(t) for t in points} == pytest.approx(points, abs=1e-12)
    assert pickle.loads(pickle.dumps(factor))(3) == factor(3)


def test_every_row_has_points() -> None:
    assert {r.function.__name__ for r in s.SCHEDULES if r.function} <= {name(f) for f, _ in POINTS}


@pytest.mark.parametrize("factor", FALLING, ids=name)
@given(t=st.integers(0, 200))
def test_what_falls_starts_at_one_and_never_rises(factor: Callable[[float], float], t: int) -> None:
    assert factor(0) == 1
    assert 0 <= factor(t + 1) <= factor(t) <= 1


@given(t=st.integers(0, 10_000), total=st.integers(1, 5_000), final=st.floats(0, 1))
def test_what_ends_stays_between_its_ends(t: int, total: int, final: float) -> None:
    for f in (s.linear, s.cosine, s.polynomial, s.warmup_stable_decay):
        assert f(0, total_steps=total, final=final) == pytest.approx(1)
        assert final - 1e-12 <= f(t, total_steps=total, final=final) <= 1 + 1e-12
        assert f(total + t, total_steps=total, final=final) == pytest.approx(final, abs=1e-12)
    assert 0 < s.one_cycle(t, total_steps=total) <= 1


@given(t=st.integers(0, 10_000), h=st.integers(1, 500), low=st.floats(0, 0.99))
def test_what_cycles_stays_between_low_and_one(t: int, h: int, low: float) -> None:
    for f in (s.triangular, s.triangular2, s.exp_range):
        assert low - 1e-12 <= f(t, half_period=h, low=low) <= 1 + 1e-12
        assert f(2 * h * (t % 7), half_period=h, low=low) == pytest.approx(low, abs=1e-9)


@given(period=st.integers(1, 300), growth=st.integers(1, 4), cycle=st.integers(0, 5))
def test_each_restart_begins_at_one(period: int, growth: int, cycle: int) -> None:
    start = sum(period * growth**i for i in range(cycle))
    assert s.cosine_restarts(start, period=period, growth=growth) == pytest.approx(1)
    length = period * growth**cycle
    assert s.cosine_restarts(start + length / 2, period=period, growth=growth) == pytest.approx(0.5)


@given(w=st.integers(1, 1000), t=st.integers(0, 2000))
def test_warmup_starts_above_zero_rises_and_ends_at_one(w: int, t: int) -> None:
    for f in (s.linear_warmup, s.exponential_warmup):
        assert 0 < f(0, warmup_steps=w) < 1
        assert f(t, warmup_steps=w) <= f(t + 1, warmup_steps=w) <= 1
        assert f(w + t, warmup_steps=w) == 1


def test_robbins_monro_stands_in_every_row() -> None:
    """Sums over doubling ranges: a sum diverges where they do not shrink, converges where they shrink by a factor."""
    options = {"step": {"every": 50}, "milestones": {"milestones": (9,)}, "natural_exponential": {"k": 0.01},
               "linear": {"total_steps": 500}, "linear_to_floor": {"tau": 500}, "cosine": {"total_steps": 500},
               "inverse_time": {"k": 0.1}, "polynomial": {"total_steps": 500}, "triangular": {"half_period": 32},
               "triangular2": {"half_period": 32}, "exp_range": {"half_period": 32}, "cosine_restarts": {"period": 32},
               "one_cycle": {"total_steps": 500, "final": 0.0},
               "warmup_stable_decay": {"total_steps": 500}}  # fmt: skip
    for row in s.SCHEDULES:
        if row.function is None:
            continue
        factor = partial(row.function, **options.get(row.name, {}))
        near, far = range(8192, 16384), range(16384, 32768)
        rates = [math.fsum(factor(t) for t in part) for part in (near, far)]
        squares = [math.fsum(factor(t) ** 2 for t in part) for part in (near, far)]
        if row.robbins_monro == "finite horizon":
            assert rates == [0, 0], row.name
            continue
        diverges = rates[1] > 0.99 * rates[0] > 0
        converges = squares[1] < 0.9 * squares[0] or squares[1] == 0
        assert (row.robbins_monro == "yes") == (diverges and converges), row.name
        assert row.why


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(s.linear, 1, total_steps=0), "total_steps must be above 0, got 0"),
        (partial(s.cosine, 1, total_steps=float("nan")), "total_steps must be above 0"),
        (partial(s.step_decay, 1, every=0), "every must be above 0, got 0"),
        (partial(s.inverse_sqrt, 1, w=0.5), "w must be at least 1, got 0.5"),
        (partial(s.triangular, 1, half_period=0), "half_period must be above 0"),
        (partial(s.cosine_restarts, 1, period=4, growth=0.5), "growth at least 1"),
        (partial(s.one_cycle, 1, total_steps=0), "total_steps must be at least 1"),
        (partial(s.join, [s.constant], [3]), "1 schedules need 0 boundaries, got 1"),
        (partial(s.join, [s.constant] * 3, [3, 3]), r"boundaries must increase, got \[3, 3\]"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
