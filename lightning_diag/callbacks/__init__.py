"""Lightning shells round the probes, rules and sinks."""

from __future__ import annotations

from lightning_diag.callbacks.diagnostics import Diagnostics

__all__ = ["Diagnostics"]
