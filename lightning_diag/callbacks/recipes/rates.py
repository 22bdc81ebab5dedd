"""What a recipe's learning rate needs of a Trainer: the length of the run, and schedulers in the form it takes."""

from __future__ import annotations

import math
import warnings
from typing import Any

from lightning_diag.callbacks.recipes.metric import direction
from lightning_diag.optim import build_optimizer, follow, reduce_on_plateau, rising
from lightning_diag.recipe import Recipe
from lightning_diag.schedules import Length, scheduled


def run_length(trainer: Any) -> Length:
    """Return how long a run is planned to be, in optimizer steps and epochs; None for what nobody knows."""
    steps, epochs = trainer.estimated_stepping_batches, trainer.max_epochs
    if not math.isfinite(trainer.num_training_batches):
        trainer.fit_loop.setup_data()  # with max_steps alone nobody has looked at the loader yet
    batches = trainer.num_training_batches
    known = math.isfinite(batches) and batches > 0
    return Length(
        int(steps) if math.isfinite(steps) and steps > 0 else None,
        epochs if epochs is not None and epochs > 0 else None,
        math.ceil(batches / trainer.accumulate_grad_batches) if known else None,
    )


def optimizers_for(module: Any, recipe: Recipe, trainer: Any) -> Any:
    """Return what ``configure_optimizers`` returns: the optimizer, and its schedulers with interval and monitor.

    Raises:
        ValueError: a schedule needs the length of the run, and it has none; the message says what to pass.
    """
    optimizer = build_optimizer(module, recipe)
    if recipe.schedule is None and not recipe.warmup:
        return optimizer
    if recipe.schedule == "plateau":
        schedulers = plateau_for(optimizer, recipe, trainer)
    else:
        schedule = scheduled(recipe, run_length(trainer))
        assert schedule is not None  # there is a schedule or a warmup
        tell_of_short_run(schedule.warmup_steps, schedule.length, trainer)
        factor = schedule.factor if schedule.updates == "epoch" else schedule
        schedulers = [{"scheduler": follow(optimizer, factor), "interval": schedule.updates, "frequency": 1}]
    if len(schedulers) == 1:
        return {"optimizer": optimizer, "lr_scheduler": schedulers[0]}
    return [optimizer], schedulers


def plateau_for(optimizer: Any, recipe: Recipe, trainer: Any) -> list[dict[str, Any]]:
    """Return the schedulers of reduce-on-plateau: itself, and the warmup before it if there is one.

    ``StepPlateau`` tells it the metric; Lightning, which would do so at ends of epochs, only stores it.
    """
    mode = recipe.monitor_mode or (direction(recipe.monitor) if recipe.monitor else "min")
    length = run_length(trainer) if isinstance(recipe.warmup, float) else Length()
    rise = scheduled(recipe, length)
    assert rise is not None  # the schedule is plateau
    made = {"scheduler": reduce_on_plateau(optimizer, recipe, mode, rise.warmup_steps), "interval": "epoch"}
    if trainer.lightning_module.automatic_optimization:
        made.update({"reduce_on_plateau": False, "monitor": recipe.monitor})
    if not rise.warmup_steps:
        return [made]
    return [made, {"scheduler": rising(optimizer, rise.warmup), "interval": "step", "frequency": 1}]


def tell_of_short_run(warmup_steps: int, length: Length, trainer: Any) -> None:
    """Warn where a run ends before its warmup does."""
    if length.steps is not None and warmup_steps >= length.steps and not trainer.fast_dev_run:
        warnings.warn(
            f"the warmup of {warmup_steps} steps outlasts the run of {length.steps}: the learning rate never gets to "
            "its base; make warmup a share, as in Recipe(warmup=0.05)",
            stacklevel=2,
        )
