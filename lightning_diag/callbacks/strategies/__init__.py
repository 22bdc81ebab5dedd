"""Callbacks for the training strategies that lectures name, each small, on what Lightning and torch have."""

from __future__ import annotations

from lightning_diag.callbacks.strategies.averaging import EMA, PolyakAveraging
from lightning_diag.callbacks.strategies.curriculum import Curriculum
from lightning_diag.callbacks.strategies.early_stopping import StopEarly
from lightning_diag.callbacks.strategies.mixup import MixUp
from lightning_diag.callbacks.strategies.noise import InputNoise

__all__ = ["EMA", "Curriculum", "InputNoise", "MixUp", "PolyakAveraging", "StopEarly"]
