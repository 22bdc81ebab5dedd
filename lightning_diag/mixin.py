"""RecipeMixin: a LightningModule that is trained as its recipe says."""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch.callbacks import Callback

from lightning_diag.callbacks.recipes import (
    CarriedOut,
    LateInitialize,
    LatePreprocess,
    attach_preprocessing,
    begin,
    carried,
    check_automatic,
    check_clipping,
    initialize_for,
    optimizers_for,
    prepare,
    preprocess_for,
    restructure,
    start_biases,
    training_callbacks,
)
from lightning_diag.initializers.pretrained import mark_initialized
from lightning_diag.optim import base_rate
from lightning_diag.recipe import Recipe

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule as _Module
else:
    _Module = object


class RecipeMixin(_Module):
    """Trains a LightningModule as its ``recipe`` says; put it before the LightningModule of either family.

    ::

        class Net(RecipeMixin, L.LightningModule):
            recipe = Recipe(optimizer="adamw", lr=3e-4, weight_decay=0.05, schedule="cosine", warmup=0.05)

    The recipe is a class attribute, or an argument: ``Net(recipe=...)``, in YAML under ``recipe``, where ``__init__``
    passes it on to ``super().__init__(recipe=recipe)`` (or there is no ``__init__`` of one's own). It is saved with the
    hyperparameters, as plain data, and comes back with ``load_from_checkpoint``. A hook of one's own with the name of
    one used here must call ``super()``. ``lr`` reads and sets the recipe's learning rate, so that
    ``Tuner(trainer).lr_find(net)`` works.

    Args:
        recipe: instead of the class attribute; a mapping of its fields will do.

    Raises:
        TypeError: the mixin stands behind the LightningModule among the bases, or ``recipe`` is no recipe.
    """

    recipe: Recipe = Recipe()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        bases = [base.__name__ for base in cls.__mro__]
        if "LightningModule" in bases and bases.index("LightningModule") < bases.index("RecipeMixin"):
            raise TypeError(
                f"class {cls.__name__}: put RecipeMixin before LightningModule, or its hooks are never called: "
                f"class {cls.__name__}(RecipeMixin, L.LightningModule)"
            )

    def __init__(self, *args: Any, recipe: Recipe | Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        if recipe is not None:
            self.recipe = as_recipe(recipe)
        super().save_hyperparameters({"recipe": self.recipe.to_dict()}, frame=_outermost_frame())

    # -- the learning rate, for the finder -----------------------------------------------------------------

    @property
    def lr(self) -> float:
        """The recipe's learning rate; what stands in for it while it is searched."""
        return base_rate(self.recipe)

    @lr.setter
    def lr(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(
                f"{type(self).__name__}.lr is the learning rate of its recipe, a number above 0; got {value!r}"
            )
        self.recipe = replace(self.recipe, lr=float(value))
        self.hparams["recipe"] = self.recipe.to_dict()

    def save_hyperparameters(
        self, *args: Any, ignore: Any = None, frame: types.FrameType | None = None, logger: bool = True
    ) -> None:
        """Save the arguments of ``__init__`` as ever; a recipe among them as plain data."""
        frame = frame or cast(types.FrameType, cast(types.FrameType, inspect.currentframe()).f_back)
        super().save_hyperparameters(*args, ignore=ignore, frame=frame, logger=logger)
        self.hparams["recipe"] = self.recipe.to_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights, and remember that they are not to be initialized any more."""
        mark_initialized(self, "loaded weights")
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    # -- Lightning's hooks ---------------------------------------------------------------------------------

    def configure_callbacks(self) -> list[Callback]:
        """Return the callbacks that the recipe needs in fit."""
        inherited = super().configure_callbacks()
        made: list[Any] = list(inherited) if isinstance(inherited, (list, tuple)) else [inherited]
        recipe = self.recipe
        if recipe.standardize is not None or recipe.standardize_target is not None:
            made.append(preprocess_for(recipe, LatePreprocess))
        if self.trainer.state.fn != "fit":
            return made
        first = [initialize_for(recipe, LateInitialize)] if recipe.init is not None else []
        return [*made, CarriedOut(), *first, *training_callbacks(recipe)]

    def configure_model(self) -> None:
        """Change activations, norms and dropout, once; start the weights where they are about to be trained."""
        super().configure_model()
        prepare(self, self.recipe, self.example_input_array)
        if _has_trainer(self):
            begin(self.trainer, self)
            start_biases(self, self.recipe, self.example_input_array)
        else:
            attach_preprocessing(self, self.recipe)
        carried(self).add("configure_model")

    def configure_optimizers(self) -> Any:
        """Return the recipe's optimizer and schedulers; those of the next class where the recipe names none."""
        carried(self).add("configure_optimizers")
        trainer: Any = self.trainer
        if not any(isinstance(callback, CarriedOut) for callback in trainer.callbacks):
            raise RuntimeError(f"{type(self).__name__}.configure_callbacks must add what super() returns to its list")
        if self.recipe.optimizer is None:
            return super().configure_optimizers()
        check_automatic(self, self.recipe)
        if self.recipe.gradient_clip_val is not None:
            check_clipping(self.recipe, trainer)
        return optimizers_for(self, self.recipe, trainer)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip as the recipe says, through Lightning; as the Trainer says where the recipe does not."""
        carried(self).add("configure_gradient_clipping")
        if self.recipe.gradient_clip_val is None:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            self.clip_gradients(optimizer, self.recipe.gradient_clip_val, self.recipe.gradient_clip_algorithm or "norm")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the recipe among the hyperparameters, as plain data."""
        super().on_save_checkpoint(checkpoint)
        checkpoint.setdefault("hyper_parameters", {})["recipe"] = self.recipe.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the recipe of a checkpoint that makes a new module; compare it in a run that is resumed.

        Raises:
            RuntimeError: the layers that the checkpoint's recipe asks for are not those that the module has.
        """
        super().on_load_checkpoint(checkpoint)
        said = checkpoint.get("hyper_parameters", {}).get("recipe")
        if said is None:
            return
        recipe = as_recipe(said)
        restructure(self, recipe, self.example_input_array)
        attach_preprocessing(self, recipe)
        mark_initialized(self, "a checkpoint")
        if not _has_trainer(self):
            self.recipe = recipe
            self.hparams["recipe"] = recipe.to_dict()
        elif recipe != self.recipe and self.trainer.state.fn == "fit":
            tell_of_change(recipe, self.recipe)


def as_recipe(recipe: Recipe | Mapping[str, Any]) -> Recipe:
    """Return a recipe, also from a mapping of its fields.

    Raises:
        TypeError: neither of the two.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return Recipe.from_dict(recipe)
    raise TypeError(f"recipe must be a Recipe or a mapping of its fields, got {recipe!r}")


def tell_of_change(before: Recipe, now: Recipe) -> None:
    """Warn where a resumed run goes on with another recipe than it began with."""
    changed = [f"{k}={v!r} (was {before.to_dict()[k]!r})" for k, v in now.to_dict().items() if v != before.to_dict()[k]]
    warnings.warn(
        f"this run is resumed with another recipe: {', '.join(changed)}; rates, momentum and the counters of schedules "
        "go on as in the checkpoint. To begin with the new recipe: Net.load_from_checkpoint(path, recipe=...)",
        stacklevel=2,
    )


def _has_trainer(module: Any) -> bool:
    try:
        return module.trainer is not None
    except RuntimeError:  # Lightning's word for "not attached"
        return False


def _outermost_frame() -> types.FrameType:
    """Return the frame that no ``__init__`` runs in, so that Lightning collects no arguments from it."""
    frame = cast(types.FrameType, inspect.currentframe())
    while frame.f_back is not None:
        frame = frame.f_back
    return frame
