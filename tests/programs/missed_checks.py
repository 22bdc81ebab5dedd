"""Proofs of the programs of the topic `missed`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .parts import Fit
from .verify import Check, every, weights_of_start


def ends(name: str, *, above: float = -np.inf, below: float = np.inf, last: int = 1) -> Check:
    """The mean of the last values of ``name`` lies between."""

    def check(fit: Fit, module: Any) -> None:
        value = np.mean(module.seen[name][-last:])
        assert above <= value <= below, f"{name} ends at {value:.4g}, starts at {module.seen[name][0]:.4g}"

    return check


def begins(name: str, *, above: float, below: float) -> Check:
    """The first value of ``name`` lies between."""

    def check(fit: Fit, module: Any) -> None:
        assert above <= module.seen[name][0] <= below, f"{name} starts at {module.seen[name][0]:.4g}"

    return check


def falls(name: str, ratio: float, *, last: int = 10) -> Check:
    """``name`` stays finite and its last values are below ``ratio`` of its first ones."""

    def check(fit: Fit, module: Any) -> None:
        values = module.seen[name]
        assert np.isfinite(values).all()
        first, end = np.mean(values[:3]), np.mean(values[-last:])
        assert end < ratio * first, f"{name}: {first:.4g} -> {end:.4g}"
        assert all(p.isfinite().all() for p in module.parameters())

    return check


def grows(name: str, factor: float) -> Check:
    """``name`` ends above ``factor`` times its first values."""

    def check(fit: Fit, module: Any) -> None:
        values = module.seen[name]
        assert values[-1] > factor * np.mean(values[:3]), f"{name}: {values[0]:.4g} -> {values[-1]:.4g}"

    return check


def keeps(name: str) -> Check:
    """A validation loss does not end far above its best."""

    def check(fit: Fit, module: Any) -> None:
        values = module.seen[name]
        assert values[-1] < min(values) + 0.25 * abs(min(values)) + 0.02, f"{name}: {min(values):.3g}, {values[-1]:.3g}"

    return check


def well(train: str, val: str, ratio: float = 0.5) -> Check:
    """The training loss falls below ``ratio`` of its start and the validation loss stays near its best."""
    return every(falls(train, ratio), keeps(val))


def silent(site: str, *, share: float, level: float) -> Check:
    """At the start and at the end ``share`` of the units are below ``level`` on the whole training set."""

    def part(fit: Fit, module: Any) -> float:
        out: list[Tensor] = []
        handle = module.get_submodule(site).register_forward_hook(lambda m, i, o: out.append(o.detach()))
        module.eval()
        with torch.no_grad():
            for x, _ in fit.train:
                module(x)
        handle.remove()
        z = torch.cat(out).abs()
        units = z.amax((0, 2, 3)) if z.ndim == 4 else z.flatten(0, -2).amax(0)
        return float((units <= level).float().mean())

    def check(fit: Fit, module: Any) -> None:
        end = part(fit, module)
        with weights_of_start(fit, module):
            start = part(fit, module)
        assert min(start, end) >= share, f"{site}: {start:.2f} silent at the start, {end:.2f} at the end"

    return check


def untouched(prefix: str) -> Check:
    """The parameters below ``prefix`` are as they were before the first step."""

    def check(fit: Fit, module: Any) -> None:
        names = [n for n, _ in module.named_parameters() if n.startswith(prefix)]
        assert names and all(torch.equal(module.state_dict()[n], fit.start[n]) for n in names)

    return check


def first_gradients(fit: Fit, module: Any) -> dict[str, float]:
    """Return the norms of the gradients of the first batch at the start."""
    with weights_of_start(fit, module):
        module.zero_grad()
        *x, y = next(iter(fit.train))
        module.objective(module(*x), y).backward()
        norms = {n: float(p.grad.norm()) for n, p in module.named_parameters() if p.grad is not None}
        module.zero_grad()
    return norms


def louder(name: str, other: str, factor: float) -> Check:
    """At the start the gradient of one parameter is ``factor`` times that of another one."""

    def check(fit: Fit, module: Any) -> None:
        norms = first_gradients(fit, module)
        assert norms[name] > factor * norms[other], norms

    return check


def metric(name: str, *, above: float = -np.inf, below: float = np.inf) -> Check:
    """A logged value of the validation ends between, and the weights are finite."""

    def check(fit: Fit, module: Any) -> None:
        value = float(module.trainer.callback_metrics[name])
        assert above <= value <= below, f"{name} = {value:.4g}"
        assert all(p.isfinite().all() for p in module.parameters())

    return check
