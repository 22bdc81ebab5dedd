"""Proofs for the programs in wiring.py: what the optimizer holds, what backward reaches, what a step changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .parts import Fit
from .verify import Check, gradients, weights_of_start

Parts = Callable[[Any], Iterable[Tensor]]


def held(module: Any) -> set[int]:
    """Return the ids of what the optimizers hold."""
    return {id(p) for o in module.trainer.optimizers for group in o.param_groups for p in group["params"]}


def constant(*prefixes: str, others_move: bool = True) -> Check:
    """Parameters of these names are exactly what they were at the start; all others moved."""

    def check(fit: Fit, module: Any) -> None:
        assert any(n.startswith(prefixes) for n, _ in module.named_parameters()), prefixes
        for n, p in module.named_parameters():
            same = n in fit.start and torch.equal(p.detach(), fit.start[n])
            assert same == (n.startswith(prefixes) or not others_move), f"{n} {'constant' if same else 'moved'}"

    return check


def forgotten(prefix: str) -> Check:
    """Parameters of this name want a gradient and get one, and no optimizer holds them."""

    def check(fit: Fit, module: Any) -> None:
        found, known = gradients(fit, module), held(module)
        names = [n for n, _ in module.named_parameters() if n.startswith(prefix)]
        assert names and all(n in found and found[n].abs().sum() > 0 for n in names), (names, list(found))
        for n, p in module.named_parameters():
            assert p.requires_grad and (id(p) in known) == (not n.startswith(prefix)), n

    return check


def unregistered(parts: Parts) -> Check:
    """Tensors that get a gradient, are not among the module's parameters, and no optimizer holds them."""

    def check(fit: Fit, module: Any) -> None:
        tensors, known = list(parts(module)), held(module) | {id(p) for p in module.parameters()}
        for p in tensors:
            p.grad = None
        module.compute(next(iter(fit.train))).backward()
        assert tensors and all(p.grad is not None and p.grad.abs().sum() > 0 for p in tensors)
        assert not any(id(p) in known for p in tensors)

    return check


def no_gradient(prefix: str) -> Check:
    """Backward reaches everything but what has this name, at the start and at the end."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            first = gradients(fit, module)
        for found in (first, gradients(fit, module)):
            for n, p in module.named_parameters():
                assert p.requires_grad and (n in found) == (not n.startswith(prefix)), n

    return check


def frozen(prefix: str, share: float) -> Check:
    """The weight matrices and kernels of this name, ``share`` of all weights, want no gradient."""

    def check(fit: Fit, module: Any) -> None:
        sizes = [(p.numel(), p.requires_grad) for n, p in module.named_parameters() if n.startswith(prefix)]
        part = sum(size for size, wants in sizes if not wants) / sum(p.numel() for p in module.parameters())
        assert part >= share, f"{part:.2f} of the weights frozen"

    return check


def norm_of_gradient(fit: Fit, module: Any) -> float:
    """Return the norm of the gradient of the first batch at the present weights."""
    return float(torch.stack([g.norm() for g in gradients(fit, module).values()]).norm())


def piled_up(factor: float) -> Check:
    """What ``.grad`` held after the last step is ``factor`` times the largest gradient of any single batch."""

    def check(fit: Fit, module: Any) -> None:
        left = module.norms[-1]
        largest = 0.0
        for batch in fit.train:
            module.zero_grad()
            module.compute(batch).backward()
            largest = max(largest, float(torch.stack([p.grad.norm() for p in module.parameters()]).norm()))
        assert left > factor * largest, f"{left:.3g} left, {largest:.3g} the largest of one batch"

    return check


def clipped(threshold: float, factor: float) -> Check:
    """The gradient is more than ``factor`` times the threshold at the start and at the end."""

    def check(fit: Fit, module: Any) -> None:
        end = norm_of_gradient(fit, module)
        with weights_of_start(fit, module):
            start = norm_of_gradient(fit, module)
        assert min(start, end) > factor * threshold, f"{start:.3g} at the start, {end:.3g} at the end"

    return check


def affine(fit: Fit, module: Any) -> None:
    """The whole network is affine: its value in the middle of two inputs is the mean of its two values."""
    module.eval()
    x = next(iter(fit.train))[0]
    other = x.flip(0)
    with torch.no_grad():
        middle, mean = module(0.5 * (x + other)), 0.5 * (module(x) + module(other))
    assert torch.allclose(middle, mean, atol=1e-4 * float(mean.abs().max())), float((middle - mean).abs().max())


def alike(*names: str) -> Check:
    """All units of these layers still have the same incoming weights after the training."""

    def check(fit: Fit, module: Any) -> None:
        for n in names:
            weight = module.get_parameter(n).detach()
            assert not torch.equal(weight, fit.start[n]), f"{n} never moved"
            spread = float((weight - weight[0]).abs().max() / weight.abs().max())
            assert spread < 1e-3, f"{n}: {spread:.2e}"

    return check


def ends_above(value: float) -> Check:
    """The last validation loss is above ``value``."""

    def check(fit: Fit, module: Any) -> None:
        assert not module.val_losses[-1] <= value, f"validation loss {module.val_losses[-1]:.3g}"

    return check


def settled(*, above: float = 0.0, below: float = float("inf"), accuracy: float = 0.0, ratio: float = 0.6) -> Check:
    """The losses fall, the validation loss ends in its minimum and flat, and it (or the accuracy) is good."""

    def check(fit: Fit, module: Any) -> None:
        train, val = np.asarray(module.losses), np.asarray(module.val_losses)
        n = len(train)
        first, last = train[: max(n // 50, 2)].mean(), train[-max(n // 5, 3) :].mean()
        assert np.isfinite(train).all() and last < ratio * first, f"{first:.3g} -> {last:.3g}"
        assert above <= val[-1] <= below, f"validation loss {val[-1]:.3g}"
        assert val[-1] <= 1.05 * val.min(), f"validation loss rose, {val.min():.3g} -> {val[-1]:.3g}"
        late = val[-max(len(val) // 5, 2)]
        assert late - val[-1] <= 0.05 * (val.max() - val[-1]), f"not flat yet, {late:.3g} -> {val[-1]:.3g}"
        if accuracy:
            assert module.val_accuracies[-1] >= accuracy, f"accuracy {module.val_accuracies[-1]:.3f}"

    return check
