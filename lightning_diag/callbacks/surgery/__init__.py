"""Callbacks that change the layers of a model before its optimizers exist."""

from lightning_diag.callbacks.surgery.operations import InsertDropout, InsertNormalization, SwapActivations

__all__ = ["InsertDropout", "InsertNormalization", "SwapActivations"]
