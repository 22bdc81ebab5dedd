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
    from lightning_diag.callbacks.strategies import EMA, Curriculum, InputNoise, MixUp, PolyakAveraging, StopEarly
    from lightning_diag.findings import Finding, Outcome, Prescription, Report, Severity, UnhealthyTraining
    from lightning_diag.records import History, HistoryError
    from lightning_diag.rules import check

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
        "History": "records",
        "HistoryError": "records",
        "check": "rules",
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
    "InputNoise",
    "MixUp",
    "Outcome",
    "PolyakAveraging",
    "Prescription",
    "Report",
    "Severity",
    "StopEarly",
    "UnhealthyTraining",
    "check",
]
