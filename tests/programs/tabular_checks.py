"""Proofs of this topic: what was logged, what the loaders hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .parts import Fit
from .verify import Check


def rows(loader: Any, pick: Callable[[Any], Tensor] = lambda batch: batch[0]) -> Tensor:
    """Return one tensor of all batches of a loader."""
    return torch.cat([pick(batch) for batch in loader])


def last(name: str, *, low: float = -np.inf, high: float = np.inf, share: float = 0.1) -> Check:
    """The mean of the last ``share`` of what was logged under ``name`` lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        values = np.asarray(module.history[name])
        end = values[-max(int(share * len(values)), 1) :].mean()
        assert low <= end <= high, f"{name} ends at {end:.4g}"

    return check


def falls(name: str, ratio: float) -> Check:
    """What was logged under ``name`` ends below ``ratio`` of its start, finite all the way."""

    def check(fit: Fit, module: Any) -> None:
        values = np.asarray(module.history[name])
        assert np.isfinite(values).all()
        n = len(values)
        first, end = values[: max(n // 50, 1)].mean(), values[-max(n // 10, 1) :].mean()
        assert end < first - (1 - ratio) * abs(first), f"{name}: {first:.4g} -> {end:.4g}"
        assert all(p.isfinite().all() for p in module.parameters())

    return check


def not_worse(name: str, factor: float = 1.15) -> Check:
    """The last value under ``name`` is within ``factor`` of its best: no overfitting."""

    def check(fit: Fit, module: Any) -> None:
        values = np.asarray(module.history[name])
        assert values[-1] < factor * values.min(), f"{name}: {values.min():.4g} -> {values[-1]:.4g}"

    return check


def broken(name: str) -> Check:
    """What was logged under ``name`` ends non-finite."""

    def check(fit: Fit, module: Any) -> None:
        assert not np.isfinite(module.history[name][-1])

    return check


def _relative_gap(first: Tensor, second: Tensor) -> float:
    return abs(float(first.mean() - second.mean())) / float(first.std())


def some_not_finite(share: float) -> Check:
    """A few training rows (at most ``share``) are not finite; the weights at the start are."""

    def check(fit: Fit, module: Any) -> None:
        bad = (~rows(fit.train).isfinite()).flatten(1).any(1).float().mean()
        assert 0 < bad <= share, f"{bad:.3f} of the rows"
        assert all(w.isfinite().all() for w in fit.start.values())

    return check


def offset_inputs(fit: Fit, module: Any) -> None:
    """Some input channel lies more than fifty of its spreads away from zero."""
    x = rows(fit.train).flatten(0, 1)
    assert (x.mean(0).abs() / x.std(0)).max() > 50


def uneven_inputs(fit: Fit, module: Any) -> None:
    """The spreads of the numeric columns differ by more than a thousand."""
    spread = rows(fit.train, lambda batch: batch["numeric"]).std(0)
    assert spread.max() > 1000 * spread.min() and spread.max() > 1000


def constant_columns(count: int) -> Check:
    """So many input columns have one value only."""

    def check(fit: Fit, module: Any) -> None:
        x = rows(fit.train)
        assert int((x.amax(0) == x.amin(0)).sum()) == count

    return check


def far_targets(fit: Fit, module: Any) -> None:
    """What the network has to put out is thousands away from what it puts out at the start."""
    y = rows(fit.train, lambda batch: (batch[1] - module.shift) / module.scale)
    assert y.mean().abs() > 1000


def rare_tags(fit: Fit, module: Any) -> None:
    """Fewer than three in a hundred tags are events, none of them absent."""
    assert 0 < rows(fit.train, lambda batch: batch[1]).float().mean() < 0.03


def missing_classes(fit: Fit, module: Any) -> None:
    """Classes of the validation set are absent from the training set."""
    train, val = rows(fit.train, lambda batch: batch[1]), rows(fit.val, lambda batch: batch[1])
    assert set(val.tolist()) - set(train.tolist()) and len(set(train.tolist())) > 5


def mixed_order(low: float, high: float) -> Check:
    """The share of neighbours with different labels, as the loader gives them, is between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        y = rows(fit.train, lambda batch: batch[1])
        changes = float((y[1:] != y[:-1]).float().mean())
        assert low <= changes <= high, f"{changes:.3f}"

    return check


def distinct(low: int, high: int) -> Check:
    """The number of different training rows."""

    def check(fit: Fit, module: Any) -> None:
        found = len(torch.unique(rows(fit.train).flatten(1), dim=0))
        assert low <= found <= high, f"{found} different rows"

    return check


def image_tells_mask(low: float, high: float) -> Check:
    """Correlation of pixels and mask after the mean over images is taken off both."""

    def check(fit: Fit, module: Any) -> None:
        pairs = [(batch[0], batch[1]) for batch in fit.train]
        x, y = torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])
        found = float(torch.corrcoef(torch.stack([(x - x.mean(0)).flatten(), (y - y.mean(0)).flatten()]))[0, 1])
        assert low <= found <= high, f"correlation {found:.3f}"

    return check


def overlap(low: float, high: float) -> Check:
    """Share of the validation rows that are training rows as well."""

    def check(fit: Fit, module: Any) -> None:
        data: Any = fit.train.dataset
        known = {x.numpy().tobytes() for x, _ in data}
        seen = np.mean([x.numpy().tobytes() in known for x in rows(fit.val)])
        assert low <= seen <= high, f"{seen:.2f} of the validation rows"

    return check


def shifted(low: float, high: float) -> Check:
    """Distance of the means of training and validation inputs in spreads of the training inputs."""

    def check(fit: Fit, module: Any) -> None:
        gap = _relative_gap(rows(fit.train), rows(fit.val))
        assert low <= gap <= high, f"{gap:.2f} spreads"

    return check


def score_gap(better: str, worse: str, low: float, high: float) -> Check:
    """The difference of two logged scores over the last fifth."""

    def check(fit: Fit, module: Any) -> None:
        ends = []
        for name in (better, worse):
            values = np.asarray(module.history[name])
            ends.append(values[-max(len(values) // 5, 1) :].mean())
        assert low <= ends[0] - ends[1] <= high, f"{ends[0]:.3f} against {ends[1]:.3f}"

    return check
