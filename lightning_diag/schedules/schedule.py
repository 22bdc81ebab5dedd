"""What the learning rate of a recipe does in a run of a given length."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from lightning_diag.recipe import Interval, Recipe, WarmupName
from lightning_diag.recipe.options import SCHEDULE_OPTIONS
from lightning_diag.schedules.joining import Factor, exponential_warmup, linear_warmup
from lightning_diag.schedules.table import SCHEDULES, ScheduleRow

HOW_TO_TELL = (
    "give the run an end with Trainer(max_steps=...) (or max_epochs, and limit_train_batches for a loader without a "
    "length), or give it to the schedule: Recipe(schedule_options={...})"
)


@dataclass(frozen=True)
class Length:
    """How long a run is; None where nobody knows.

    Attributes:
        steps: optimizer steps.
        epochs: epochs.
        steps_per_epoch: optimizer steps an epoch.
    """

    steps: int | None = None
    epochs: int | None = None
    steps_per_epoch: int | None = None

    def of(self, interval: Interval) -> int | None:
        """Return the length in steps or in epochs."""
        if interval == "step":
            return self.steps
        if self.epochs is None and self.steps is not None and self.steps_per_epoch:
            return math.ceil(self.steps / self.steps_per_epoch)
        return self.epochs


@dataclass(frozen=True)
class Schedule:
    """The factor of the base rate at every optimizer step of a run.

    Attributes:
        name: row of the table.
        factor: the schedule itself, of t in its own interval.
        interval: what t counts.
        length: of the run.
        warmup_steps: optimizer steps before it begins.
        warmup_kind: how the rate rises in them.
        shift: t of the schedule is the step minus this.
        fastest: True for plateau: what is drawn is the fastest that it may fall.
    """

    name: str
    factor: Factor
    interval: Interval
    length: Length
    warmup_steps: int = 0
    warmup_kind: WarmupName = "linear"
    shift: int = 0
    fastest: bool = False

    def __call__(self, step: float) -> float:
        """Return the factor at an optimizer step, counted from 0."""
        if step < self.warmup_steps:
            return self.warmup(step)
        if self.interval == "epoch":
            if not self.length.steps_per_epoch:
                raise ValueError(f"{self.name} counts epochs, and nobody knows how many steps one has: {HOW_TO_TELL}")
            return self.factor(step // self.length.steps_per_epoch)
        return self.factor(step - self.shift)

    def warmup(self, step: float) -> float:
        """Return the factor of the warmup alone, 1 after it."""
        rise = linear_warmup if self.warmup_kind == "linear" else exponential_warmup
        return rise(step, warmup_steps=self.warmup_steps) if self.warmup_steps else 1.0

    @property
    def updates(self) -> Interval:
        """How often the rate is to be set: each epoch only where nothing changes within one."""
        return "epoch" if self.interval == "epoch" and not self.warmup_steps else "step"

    def plot(self, lr: float = 1.0, *, width: int = 72, height: int = 10) -> str:
        """Return a drawing of the rate in characters, lines joined by newlines."""
        from lightning_diag.schedules.drawing import text_plot

        return text_plot(self, lr, width=width, height=height)

    def picture(self, path: str | Path, lr: float = 1.0) -> Path:
        """Write a picture of the rate, .png or .svg, and return its path."""
        from lightning_diag.schedules.pictures import write_picture

        return write_picture([(self, lr)], path)


def row(name: str) -> ScheduleRow:
    """Return the row of that name.

    Raises:
        ValueError: there is none; the message lists the names and the nearest.
    """
    from lightning_diag.recipe.words import unknown

    found = next((r for r in SCHEDULES if r.name == name), None)
    if found is None:
        raise unknown("schedule", name, [r.name for r in SCHEDULES])
    return found


def scheduled(recipe: Recipe, length: Length) -> Schedule | None:
    """Return what the recipe's rate does in a run of this length, None where it has no schedule and no warmup.

    Options that the recipe leaves out follow the length of the run (see ``filled``).

    Raises:
        ValueError: the schedule or the share of the warmup needs the length of the run, and it has none.

    Example:
        >>> f = scheduled(Recipe(schedule="cosine", warmup=0.1), Length(steps=100))
        >>> [round(f(t), 2) for t in (0, 9, 10, 55, 100)]
        [0.09, 0.91, 1.0, 0.5, 0.0]
    """
    if recipe.schedule is None and not recipe.warmup:
        return None
    one = row(recipe.schedule or "constant")
    interval = recipe.interval or one.interval
    warm = warmup_steps(recipe, length)
    options = dict(recipe.schedule_options or {})
    if one.function is None:
        allowed = ("factor", "patience", "cooldown", "final")
        factor: Factor = partial(fastest_plateau, **{k: v for k, v in options.items() if k in allowed})
    else:
        gone = warm if interval == "step" else 0
        factor = partial(one.function, **filled(one.name, options, length, interval, gone))
    own_clock = one.name == "inverse_sqrt" and factor.keywords["w"] == warm  # type: ignore[attr-defined]
    shift = 0 if interval == "epoch" or own_clock else warm
    return Schedule(one.name, factor, interval, length, warm, recipe.warmup_kind or "linear", shift, not one.function)


def warmup_steps(recipe: Recipe, length: Length) -> int:
    """Return the steps of the recipe's warmup, 0 if it has none.

    Raises:
        ValueError: it is a share, and nobody knows of what.
    """
    if not recipe.warmup or isinstance(recipe.warmup, int):
        return int(recipe.warmup or 0)
    if length.steps is None:
        raise ValueError(
            f"Recipe(warmup={recipe.warmup}) is a share of all steps, and nobody knows how many there are: give warmup "
            "as a number of steps, or the run an end with Trainer(max_steps=...)"
        )
    return max(1, round(recipe.warmup * length.steps))


_FOLLOW: Final[Mapping[str, Callable[[int, str, Mapping[str, Any]], Any]]] = {
    "total_steps": lambda n, name, o: n,
    "tau": lambda n, name, o: n,
    "every": lambda n, name, o: max(1, n // 3),
    "milestones": lambda n, name, o: tuple(sorted({max(1, n // 2), max(1, 3 * n // 4)})),
    "k": lambda n, name, o: 9 / n if name == "inverse_time" else math.log(100) / n,
    "half_period": lambda n, name, o: max(1, n // 8),
    "period": lambda n, name, o: math.ceil(n / (1 + o.get("growth", 2) + o.get("growth", 2) ** 2)),
}


def filled(name: str, options: dict[str, Any], length: Length, interval: Interval, gone: int = 0) -> dict[str, Any]:
    """Return the options with those that follow the length T of the run, in steps or epochs.

    total_steps, tau: T. every: T/3. milestones: T/2 and 3T/4. k: the rate ends at 1 % (natural_exponential) or 10 %
    (inverse_time). half_period: T/8. period: so that three cosines fit. w: the warmup, 1 without.

    Args:
        name: row of the table.
        options: those of the recipe.
        length: of the run.
        interval: what the schedule counts.
        gone: what the warmup takes of it.

    Raises:
        ValueError: T is needed and unknown.
    """
    made = {"w": max(gone, 1), **options} if name == "inverse_sqrt" else dict(options)
    if "total_steps" in options:
        made["total_steps"] = max(1, options["total_steps"] - gone)
    for option, rule in _FOLLOW.items():
        if option in SCHEDULE_OPTIONS[name] and option not in made:
            total = length.of(interval)
            if total is None:
                raise ValueError(
                    f"schedule {name!r} needs {option!r}, which follows the number of {interval}s of the run, and that "
                    f"is unknown: {HOW_TO_TELL.replace('...}', repr(option) + ': ...}')}"
                )
            made[option] = rule(max(1, total - gone), name, options)
    return made


def fastest_plateau(
    epoch: float, *, factor: float = 0.1, patience: int = 10, cooldown: int = 0, final: float = 0.0
) -> float:
    """Return the factor of reduce-on-plateau where the metric never gets better after the first epoch.

    Example:
        >>> [fastest_plateau(t, factor=0.5, patience=1) for t in range(6)]
        [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]
    """
    first = patience + 2
    times = 0 if epoch < first else 1 + (epoch - first) // (patience + 1 + cooldown)
    return max(float(factor**times), final)
