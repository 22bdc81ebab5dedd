"""Independent proof of faults of rate, schedule, batch size, length and regularization: plain torch and numpy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from .parts import Fit
from .verify import Check


def mean_loss(data: Any, module: Any) -> float:
    """Return the mean loss over all batches of a loader in eval mode."""
    was = module.training
    module.eval()
    with torch.no_grad():
        values = [float(module.compute(batch)) for batch in data]
    module.train(was)
    return float(np.mean(values))


def retrained(
    ratio: float,
    *,
    epochs: int,
    start: bool = True,
    batch: int | None = None,
    val: bool = False,
    prepare: Callable[[Any], Any] | None = None,
    **options: Any,
) -> Check:
    """Training without Lightning, at one constant rate, ends below ``ratio`` times the loss of the program's end.

    It starts with the weights of the start (or goes on from the end), with the program's optimizer but for
    ``options``; so these (or ``batch``, or what ``prepare`` changes in the module) are what is wrong.
    """

    def check(fit: Fit, module: Any) -> None:
        data: Any = fit.val if val else fit.train
        before = mean_loss(data, module)
        end = {k: v.detach().clone() for k, v in module.state_dict().items()}
        if start:
            module.load_state_dict(fit.start)
        if prepare is not None:
            prepare(module)
        old = module.trainer.optimizers[0]
        known = set(inspect.signature(type(old).__init__).parameters)
        settings = {k: v for k, v in {**old.defaults, **options}.items() if k in known}
        optimizer = type(old)(module.parameters(), **settings)
        train = DataLoader(fit.train.dataset, batch, shuffle=True) if batch else fit.train
        module.train()
        for _ in range(epochs):
            for rows in train:
                optimizer.zero_grad()
                module.compute(rows).backward()
                optimizer.step()
        after = mean_loss(data, module)
        module.load_state_dict(end)
        assert not before <= after / ratio, f"{before:.3g} as it was, {after:.3g} so"

    return check


def rates(test: Callable[[Any], bool]) -> Check:
    """The learning rates of all steps pass the test."""

    def check(fit: Fit, module: Any) -> None:
        seen = np.asarray(module.rates)
        assert len(seen) == len(module.losses)
        assert test(seen), f"rates {seen[0]:.2e} ... {seen.max():.2e} ... {seen[-1]:.2e}"

    return check


def bad(value: float) -> Check:
    """The mean loss over the training set is above ``value`` (or not finite)."""

    def check(fit: Fit, module: Any) -> None:
        loss = mean_loss(fit.train, module)
        assert not loss < value, f"training loss {loss:.3g}"

    return check


def settled(best: float, *, rise: float = 1.06, fall: float = 0.9) -> Check:
    """The validation loss ends below ``best``, near its minimum and where it was at nine tenths of the training."""

    def check(fit: Fit, module: Any) -> None:
        val = np.asarray(module.val_losses)
        end = val[-2:].mean()
        assert end < best, f"validation loss {end:.3g}"
        assert end < rise * val.min(), f"validation loss {val.min():.3g} -> {end:.3g}"
        before = val[int(0.9 * len(val)) - 1]
        assert end > fall * before, f"validation loss still falls: {before:.3g} -> {end:.3g}"

    return check


def still_falls(ratio: float) -> Check:
    """In the last epoch the validation loss fell below ``ratio`` of what it was, the training loss likewise."""

    def check(fit: Fit, module: Any) -> None:
        val, n = module.val_losses, len(fit.train)
        last, before = np.mean(module.losses[-n:]), np.mean(module.losses[-2 * n : -n])
        assert val[-1] < ratio * val[-2], f"validation {val[-2]:.3g} -> {val[-1]:.3g}"
        assert last < ratio * before, f"training {before:.3g} -> {last:.3g}"

    return check


def flat(ratio: float) -> Check:
    """The training loss of the last quarter is not below ``ratio`` of the quarter before: more epochs do not help."""

    def check(fit: Fit, module: Any) -> None:
        n = len(module.losses) // 4
        before, last = np.mean(module.losses[-2 * n : -n]), np.mean(module.losses[-n:])
        assert last > ratio * before, f"{before:.3g} -> {last:.3g}"

    return check


def rises(factor: float, share: float = 0.6) -> Check:
    """The loss ends at ``factor`` times its start, and rises in ``share`` of the tenths of the training."""

    def check(fit: Fit, module: Any) -> None:
        tenths = np.asarray([part.mean() for part in np.array_split(np.asarray(module.losses), 10)])
        assert np.isfinite(tenths).all()
        assert tenths[-1] > factor * tenths[0], f"{tenths[0]:.3g} -> {tenths[-1]:.3g}"
        assert (np.diff(tenths) > 0).mean() >= share

    return check


def jumps(size: float, share: float) -> Check:
    """In ``share`` of the steps of the second half the loss goes up by ``size`` times its median, or down so."""

    def check(fit: Fit, module: Any) -> None:
        half = np.asarray(module.losses[len(module.losses) // 2 :])
        found = (np.abs(np.diff(half)) > size * np.median(half)).mean()
        assert found >= share, f"{found:.2f} of the steps"

    return check


def steeper(rate: float) -> Check:
    """The largest curvature of a linear regression is above 2 / ``rate``, and below 2.5 / ``rate``."""

    def check(fit: Fit, module: Any) -> None:
        x = torch.cat([batch[0] for batch in fit.train]).double()
        x = torch.cat([x, torch.ones(len(x), 1)], 1)
        largest = float(torch.linalg.eigvalsh(2 * x.T @ x / len(x))[-1])
        assert 2 / rate < largest < 2.5 / rate, f"curvature {largest:.3g}, rate {rate}"

    return check


def dropping(share: float) -> Callable[[Any], None]:
    """Return a function that sets the share of all dropout layers."""

    def prepare(module: Any) -> None:
        for m in module.modules():
            if isinstance(m, nn.Dropout):
                m.p = share

    return prepare
