# mypy: disable-error-code="no-any-return"
"""Proofs for the programs on output heads, losses and targets; no lightning_diag here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .parts import Fit
from .verify import Check, weights_of_start


def score(fit: Fit, module: Any, *, on: str = "val", name: str = "score") -> float:
    """Return the mean of ``module.<name>(batch)`` over a loader, in eval mode."""
    was = module.training
    module.eval()
    with torch.no_grad():
        values = [float(getattr(module, name)(batch)) for batch in getattr(fit, on)]
    module.train(was)
    return float(np.mean(values))


def at_least(value: float, *, gain: float = 0.0, name: str = "score") -> Check:
    """The score on the validation set is at least ``value``, by ``gain`` more than at the start, all weights finite."""

    def check(fit: Fit, module: Any) -> None:
        end = score(fit, module, name=name)
        with weights_of_start(fit, module):
            start = score(fit, module, name=name)
        assert end >= value, f"{name} {start:.3f} -> {end:.3f}"
        assert end >= start + gain, f"{name} {start:.3f} -> {end:.3f}"
        assert all(p.isfinite().all() for p in module.parameters())

    return check


def at_most(value: float, *, name: str = "score") -> Check:
    """The score on the validation set is at most ``value`` (or not a number)."""

    def check(fit: Fit, module: Any) -> None:
        end = score(fit, module, name=name)
        assert not end > value, f"{name} {end:.3f}"

    return check


def generalizes(gap: float, *, name: str = "score") -> Check:
    """The score on the training set is at most ``gap`` better than on the validation set."""

    def check(fit: Fit, module: Any) -> None:
        train, val = score(fit, module, on="train", name=name), score(fit, module, name=name)
        assert train - val <= gap, f"{name} {train:.3f} in training, {val:.3f} in validation"

    return check


def start_loss(low: float, high: float) -> Check:
    """The validation loss before the first step lies between two values."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            value = score(fit, module, name="objective")
        assert low <= value <= high, f"loss at the start {value:.3f}"

    return check


def end_loss(low: float, high: float) -> Check:
    """The validation loss after training lies between two values."""

    def check(fit: Fit, module: Any) -> None:
        value = score(fit, module, name="objective")
        assert low <= value <= high, f"loss at the end {value:.3f}"

    return check


def answers(condition: Callable[[Tensor, Any], bool]) -> Check:
    """``condition(output, batch)`` holds for the whole validation set; the module has ``answer(batch)``."""

    def check(fit: Fit, module: Any) -> None:
        module.eval()
        assert fit.val is not None
        with torch.no_grad():
            for batch in fit.val:
                out = module.answer(batch)
                assert condition(out, batch), f"outputs {float(out.min()):.3f} .. {float(out.max()):.3f}"

    return check


def distribution(out: Tensor, batch: Any) -> bool:
    """Is every row of the output a distribution?"""
    return bool((out >= 0).all() and torch.allclose(out.sum(-1), torch.ones(out.shape[:-1]), atol=1e-4))


def not_distribution(out: Tensor, batch: Any) -> bool:
    """Are there rows that are no distribution?"""
    return not distribution(out, batch)


def inside_unit(out: Tensor, batch: Any) -> bool:
    """Do all outputs lie in 0..1?"""
    return bool((out >= 0).all() and (out <= 1).all())


def beyond_unit(out: Tensor, batch: Any) -> bool:
    """Are there outputs below 0 and above 1?"""
    return bool((out < 0).any() and (out > 1).any())


def outside_unit(out: Tensor, batch: Any) -> bool:
    """Do most outputs lie outside 0..1?"""
    return float(((out < 0) | (out > 1)).float().mean()) > 0.3


def all_same(out: Tensor, batch: Any) -> bool:
    """Is the output the same for every sample?"""
    return float((out.amax(0) - out.amin(0)).max()) < 1e-5
