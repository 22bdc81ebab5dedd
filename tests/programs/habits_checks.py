"""Independent proofs of the `habits` programs."""

# mypy: disable-error-code="no-any-return, no-untyped-call"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .parts import Fit, Pair
from .verify import Check


def reads(name: str, low: float = -np.inf, high: float = np.inf) -> Check:
    """The logged metric of the end lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        value = float(module.trainer.callback_metrics[name])
        assert low <= value <= high, f"{name} = {value:.4g}, not in [{low}, {high}]"

    return check


def falls(ratio: float = 0.7) -> Check:
    """The loss of the last fifth is below ``ratio`` of the first tenth and finite, the weights are finite."""

    def check(fit: Fit, module: Any) -> None:
        losses = np.asarray(module.history)
        assert len(losses) >= 50 and np.isfinite(losses).all()
        first, last = losses[: len(losses) // 10].mean(), losses[-len(losses) // 5 :].mean()
        assert last - first < (ratio - 1) * abs(first), f"{first:.3g} -> {last:.3g}"
        assert all(p.isfinite().all() for p in module.parameters())

    return check


def steady(name: str, factor: float = 1.15) -> Check:
    """The validation loss of the end is not above ``factor`` times its best."""

    def check(fit: Fit, module: Any) -> None:
        curve = np.asarray([e[name] for e in module.epochs])
        assert curve[-3:].mean() <= factor * curve.min(), f"{name}: best {curve.min():.3g}, end {curve[-3:].mean():.3g}"

    return check


def rises(name: str, factor: float) -> Check:
    """The validation loss of the end is at least ``factor`` times its best, and the training loss fell on."""

    def check(fit: Fit, module: Any) -> None:
        curve, losses = np.asarray([e[name] for e in module.epochs]), np.asarray(module.history)
        assert curve[-3:].mean() >= factor * curve.min(), f"{name}: best {curve.min():.3g}, end {curve[-3:].mean():.3g}"
        assert losses[-len(losses) // 5 :].mean() < 0.6 * losses[: len(losses) // 2].mean()

    return check


def score(module: Any, loader: Any, *, train: bool) -> float:
    """Share of right argmax over a loader, in the given mode; running statistics are put back."""
    kept = {k: v.clone() for k, v in module.state_dict().items()}
    modes = {m: m.training for m in module.modules()}
    module.train(train)
    with torch.no_grad():
        right = torch.cat([(module(x).argmax(-1) == y).float().flatten() for x, y in loader])
    for m, mode in modes.items():
        m.training = mode
    module.load_state_dict(kept)
    return float(right.mean())


def gap(low: float, high: float = np.inf) -> Check:
    """On the training data, accuracy in training mode minus accuracy in evaluation mode lies in this range."""

    def check(fit: Fit, module: Any) -> None:
        difference = score(module, fit.train, train=True) - score(module, fit.train, train=False)
        assert low <= difference <= high, f"accuracy in train mode - in eval mode = {difference:.3f}"

    return check


def honest(name: str, low: float = -np.inf, high: float = np.inf) -> Check:
    """Accuracy in evaluation mode minus the logged one lies in this range."""

    def check(fit: Fit, module: Any) -> None:
        difference = score(module, fit.val, train=False) - float(module.trainer.callback_metrics[name])
        assert low <= difference <= high, f"true accuracy - logged = {difference:.3f}"

    return check


def constant(*names: str, still: bool = True) -> Check:
    """These parameters are trainable and are exactly what they were at the start (or not one is)."""

    def check(fit: Fit, module: Any) -> None:
        now = dict(module.named_parameters())
        for name in names:
            assert now[name].requires_grad
            assert torch.equal(now[name], fit.start[name]) == still, f"{name} moved: {still}"

    return check


def idle_bias(*sites: str) -> Check:
    """Large changes of these biases leave the output in training mode as it is."""

    def check(fit: Fit, module: Any) -> None:
        x = next(iter(fit.train))[0]
        module.train()
        with torch.no_grad():
            before: Tensor = module(x)
            for site in sites:
                module.get_submodule(site).bias.add_(torch.randn_like(module.get_submodule(site).bias))
            after: Tensor = module(x)
        assert torch.allclose(before, after, atol=1e-3), float((before - after).abs().max())

    return check


def unbiased(*sites: str) -> Check:
    """These modules have no bias."""

    def check(fit: Fit, module: Any) -> None:
        assert all(module.get_submodule(s).bias is None for s in sites)

    return check


def training_modes(expected: bool) -> Check:
    """After the fit (training just ended) the network stands in the expected mode."""

    def check(fit: Fit, module: Any) -> None:
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        counted = [int(m.num_batches_tracked) for m in norms if m.num_batches_tracked is not None]
        assert all((c > 0) == expected for c in counted), counted

    return check


def gains(low: float, high: float) -> Check:
    """The mean gain of the LayerNorms lies in this range at the end."""

    def check(fit: Fit, module: Any) -> None:
        found = [float(m.weight.mean()) for m in module.modules() if isinstance(m, nn.LayerNorm)]
        assert low <= float(np.mean(found)) <= high, found

    return check


def leftover(least: float, most: float = np.inf) -> Check:
    """The norm of the gradient that the optimizer got last, over that of one fresh batch, lies in this range."""

    def check(fit: Fit, module: Any) -> None:
        old = float(module.trainer.callback_metrics["grad_norm"])
        module.zero_grad()
        module.objective(next(iter(fit.train))).backward()
        new = float(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]).norm())
        module.zero_grad()
        assert least <= old / new <= most, f"stepped with {old:.3g}, fresh {new:.3g}"

    return check


def reach_over_time(low: float, high: float) -> Check:
    """At the start: gradient of the loss by the first input step over that by the last one."""

    def check(fit: Fit, module: Any) -> None:
        end = {k: v.clone() for k, v in module.state_dict().items()}
        module.load_state_dict(fit.start)
        x, y = next(iter(fit.train))
        x = x.clone().requires_grad_(True)
        nn.functional.cross_entropy(module(x), y).backward()
        module.load_state_dict(end)
        module.zero_grad()
        assert x.grad is not None
        ratio = float(x.grad[:, 0].norm() / x.grad[:, -1].norm())
        assert low <= ratio <= high, f"first/last = {ratio:.3g}"

    return check


def spread(x: Tensor, centres: Sequence[Tensor], radius: float) -> tuple[float, int]:
    """Share of the points within ``radius`` of some centre, and how many centres have at least one percent."""
    distance = torch.cdist(x, torch.stack(list(centres)))
    near, which = distance.min(1)
    hits = torch.bincount(which[near < radius], minlength=len(centres))
    return float((near < radius).float().mean()), int((hits >= 0.01 * len(x)).sum())


def nearest(data: Pair, least: float) -> Check:
    """The label of the nearest training sample, in the space of the features, is right this often."""

    def check(fit: Fit, module: Any) -> None:
        module.eval()
        with torch.no_grad():
            a, b = (nn.functional.normalize(module(s.tensors[0]), dim=1) for s in data)
        found = data[0].tensors[1][(b @ a.T).argmax(1)]
        share = float((found == data[1].tensors[1]).float().mean())
        assert share >= least, f"nearest neighbour right for {share:.3f}"

    return check


def generates(centres: Tensor, radius: float, least: float, modes: int) -> Check:
    """The generator's samples lie near the centres and cover at least so many of them."""

    def check(fit: Fit, module: Any) -> None:
        with torch.no_grad():
            share, found = spread(module(torch.randn(2000, 8)), list(centres), radius)
        assert share >= least and found >= modes, f"{share:.2f} near, {found} modes"

    return check
