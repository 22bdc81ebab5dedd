"""``lightning-diag demo``: the only command that trains, and so the only one that imports torch."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from lightning_diag.cli.refusal import Refused


def run(argv: Sequence[str]) -> object:
    """Run the demo with its own options; return its exit code, None for 0."""
    try:
        return importlib.import_module("lightning_diag.demo").main(argv)
    except ModuleNotFoundError as error:
        problem = f"the demo needs {error.name}, which is not installed"
        raise Refused(problem, "pip install 'lightning_diag[examples]'") from error
