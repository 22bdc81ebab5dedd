"""A recipe for a module that stays as it is written."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

from lightning.pytorch.callbacks import Callback

from lightning_diag.callbacks.recipes.callbacks import training_callbacks
from lightning_diag.callbacks.recipes.finding import Applies
from lightning_diag.callbacks.recipes.handed import tell
from lightning_diag.callbacks.recipes.late import initialize_for, preprocess_for, start_biases
from lightning_diag.callbacks.recipes.model import prepare
from lightning_diag.callbacks.recipes.rates import optimizers_for
from lightning_diag.recipe import Recipe


class ApplyRecipe(Applies):
    """Carries out the recipe's changes of the model, its optimizer, schedule and clipping, for any LightningModule.

    While fit runs, ``configure_optimizers`` of this one object is the recipe's, and the Trainer's clipping too; both
    are as before afterwards. What needs callbacks of its own comes with ``recipe_callbacks(recipe)``, which returns
    this one among them.

    Args:
        recipe: what to carry out.

    Raises:
        ValueError: the Trainer clips otherwise, or the module optimizes by hand and the recipe has an optimizer.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._clipping: tuple[Any, Any] | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        inputs = getattr(pl_module, "example_input_array", None)
        prepare(pl_module, self.recipe, inputs)
        start_biases(pl_module, self.recipe, inputs)
        if stage != "fit":
            return
        if self.recipe.optimizer is not None:
            check_automatic(pl_module, self.recipe)
            pl_module.configure_optimizers = partial(self._optimizers, pl_module, trainer)
        if self.recipe.gradient_clip_val is not None:
            check_clipping(self.recipe, trainer)
            self._clipping = (trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
            trainer.gradient_clip_val = self.recipe.gradient_clip_val
            trainer.gradient_clip_algorithm = self.recipe.gradient_clip_algorithm

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        tell(self.recipe, trainer)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._undo(trainer, pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._undo(trainer, pl_module)

    def _optimizers(self, pl_module: Any, trainer: Any) -> Any:
        return optimizers_for(pl_module, self.recipe, trainer)

    def _undo(self, trainer: Any, pl_module: Any) -> None:
        pl_module.__dict__.pop("configure_optimizers", None)
        if self._clipping is not None:
            trainer.gradient_clip_val, trainer.gradient_clip_algorithm = self._clipping
            self._clipping = None


def recipe_callbacks(recipe: Recipe) -> list[Callback]:
    """Return the callbacks that carry out a recipe for a module that stays as it is.

    Example:
        >>> [type(c).__name__ for c in recipe_callbacks(Recipe(l1=1e-5))]
        ['ApplyRecipe', 'Initialize', 'L1Penalty', 'StepPlateau']
    """
    made: list[Callback] = [ApplyRecipe(recipe)]
    if recipe.standardize is not None or recipe.standardize_target is not None:
        made.append(preprocess_for(recipe))
    if recipe.init is not None:
        made.append(initialize_for(recipe))
    return [*made, *training_callbacks(recipe)]


def check_clipping(recipe: Recipe, trainer: Any) -> None:
    """Raise if both the recipe and the Trainer clip, and differ.

    Raises:
        ValueError: they do.
    """
    said, has = recipe.gradient_clip_val, trainer.gradient_clip_val
    algorithm = trainer.gradient_clip_algorithm
    other = algorithm is not None and str(getattr(algorithm, "value", algorithm)) != (
        recipe.gradient_clip_algorithm or "norm"
    )
    if has is not None and (has != said or other):
        raise ValueError(
            f"Recipe(gradient_clip_val={said}, gradient_clip_algorithm={recipe.gradient_clip_algorithm!r}) and "
            f"Trainer(gradient_clip_val={has}, gradient_clip_algorithm={algorithm!r}) differ; say it in one place"
        )


def check_automatic(module: Any, recipe: Recipe) -> None:
    """Refuse or warn where a module optimizes by hand.

    Raises:
        ValueError: the recipe clips, which in manual optimization is the module's to do.
    """
    if module.automatic_optimization:
        return
    if recipe.gradient_clip_val is not None:
        raise ValueError(
            f"{type(module).__name__} optimizes by hand, where Lightning does not clip: call "
            f"self.clip_gradients(optimizer, {recipe.gradient_clip_val}) in training_step, and set "
            "gradient_clip_val=None"
        )
    if recipe.schedule is not None:
        warnings.warn(
            f"{type(module).__name__} optimizes by hand, where Lightning does not step schedulers: call "
            "self.lr_schedulers().step() in training_step, or set schedule=None",
            stacklevel=2,
        )
