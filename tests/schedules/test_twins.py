"""Every schedule against its twin in torch.optim.lr_scheduler, step by step."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as twins

from lightning_diag import schedules as s
from lightning_diag.schedules.schedule import fastest_plateau


def rates(make: Callable[[torch.optim.Optimizer], Any], steps: int, lr: float = 1.0) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)
    scheduler, seen = make(optimizer), []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


T = 40
ROWS: dict[str, tuple[Callable[[float], float], Callable[[torch.optim.Optimizer], Any], int]] = {
    "constant": (s.constant, partial(twins.ConstantLR, factor=1.0), 60),
    "step": (partial(s.step_decay, every=7, factor=0.5), partial(twins.StepLR, step_size=7, gamma=0.5), 60),
    "milestones": (partial(s.milestones, milestones=(5, 20), factor=0.2),
                   partial(twins.MultiStepLR, milestones=[5, 20], gamma=0.2), 60),
    "exponential": (s.exponential, partial(twins.ExponentialLR, gamma=0.95), 60),
    "natural_exponential": (partial(s.natural_exponential, k=0.03),
                            partial(twins.ExponentialLR, gamma=math.exp(-0.03)), 60),
    "linear": (partial(s.linear, total_steps=T),
               partial(twins.LinearLR, start_factor=1.0, end_factor=0.0, total_iters=T), 60),
    "linear_to_floor": (partial(s.linear_to_floor, tau=T),
                        partial(twins.LinearLR, start_factor=1.0, end_factor=0.01, total_iters=T), 60),
    "cosine": (partial(s.cosine, total_steps=T, final=0.1),
               partial(twins.CosineAnnealingLR, T_max=T, eta_min=0.1), T + 1),
    "polynomial": (partial(s.polynomial, total_steps=T, power=3.0),
                   partial(twins.PolynomialLR, total_iters=T, power=3.0), 60),
    "triangular": (partial(s.triangular, half_period=6, low=0.2),
                   partial(twins.CyclicLR, base_lr=0.2, max_lr=1.0, step_size_up=6, cycle_momentum=False), 60),
    "triangular2": (partial(s.triangular2, half_period=6, low=0.2), partial(
        twins.CyclicLR, base_lr=0.2, max_lr=1.0, step_size_up=6, mode="triangular2", cycle_momentum=False), 60),
    "exp_range": (partial(s.exp_range, half_period=6, low=0.2, gamma=0.97),
                  partial(twins.CyclicLR, base_lr=0.2, max_lr=1.0, step_size_up=6, mode="exp_range", gamma=0.97,
                          cycle_momentum=False), 60),
    "cosine_restarts": (partial(s.cosine_restarts, period=5, growth=3, final=0.1),
                        partial(twins.CosineAnnealingWarmRestarts, T_0=5, T_mult=3, eta_min=0.1), 60),
    "one_cycle": (partial(s.one_cycle, total_steps=T),
                  partial(twins.OneCycleLR, max_lr=1.0, total_steps=T, cycle_momentum=False), T - 1),
}  # fmt: skip


def test_every_twin_is_compared() -> None:
    assert {r.name for r in s.SCHEDULES if r.twin} == {*ROWS, "plateau"}
    assert all(hasattr(twins, r.twin) for r in s.SCHEDULES if r.twin)


@pytest.mark.parametrize("name", ROWS)
def test_it_is_its_twin(name: str) -> None:
    factor, twin, steps = ROWS[name]
    assert type(twin(torch.optim.SGD([torch.zeros(1)], lr=1.0))).__name__ == next(
        r.twin for r in s.SCHEDULES if r.name == name
    )
    assert [factor(t) for t in range(steps)] == pytest.approx(rates(twin, steps), rel=1e-9, abs=1e-12)


def test_cosine_stays_at_its_end_where_torch_climbs_again() -> None:
    climbing = rates(partial(twins.CosineAnnealingLR, T_max=10), 16)
    assert climbing[15] > 0.4
    assert s.cosine(15, total_steps=10) == 0


@pytest.mark.parametrize("w", [1, 2, 9])
def test_warmup_is_linear_lr_from_its_first_step(w: int) -> None:
    twin = partial(twins.LinearLR, start_factor=1 / (w + 1), end_factor=1.0, total_iters=w)
    assert [s.linear_warmup(t, warmup_steps=w) for t in range(15)] == pytest.approx(rates(twin, 15))


def test_join_is_sequential_lr() -> None:
    ours = s.join([partial(s.linear_warmup, warmup_steps=4), partial(s.cosine, total_steps=20)], [4])

    def theirs(o: torch.optim.Optimizer) -> Any:
        warm = twins.LinearLR(o, start_factor=1 / 5, end_factor=1.0, total_iters=4)
        return twins.SequentialLR(o, [warm, twins.CosineAnnealingLR(o, T_max=20)], [4])

    assert [ours(t) for t in range(24)] == pytest.approx(rates(theirs, 24))


@pytest.mark.parametrize(("patience", "cooldown", "factor"), [(0, 0, 0.5), (2, 0, 0.1), (3, 2, 0.2), (10, 0, 0.1)])
def test_the_fastest_plateau_is_the_twin_with_a_metric_that_never_gets_better(
    patience: int, cooldown: int, factor: float
) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    options = {"patience": patience, "cooldown": cooldown, "factor": factor}
    twin, seen = twins.ReduceLROnPlateau(optimizer, eps=0.0, **options), []  # type: ignore[arg-type]
    for _ in range(40):
        seen.append(optimizer.param_groups[0]["lr"])
        twin.step(1.0)
    assert [fastest_plateau(t, **options) for t in range(40)] == pytest.approx(seen)  # type: ignore[arg-type]
