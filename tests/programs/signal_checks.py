"""Independent proofs for the programs on signals; every function returns a check."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .parts import Fit
from .verify import Check, weights_of_start


def seen(fit: Fit, module: Any, site: str) -> Tensor:
    """Return what ``site`` puts out over the training set in eval mode, as it comes, samples first."""
    found: list[Tensor] = []
    handle = module.get_submodule(site).register_forward_hook(lambda m, i, o: found.append(o.detach().clone()))
    module.eval()
    with torch.no_grad():
        for batch in fit.train:
            module.compute(batch)
    handle.remove()
    return torch.cat(found)


def scores(low: float = -1e9, high: float = 1e9) -> Check:
    """The last validation score lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        assert low <= module.scores[-1] <= high, f"score {module.scores[-1]:.3f}"

    return check


def falls(ratio: float) -> Check:
    """The loss stays finite and its last fifth is below ``ratio`` of its first steps (as a fall of its size)."""

    def check(fit: Fit, module: Any) -> None:
        losses = np.asarray(module.losses)
        first, last = losses[: max(len(losses) // 50, 2)].mean(), losses[-len(losses) // 5 :].mean()
        assert np.isfinite(losses).all() and last - first < (ratio - 1) * abs(first), f"{first:.3g} -> {last:.3g}"

    return check


def generalizes(factor: float = 1.25) -> Check:
    """The last validation loss is within ``factor`` of the best (by its size)."""

    def check(fit: Fit, module: Any) -> None:
        last, best = module.val_losses[-1], min(module.val_losses)
        assert last - best <= (factor - 1) * abs(best) + 0.02, f"{best:.3g} -> {last:.3g}"

    return check


def silent(site: str, low: float, high: float = 1.0) -> Check:
    """The share of the units (dimension 1) at ``site`` that are never above zero lies in a range, start and end."""

    def share(fit: Fit, module: Any) -> float:
        y = seen(fit, module, site).transpose(0, 1).flatten(1)
        return float((y <= 0).all(1).float().mean())

    def check(fit: Fit, module: Any) -> None:
        end = share(fit, module)
        assert low <= end <= high, f"{site}: {end:.2f} silent"

    return check


def flat(site: str, low: float, high: float = 1.0) -> Check:
    """The share of the tanh outputs at ``site`` beyond 0.97 lies in a range at the end."""

    def check(fit: Fit, module: Any) -> None:
        share = float((seen(fit, module, site).abs() > 0.97).float().mean())
        assert low <= share <= high, f"{site}: {share:.2f} flat"

    return check


def grows_over(first: str, last: str, low: float, high: float = 1e30) -> Check:
    """At the start the rms at ``last`` over that at ``first`` lies in a range."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            a, b = (seen(fit, module, s).pow(2).mean().sqrt() for s in (first, last))
        assert low <= float(b / a) <= high, f"growth {float(b / a):.3g}"

    return check


def spread(site: str, low: float = 0.0, high: float = 1e30) -> Check:
    """The standard deviation over the samples of what ``site`` puts out lies in a range at the end."""

    def check(fit: Fit, module: Any) -> None:
        value = float(seen(fit, module, site).flatten(1).std(0).mean())
        assert low <= value <= high, f"{site}: spread {value:.3g}"

    return check


def rank(site: str, low: float = 0.0, high: float = 1e9) -> Check:
    """The effective rank (entropy of the squared singular values, not centred) at ``site`` lies in a range."""

    def check(fit: Fit, module: Any) -> None:
        p = torch.linalg.svdvals(seen(fit, module, site).flatten(1).double()) ** 2
        p = p / p.sum()
        value = float(torch.exp(-(p * (p + 1e-30).log()).sum()))
        assert low <= value <= high, f"{site}: effective rank {value:.2f}"

    return check


def through_time(low: float, high: float) -> Check:
    """At the start, gradient of the loss by the first step's input over that by the last step's lies in a range."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            x, y = next(iter(fit.train))
            x = x.clone().requires_grad_()
            module.compute([x, y]).backward()
            module.zero_grad()
        assert x.grad is not None
        size = x.grad.pow(2).mean((0, 2)).sqrt()
        assert low <= float(size[0] / size[-1]) <= high, f"first / last {float(size[0] / size[-1]):.3g}"

    return check


def opens(low: float, high: float) -> Check:
    """The loss of the very first training step lies in a range."""

    def check(fit: Fit, module: Any) -> None:
        assert low <= module.losses[0] <= high, f"first loss {module.losses[0]:.3g}"

    return check


def alike(name: str, expected: bool) -> Check:
    """All rows of the weight ``name`` are the same after training (or none like the first)."""

    def check(fit: Fit, module: Any) -> None:
        rows = module.get_parameter(name).detach().flatten(1)
        same = bool((rows - rows[:1]).abs().max() < 1e-4 * rows.abs().max())
        assert same == expected, f"{name}: alike is {same}"

    return check


def constant(name: str) -> Check:
    """The parameter ``name`` is what it was before training."""

    def check(fit: Fit, module: Any) -> None:
        assert torch.equal(module.get_parameter(name).detach(), fit.start[name]), f"{name} moved"

    return check


def growth(low: float, high: float = 1e30) -> Check:
    """The norm of all weights at the end over that at the start lies in a range."""

    def check(fit: Fit, module: Any) -> None:
        start = sum(float(fit.start[n].pow(2).sum()) for n, _ in module.named_parameters()) ** 0.5
        end = sum(float(p.detach().pow(2).sum()) for p in module.parameters()) ** 0.5
        assert low <= end / start <= high, f"weights grew {end / start:.3g} times"

    return check


def ends(low: float, high: float) -> Check:
    """The last validation loss lies in a range."""

    def check(fit: Fit, module: Any) -> None:
        assert low <= module.val_losses[-1] <= high, f"last validation loss {module.val_losses[-1]:.3g}"

    return check
