"""Lightning shells round the probes, rules and sinks; small callbacks that change how a model is trained."""

from __future__ import annotations

from lightning_diag.callbacks.diagnostics import Diagnostics
from lightning_diag.callbacks.strategies import EMA, Curriculum, InputNoise, MixUp, PolyakAveraging, StopEarly

__all__ = ["EMA", "Curriculum", "Diagnostics", "InputNoise", "MixUp", "PolyakAveraging", "StopEarly"]
