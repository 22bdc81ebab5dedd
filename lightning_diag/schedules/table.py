"""The table of schedules: name, function, what it counts, its twin in torch, its standing with Robbins and Monro."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from lightning_diag.recipe import Interval, ScheduleName
from lightning_diag.schedules import cyclic, decay

RobbinsMonro: TypeAlias = Literal["yes", "no", "finite horizon"]


@dataclass(frozen=True)
class ScheduleRow:
    """One schedule.

    Attributes:
        name: what a Recipe calls it.
        function: t -> factor; None where a metric decides (plateau).
        interval: what it counts unless told otherwise.
        twin: its class in ``torch.optim.lr_scheduler``, "" if there is none.
        robbins_monro: whether the sum of rates diverges while the sum of their squares converges.
        why: the reason, or how it differs from its twin.
    """

    name: ScheduleName
    function: Callable[..., float] | None
    interval: Interval
    twin: str
    robbins_monro: RobbinsMonro
    why: str


SCHEDULES: Final[tuple[ScheduleRow, ...]] = (
    ScheduleRow("constant", decay.constant, "step", "ConstantLR", "no", "the sum of squares diverges"),
    ScheduleRow("step", decay.step_decay, "epoch", "StepLR", "no", "the sum of rates converges"),
    ScheduleRow("milestones", decay.milestones, "epoch", "MultiStepLR", "no", "constant after the last milestone"),
    ScheduleRow("exponential", decay.exponential, "epoch", "ExponentialLR", "no", "the sum of rates converges"),
    ScheduleRow("natural_exponential", decay.natural_exponential, "epoch", "ExponentialLR", "no",
                "the sum of rates converges; torch's gamma is e^-k"),
    ScheduleRow("linear", decay.linear, "step", "LinearLR", "finite horizon", "zero from T on"),
    ScheduleRow("linear_to_floor", decay.linear_to_floor, "step", "LinearLR", "no", "constant after tau"),
    ScheduleRow("cosine", decay.cosine, "step", "CosineAnnealingLR", "finite horizon",
                "zero from T on, where torch's climbs again"),
    ScheduleRow("inverse_sqrt", decay.inverse_sqrt, "step", "", "no", "the sum of squares, of 1/t, diverges"),
    ScheduleRow("inverse_time", decay.inverse_time, "step", "", "yes",
                "the sum of 1/t diverges, that of 1/t^2 converges"),
    ScheduleRow("polynomial", decay.polynomial, "step", "PolynomialLR", "finite horizon", "zero from T on"),
    ScheduleRow("triangular", cyclic.triangular, "step", "CyclicLR", "no", "the sum of squares diverges"),
    ScheduleRow("triangular2", cyclic.triangular2, "step", "CyclicLR", "no",
                "never below low, so the sum of squares diverges"),
    ScheduleRow("exp_range", cyclic.exp_range, "step", "CyclicLR", "no",
                "never below low, so the sum of squares diverges"),
    ScheduleRow("cosine_restarts", cyclic.cosine_restarts, "step", "CosineAnnealingWarmRestarts", "no",
                "the sum of squares diverges"),
    ScheduleRow("one_cycle", cyclic.one_cycle, "step", "OneCycleLR", "finite horizon",
                "ends at T, where torch's raises"),
    ScheduleRow("warmup_stable_decay", decay.warmup_stable_decay, "step", "", "finite horizon", "zero from T on"),
    ScheduleRow("plateau", None, "epoch", "ReduceLROnPlateau", "no", "a metric decides; nothing is guaranteed"),
)  # fmt: skip
