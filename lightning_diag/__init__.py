"""lightning_diag: the doctor for PyTorch Lightning training.

The way of the data::

    Tensor --probe--> device-side numbers --one transfer--> History --rule--> Finding --> Report --sink--> outside

- ``probes`` decide where and when a number is taken, ``statistics`` is the mathematics they call;
- ``records.History`` is the waist: torch on its left only, numpy only on its right;
- ``rules`` judge a history, live or from a file; ``findings.Report`` holds what they say;
- ``sinks`` show it: terminal, files, TensorBoard; ``callbacks.Diagnostics`` ties all to a Trainer.

Names are loaded when first used, so that importing this package costs neither torch nor lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_diag.callbacks.diagnostics import Diagnostics
    from lightning_diag.callbacks.initialize import Initialize
    from lightning_diag.callbacks.preprocess import Preprocess
    from lightning_diag.callbacks.strategies import EMA, Curriculum, InputNoise, MixUp, PolyakAveraging, StopEarly
    from lightning_diag.callbacks.surgery import InsertDropout, InsertNormalization, SwapActivations
    from lightning_diag.findings import Finding, Outcome, Prescription, Report, Severity, UnhealthyTraining
    from lightning_diag.initializers import init_report, initialize, mark_pretrained
    from lightning_diag.mixin import RecipeMixin
    from lightning_diag.recipe import Recipe
    from lightning_diag.records import History, HistoryError
    from lightning_diag.rules import check
    from lightning_diag.surgery import (
        convert_normalization,
        fold_batchnorm,
        insert_dropout,
        insert_normalization,
        remove_normalization,
        swap_activations,
    )

    __version__: str
else:
    _HOMES = {
        "Diagnostics": "callbacks.diagnostics",
        "EMA": "callbacks.strategies",
        "Curriculum": "callbacks.strategies",
        "InputNoise": "callbacks.strategies",
        "MixUp": "callbacks.strategies",
        "PolyakAveraging": "callbacks.strategies",
        "StopEarly": "callbacks.strategies",
        "Finding": "findings",
        "Outcome": "findings",
        "Prescription": "findings",
        "Report": "findings",
        "Severity": "findings",
        "UnhealthyTraining": "findings",
        "Recipe": "recipe",
        "RecipeMixin": "mixin",
        "History": "records",
        "HistoryError": "records",
        "Initialize": "callbacks.initialize",
        "Preprocess": "callbacks.preprocess",
        "check": "rules",
        "InsertDropout": "callbacks.surgery",
        "InsertNormalization": "callbacks.surgery",
        "SwapActivations": "callbacks.surgery",
        "convert_normalization": "surgery",
        "fold_batchnorm": "surgery",
        "insert_dropout": "surgery",
        "insert_normalization": "surgery",
        "remove_normalization": "surgery",
        "swap_activations": "surgery",
        "init_report": "initializers",
        "initialize": "initializers",
        "mark_pretrained": "initializers",
    }

    def __getattr__(name):
        if name == "__version__":
            from importlib.metadata import version

            return version("lightning-diag")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted([*globals(), *_HOMES, "__version__"])


__all__ = [
    "EMA",
    "Curriculum",
    "Diagnostics",
    "Finding",
    "History",
    "HistoryError",
    "Initialize",
    "InputNoise",
    "InsertDropout",
    "InsertNormalization",
    "MixUp",
    "Outcome",
    "PolyakAveraging",
    "Preprocess",
    "Prescription",
    "Recipe",
    "RecipeMixin",
    "Report",
    "Severity",
    "StopEarly",
    "SwapActivations",
    "UnhealthyTraining",
    "check",
    "convert_normalization",
    "fold_batchnorm",
    "init_report",
    "initialize",
    "insert_dropout",
    "insert_normalization",
    "mark_pretrained",
    "remove_normalization",
    "swap_activations",
]
