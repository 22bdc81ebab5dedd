"""The callbacks that carry out a recipe."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lightning.pytorch.callbacks import Callback

from lightning_diag.callbacks.recipes.finding import FindRate
from lightning_diag.callbacks.recipes.penalty import L1Penalty
from lightning_diag.callbacks.recipes.plateau import StepPlateau
from lightning_diag.recipe import Recipe


def training_callbacks(recipe: Recipe) -> list[Callback]:
    """Return the callbacks that a recipe needs in fit, beside optimizer and model.

    lr="search": FindRate. l1: L1Penalty. schedule="plateau": StepPlateau. standardize, standardize_target: Preprocess.
    input_noise: InputNoise. mixup: MixUp. curriculum: Curriculum. averaging: EMA or PolyakAveraging.
    early_stopping: StopEarly.

    Raises:
        NotImplementedError: this version has no such callback.
    """
    made: list[Callback] = []
    if recipe.lr == "search":
        made.append(FindRate())
    if recipe.l1:
        made.append(L1Penalty(recipe.l1, recipe.decay_embeddings))
    if recipe.schedule == "plateau":
        made.append(StepPlateau(recipe.monitor))
    if recipe.standardize is not None or recipe.standardize_target is not None:
        made.append(_callback("Preprocess", "standardize")(recipe.standardize, recipe.standardize_target))
    if recipe.input_noise is not None:
        made.append(_callback("InputNoise", "input_noise")(recipe.input_noise))
    if recipe.mixup is not None:
        made.append(_callback("MixUp", "mixup")(recipe.mixup))
    if recipe.curriculum is not None:
        made.append(_callback("Curriculum", "curriculum")(recipe.curriculum))
    if recipe.averaging == "ema":
        decay = {} if recipe.ema_decay is None else {"decay": recipe.ema_decay}
        made.append(_callback("EMA", "averaging")(**decay))
    elif recipe.averaging == "polyak":
        made.append(_callback("PolyakAveraging", "averaging")())
    if recipe.early_stopping is not None:
        stop = _callback("StopEarly", "early_stopping")
        made.append(stop(recipe.monitor, patience=recipe.early_stopping, mode=recipe.monitor_mode))
    return made


def _callback(name: str, field: str) -> Any:
    """Return a callback class of this package.

    Raises:
        NotImplementedError: this version has no such callback.
    """
    kind = getattr(import_module("lightning_diag.callbacks"), name, None)
    if kind is None:
        raise NotImplementedError(
            f"Recipe({field}=...) needs lightning_diag.callbacks.{name}, which this version does not have; "
            f"set {field}=None"
        )
    return kind
