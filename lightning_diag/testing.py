"""What a test of training health needs: fit a module for a few steps and return the report.

torch and lightning are imported when :func:`fit` is called, not before.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_diag.findings import Report


def fit(
    module: Any,
    train_loader: Any,
    val_loader: Any = None,
    *,
    steps: int = 100,
    seed: int | None = 0,
    diagnostics: Any = None,
    directory: str | Path | None = None,
    **trainer_options: Any,
) -> Report:
    """Return the report on a fit of ``steps`` optimizer steps; the loader is started anew as often as it takes.

    Args:
        module: a LightningModule of either package name.
        train_loader: what ``Trainer.fit`` takes.
        val_loader: what ``Trainer.fit`` takes; none if None.
        steps: optimizer steps, 1 or more; most rules need 40 or more to say anything.
        seed: of Python, numpy and torch during the fit, whose random states are restored after it; None leaves them.
            Weights are drawn when the module is made: seed before that, too.
        diagnostics: the callback to use, for its settings and its history; a new silent one if None.
        directory: where the run's files go; a temporary directory, removed afterwards, if None.
        **trainer_options: further options of the Trainer, which win over the ones chosen here.

    Raises:
        ValueError: ``steps`` is less than 1.
        TypeError: ``module`` is no LightningModule.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be an integer of 1 or more, got {steps!r}")
    if diagnostics is None:
        diagnostics = importlib.import_module("lightning_diag.callbacks.diagnostics").Diagnostics(verbose=False)
    with tempfile.TemporaryDirectory(prefix="lightning_diag-", ignore_cleanup_errors=True) as temporary:
        options = {"max_steps": steps, "default_root_dir": str(directory or temporary), **trainer_options}
        with _quiet(), _seeded(seed):
            _trainer(_package(module), options, diagnostics).fit(module, train_loader, val_loader)
    report: Report = diagnostics.report
    return report


def _trainer(package: str, options: dict[str, Any], diagnostics: Any) -> Any:
    """Return a Trainer that says and writes nothing, on the processor, with Diagnostics as its last callback."""
    others = options.pop("callbacks", None) or []
    quiet: dict[str, Any] = {
        "max_epochs": -1, "accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, "num_sanity_val_steps": 0,
    }  # fmt: skip
    callbacks = [*(others if isinstance(others, (list, tuple)) else [others]), diagnostics]
    return importlib.import_module(package).Trainer(**{**quiet, **options}, callbacks=callbacks)


def _package(module: Any) -> str:
    """Return the package whose Trainer takes this module."""
    for cls in type(module).__mro__:
        if cls.__name__ == "LightningModule":
            return "pytorch_lightning" if cls.__module__.startswith("pytorch_lightning") else "lightning"
    raise TypeError(f"fit needs a LightningModule, got {type(module).__name__}")


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    import random

    import numpy as np
    import torch
    from lightning.pytorch.utilities.seed import isolate_rng

    with isolate_rng():
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says of itself, and its advice: tests that make warnings errors would stumble over it."""
    import logging

    names = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for package in ("lightning.fabric", "lightning_fabric"):
            advice = importlib.import_module(f"{package}.utilities.warnings").PossibleUserWarning
            warnings.simplefilter("ignore", advice)
        warnings.filterwarnings("ignore", module=r"(lightning|pytorch_lightning|lightning_fabric)\.")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
