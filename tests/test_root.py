"""The public names: there, listed, loaded when used, and no other."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lightning_diag
from lightning_diag.callbacks.diagnostics import Diagnostics
from lightning_diag.findings import Report
from lightning_diag.records import History
from lightning_diag.rules import check

PUBLIC = (
    "EMA", "Curriculum", "Diagnostics", "Finding", "History", "HistoryError", "Initialize", "InputNoise",
    "InsertDropout", "InsertNormalization", "MixUp", "Outcome", "PolyakAveraging", "Preprocess", "Prescription",
    "Recipe", "RecipeMixin", "Report", "Severity", "StopEarly", "SwapActivations", "UnhealthyTraining", "check",
    "convert_normalization", "fold_batchnorm", "init_report", "initialize", "insert_dropout", "insert_normalization",
    "mark_pretrained", "remove_normalization", "swap_activations",
)  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(lightning_diag, name).__name__ == name
    assert name in dir(lightning_diag)
    assert name in lightning_diag.__all__


def test_they_are_the_ones_of_their_modules() -> None:
    assert lightning_diag.Diagnostics is Diagnostics
    assert lightning_diag.Report is Report
    assert lightning_diag.History is History
    assert lightning_diag.check is check


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lightning_diag' has no attribute 'Diagnostic'"):
        lightning_diag.Diagnostic  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(lightning_diag, "__path_of_nothing__")


def test_a_star_import_gives_the_public_names() -> None:
    space: dict[str, object] = {}
    exec("from lightning_diag import *", space)
    assert set(space) - {"__builtins__"} == set(lightning_diag.__all__)


@pytest.mark.parametrize("name", ["check", "History", "Recipe", "Report"])
def test_reading_needs_no_torch(name: str) -> None:
    code = f"import sys; from lightning_diag import {name}; print('torch' in sys.modules, 'lightning' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "False"], done.stderr
