"""How a recipe is carried out in Lightning: by the mixin, or by callbacks for a module that stays as it is."""

from lightning_diag.callbacks.recipes.applying import ApplyRecipe, check_automatic, check_clipping, recipe_callbacks
from lightning_diag.callbacks.recipes.callbacks import training_callbacks
from lightning_diag.callbacks.recipes.carrying import CarriedOut, carried
from lightning_diag.callbacks.recipes.finding import FindRate
from lightning_diag.callbacks.recipes.handed import LOADERS, TRAINER, loader, tell, trainer_arguments
from lightning_diag.callbacks.recipes.model import prepare, restructure
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
    "StepPlateau",
    "carried",
    "check_automatic",
    "check_clipping",
    "loader",
    "optimizers_for",
    "prepare",
    "recipe_callbacks",
    "restructure",
    "run_length",
    "tell",
    "trainer_arguments",
    "training_callbacks",
]
