"""Initialization and preprocessing of a RecipeMixin: after its layers were changed, which is after ``setup``."""

from __future__ import annotations

from typing import Any

from torch import nn

from lightning_diag.callbacks.initialize import Initialize
from lightning_diag.callbacks.preprocess import Preprocess
from lightning_diag.initializers.biases import fill_biases
from lightning_diag.initializers.pretrained import initialized_by, mark_initialized
from lightning_diag.initializers.surroundings import surroundings
from lightning_diag.recipe import Recipe


def initialize_for(recipe: Recipe, kind: type[Initialize] = Initialize) -> Initialize:
    """Return the callback that starts the weights as a recipe says."""
    options = dict(recipe.init_options or {})
    return kind(
        recipe.init or "kaiming_normal",
        bias="keep" if recipe.bias_init is None else recipe.bias_init,
        output=recipe.output_init,
        residual=options.pop("residual", "keep"),
        exclude=tuple(options.pop("exclude", ())),
        overwrite=options.pop("overwrite", False),
        options=options,
    )


def preprocess_for(recipe: Recipe, kind: type[Preprocess] = Preprocess) -> Preprocess:
    """Return the callback that standardizes inputs and targets as a recipe says."""
    return kind(recipe.standardize, target=recipe.standardize_target)


class LateInitialize(Initialize):
    """``Initialize``, called by ``configure_model`` of the mixin instead of in ``setup``."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._left = False

    def begin(self, trainer: Any, pl_module: Any) -> None:
        """Initialize now, unless data are needed that are there only later."""
        if not (self.scheme == "lsuv" and pl_module.recipe.standardize):
            super().setup(trainer, pl_module, "fit")


class LatePreprocess(Preprocess):
    """``Preprocess``, called by ``configure_model`` of the mixin instead of in ``setup``."""

    @property
    def state_key(self) -> str:
        """That of ``Preprocess``, whose ``restore`` looks for it."""
        return "Preprocess"

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        return

    def begin(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Attach the preprocessing now."""
        super().setup(trainer, pl_module, stage)


def begin(trainer: Any, pl_module: Any) -> None:
    """Call what waited for the layers of a module to be there."""
    stage = str(getattr(trainer.state.fn, "value", trainer.state.fn))
    for callback in trainer.callbacks:
        if isinstance(callback, LatePreprocess):
            callback.begin(trainer, pl_module, stage)
        elif isinstance(callback, LateInitialize) and stage == "fit":
            callback.begin(trainer, pl_module)


def start_biases(model: nn.Module, recipe: Recipe, example_inputs: Any) -> None:
    """Start only the biases, where the recipe says nothing of the weights."""
    if recipe.init is None and recipe.bias_init is not None and not initialized_by(model):
        fill_biases(model, recipe.bias_init, surroundings(model, example_inputs), 1.0, ())
        mark_initialized(model, "biases")
