"""Which steps are sampled: never too few, never more than the bound asks for."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from lightning_diag.probes.sampling import LEAST_SAMPLES, MOST_EXTRA_PER_EPOCH, SamplingPlan

bounds = st.integers(1, 300)
lengths = st.one_of(st.integers(1, 400), st.integers(1, 20_000))


def taken(every: int, planned: int, *, known: bool = True) -> list[int]:
    plan = SamplingPlan(every, planned if known else None)
    return [step for step in range(planned) if plan.due(step)]


@given(every=bounds, planned=lengths)
def test_at_least_64_samples_where_there_are_so_many_steps(every: int, planned: int) -> None:
    assert len(taken(every, planned)) >= min(planned, LEAST_SAMPLES)


@given(every=bounds, planned=st.integers(1, LEAST_SAMPLES))
def test_every_step_of_a_short_run(every: int, planned: int) -> None:
    assert taken(every, planned) == list(range(planned))


@given(every=bounds, planned=lengths, known=st.booleans())
def test_the_bound_holds(every: int, planned: int, known: bool) -> None:
    steps = taken(every, planned, known=known)
    assert steps[0] == 0
    assert max((b - a for a, b in zip(steps, [*steps[1:], planned], strict=True)), default=0) <= every


@given(every=bounds, planned=lengths, known=st.booleans())
def test_the_first_steps_are_sampled_densely(every: int, planned: int, known: bool) -> None:
    assert {0, *(2**k for k in range(7))} & set(range(planned)) <= set(taken(every, planned, known=known))


@given(every=bounds, planned=lengths)
def test_the_last_step_is_sampled(every: int, planned: int) -> None:
    assert taken(every, planned)[-1] == planned - 1


@given(every=bounds, planned=lengths)
def test_samples_are_spread_over_the_run(every: int, planned: int) -> None:
    """No half of the run has less than a third of the regular samples."""
    steps = taken(every, planned)
    late = sum(step >= planned // 2 for step in steps)
    assert late >= min(planned, LEAST_SAMPLES) // 3


@given(every=bounds, planned=lengths)
def test_not_more_samples_than_the_bound_asks_for(every: int, planned: int) -> None:
    steps = taken(every, planned)
    asked = max(planned / every, 2 * LEAST_SAMPLES)
    assert len(steps) <= asked + planned.bit_length() + 2


@given(every=bounds, planned=st.integers(64, 60_000))
def test_an_unknown_length_costs_less_and_less(every: int, planned: int) -> None:
    steps = taken(every, planned, known=False)
    assert len(steps) >= min(planned, LEAST_SAMPLES)
    dense = LEAST_SAMPLES * (2 + max(0, min(planned, LEAST_SAMPLES * every) // LEAST_SAMPLES).bit_length())
    assert len(steps) <= dense + planned / every + planned.bit_length()


@given(asked=st.lists(st.tuples(st.integers(0, 999), st.integers(0, 100)), max_size=30))
def test_extra_samples_are_bounded_in_an_epoch(asked: list[tuple[int, int]]) -> None:
    plan, regular = SamplingPlan(50, 50_000), SamplingPlan(50, 50_000)
    requests = dict(asked)
    extra = 0
    for step in range(1000):
        plan.request(requests.get(step, 0))
        due, planned = plan.due(step), regular.due(step)
        assert due or not planned, "an extra sample never costs a planned one"
        extra += due and not planned
    assert extra <= MOST_EXTRA_PER_EPOCH == 32


def test_a_request_makes_the_next_steps_sampled_and_is_used_up() -> None:
    plan = SamplingPlan(50, 50_000)
    assert not plan.due(101)
    plan.request(3)
    assert [plan.due(step) for step in range(102, 108)] == [True, True, True, False, False, False]


def test_repeated_requests_do_not_add_up() -> None:
    plan = SamplingPlan(50, 50_000)
    for _ in range(5):
        plan.request(2)
    assert sum(plan.due(step) for step in range(102, 120)) == 2


def test_a_new_epoch_has_its_own_allowance() -> None:
    plan = SamplingPlan(50, 50_000)
    for epoch in range(3):
        plan.new_epoch()
        start = 1001 + 100 * epoch
        plan.request(1000)
        steps = [step for step in range(start, start + 100) if plan.due(step)]
        regular = [step for step in steps if step % 50 == 0 or step & (step - 1) == 0]
        assert len(steps) - len(regular) == MOST_EXTRA_PER_EPOCH


def test_an_unused_request_does_not_outlive_the_allowance() -> None:
    """Extra samples asked for at the end of an epoch count for the next one's allowance too."""
    plan = SamplingPlan(50, 50_000)
    plan.request(20)
    sum(plan.due(step) for step in range(101, 111))
    plan.new_epoch()
    plan.request(100)
    extra = sum(plan.due(step) for step in range(111, 300) if step % 50 and step & (step - 1))
    assert extra == MOST_EXTRA_PER_EPOCH


@pytest.mark.parametrize(("planned", "count"), [(20, 20), (64, 64), (180, 90)])
def test_short_runs_are_judged(planned: int, count: int) -> None:
    assert len(taken(50, planned)) >= count


def test_a_long_run_is_sampled_at_the_bound() -> None:
    steps = taken(50, 100_000)
    assert len(steps) == pytest.approx(2000, abs=15)
