"""Lightning shells round the probes, rules and sinks."""

from __future__ import annotations

from lightning_diag.callbacks.diagnostics import Diagnostics
from lightning_diag.callbacks.initialize import Initialize
from lightning_diag.callbacks.preprocess import Preprocess

__all__ = ["Diagnostics", "Initialize", "Preprocess"]
