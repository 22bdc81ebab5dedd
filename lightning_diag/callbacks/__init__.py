"""Lightning shells round the probes, rules and sinks; small callbacks that change how a model is trained."""

from __future__ import annotations

from lightning_diag.callbacks.diagnostics import Diagnostics
from lightning_diag.callbacks.initialize import Initialize
from lightning_diag.callbacks.preprocess import Preprocess
from lightning_diag.callbacks.recipes import ApplyRecipe, L1Penalty, loader, recipe_callbacks, trainer_arguments
from lightning_diag.callbacks.strategies import EMA, Curriculum, InputNoise, MixUp, PolyakAveraging, StopEarly

__all__ = [
    "EMA",
    "ApplyRecipe",
    "Curriculum",
    "Diagnostics",
    "Initialize",
    "InputNoise",
    "L1Penalty",
    "MixUp",
    "PolyakAveraging",
    "Preprocess",
    "StopEarly",
    "loader",
    "recipe_callbacks",
    "trainer_arguments",
]
