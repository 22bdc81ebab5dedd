"""How a recipe is carried out in Lightning: by the mixin, or by callbacks for a module that stays as it is."""

from lightning_diag.callbacks.recipes.applying import ApplyRecipe, check_automatic, check_clipping, recipe_callbacks
from lightning_diag.callbacks.recipes.callbacks import training_callbacks
from lightning_diag.callbacks.recipes.carrying import CarriedOut, carried
from lightning_diag.callbacks.recipes.finding import FindRate
from lightning_diag.callbacks.recipes.handed import LOADERS, TRAINER, loader, tell, trainer_arguments
from lightning_diag.callbacks.recipes.late import (
    LateInitialize,
    LatePreprocess,
    begin,
    initialize_for,
    preprocess_for,
    start_biases,
)
from lightning_diag.callbacks.recipes.model import attach_preprocessing, prepare, restructure
from lightning_diag.callbacks.recipes.penalty import L1Penalty
from lightning_diag.callbacks.recipes.plateau import StepPlateau
from lightning_diag.callbacks.recipes.rates import optimizers_for, run_length

__all__ = [
    "LOADERS",
    "TRAINER",
    "ApplyRecipe",
    "CarriedOut",
    "FindRate",
    "L1Penalty",
    "LateInitialize",
    "LatePreprocess",
    "StepPlateau",
    "attach_preprocessing",
    "begin",
    "carried",
    "check_automatic",
    "check_clipping",
    "initialize_for",
    "loader",
    "optimizers_for",
    "prepare",
    "preprocess_for",
    "recipe_callbacks",
    "restructure",
    "run_length",
    "start_biases",
    "tell",
    "trainer_arguments",
    "training_callbacks",
]
