"""lr="search": Lightning's learning-rate finder sets the recipe's rate before the first step."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from lightning_diag.recipe import Recipe


class Applies(Callback):
    """A callback that carries out the recipe it holds."""

    recipe: Recipe


class FindRate(Callback):
    """Searches the learning rate before the first step, writes it into the recipe and makes the optimizers anew.

    Lightning's ``LearningRateFinder`` does the search; it sets the rates of the optimizer but not the first rates that
    schedulers remember, and makes all groups equal. Here ``configure_optimizers`` is called again with the rate found.
    A resumed run, and ``fast_dev_run``, search nothing.

    Args:
        num_training_steps: steps of the search.

    Attributes:
        found: the rate found, None before.
    """

    def __init__(self, num_training_steps: int = 100) -> None:
        self.num_training_steps = num_training_steps
        self.found: float | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.fast_dev_run or trainer.ckpt_path is not None or trainer.global_step:
            return
        family = type(trainer).__module__.split(".")[0]
        home = "pytorch_lightning.callbacks" if family == "pytorch_lightning" else "lightning.pytorch.callbacks"
        finder = import_module(home).LearningRateFinder(
            min_lr=1e-6, num_training_steps=self.num_training_steps, update_attr=False
        )
        finder.lr_find(trainer, pl_module)
        suggestion = finder.optimal_lr.suggestion() if finder.optimal_lr is not None else None
        if suggestion is None:
            raise ValueError(
                "Recipe(lr='search') found no learning rate: the search had too few steps with a finite loss. Give lr "
                "as a number, or train on more batches"
            )
        self.found = float(suggestion)
        owner = pl_module if hasattr(pl_module, "recipe") else self._applying(trainer)
        owner.recipe = replace(owner.recipe, lr=self.found)
        trainer.strategy.setup_optimizers(trainer)
        rank_zero_info(f"Recipe(lr='search') found {self.found:.3g}.")

    @staticmethod
    def _applying(trainer: Any) -> Any:
        """Return the callback that carries out the recipe of a module that has none.

        Raises:
            ValueError: there is none.
        """
        found = next((c for c in trainer.callbacks if isinstance(c, Applies)), None)
        if found is None:
            raise ValueError(
                "FindRate needs a recipe whose rate it can set: use RecipeMixin or recipe_callbacks(recipe)"
            )
        return found
