"""Learning-rate schedules: pure functions of the step, their table, and what a recipe's rate will do in a run.

A schedule is a factor of the base rate, ``cosine(step, total_steps=1000) -> float``, for ``torch``'s ``LambdaLR``;
``join`` puts one after another. ``scheduled(recipe, length)`` is a whole run, which ``.plot()`` draws.
"""

from lightning_diag.schedules.cyclic import cosine_restarts, exp_range, one_cycle, triangular, triangular2
from lightning_diag.schedules.decay import (
    constant,
    cosine,
    exponential,
    inverse_sqrt,
    inverse_time,
    linear,
    linear_to_floor,
    milestones,
    natural_exponential,
    polynomial,
    step_decay,
    warmup_stable_decay,
)
from lightning_diag.schedules.joining import Factor, exponential_warmup, join, linear_warmup
from lightning_diag.schedules.schedule import Length, Schedule, scheduled
from lightning_diag.schedules.table import SCHEDULES, RobbinsMonro, ScheduleRow

__all__ = [
    "SCHEDULES",
    "Factor",
    "Length",
    "RobbinsMonro",
    "Schedule",
    "ScheduleRow",
    "constant",
    "cosine",
    "cosine_restarts",
    "exp_range",
    "exponential",
    "exponential_warmup",
    "inverse_sqrt",
    "inverse_time",
    "join",
    "linear",
    "linear_to_floor",
    "linear_warmup",
    "milestones",
    "natural_exponential",
    "one_cycle",
    "polynomial",
    "scheduled",
    "step_decay",
    "triangular",
    "triangular2",
    "warmup_stable_decay",
]
