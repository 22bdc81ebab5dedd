"""The callbacks that carry out a recipe."""

from __future__ import annotations

from lightning.pytorch.callbacks import Callback

from lightning_diag.callbacks.recipes.finding import FindRate
from lightning_diag.callbacks.recipes.penalty import L1Penalty
from lightning_diag.callbacks.recipes.plateau import StepPlateau
from lightning_diag.callbacks.strategies import EMA, Curriculum, InputNoise, MixUp, PolyakAveraging, StopEarly
from lightning_diag.recipe import Recipe


def training_callbacks(recipe: Recipe) -> list[Callback]:
    """Return the callbacks that a recipe needs while it is trained, beside optimizer and model.

    lr="search": FindRate. l1: L1Penalty. schedule="plateau": StepPlateau. input_noise: InputNoise. mixup: MixUp.
    curriculum: Curriculum. averaging: EMA or PolyakAveraging. early_stopping: StopEarly.
    """
    made: list[Callback] = []
    if recipe.lr == "search":
        made.append(FindRate())
    if recipe.l1:
        made.append(L1Penalty(recipe.l1, recipe.decay_embeddings))
    if recipe.schedule == "plateau":
        made.append(StepPlateau(recipe.monitor))
    if recipe.input_noise is not None:
        made.append(InputNoise(recipe.input_noise))
    if recipe.mixup is not None:
        made.append(MixUp(recipe.mixup))
    if recipe.curriculum is not None:
        made.append(Curriculum(by=recipe.curriculum))
    if recipe.averaging == "ema":
        made.append(EMA() if recipe.ema_decay is None else EMA(recipe.ema_decay))
    elif recipe.averaging == "polyak":
        made.append(PolyakAveraging())
    if recipe.early_stopping is not None:
        made.append(StopEarly(recipe.monitor, patience=recipe.early_stopping, mode=recipe.monitor_mode))
    return made
