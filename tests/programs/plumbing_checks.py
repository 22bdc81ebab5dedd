"""Proofs for the plumbing programs: scores on the validation set and the state of the wiring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .parts import Fit
from .verify import Check

Score = Callable[[Any, Any], float]


def scored(score: Score, low: float = float("-inf"), high: float = float("inf")) -> Check:
    """The mean score over the validation batches lies between ``low`` and ``high`` (NaN counts as minus infinity)."""

    def check(fit: Fit, module: Any) -> None:
        was = module.training
        module.eval()
        with torch.no_grad():
            values = [score(module, batch) for batch in (fit.val or fit.train)]
        module.train(was)
        value = sum(values) / len(values)
        value = -1e30 if value != value else value
        assert low <= value <= high, f"score {value:.3f} outside {low}..{high}"

    return check


def hits(logits: Tensor, y: Tensor) -> float:
    """Return the share of rows (or positions) whose largest logit is at the class."""
    return float((logits.argmax(-1) == y).float().mean())


def explained(prediction: Tensor, y: Tensor) -> float:
    """Return R squared."""
    return float(1 - (prediction - y).pow(2).mean() / y.var())


def matching(module: nn.Module, prefixes: tuple[str, ...]) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters whose names start with one of the prefixes; there must be some."""
    found = [(n, p) for n, p in module.named_parameters() if n.startswith(prefixes)]
    assert found, f"nothing at {prefixes}"
    yield from found


def constant(*prefixes: str, trainable: bool = True) -> Check:
    """The parameters there are what they were before the first step."""

    def check(fit: Fit, module: Any) -> None:
        for name, p in matching(module, prefixes):
            assert p.requires_grad == trainable, name
            assert torch.equal(p, fit.start[name]), f"{name} moved"

    return check


def backward(fit: Fit, module: Any, inputs: Callable[[Any], Any]) -> None:
    """Leave the gradients of the summed squares of the output on one training batch."""
    module.train()
    module.zero_grad(set_to_none=True)
    module(*inputs(next(iter(fit.train)))).pow(2).sum().backward()


def without_gradient(inputs: Callable[[Any], Any], *prefixes: str) -> Check:
    """The parameters there get no gradient, the others get one."""

    def check(fit: Fit, module: Any) -> None:
        backward(fit, module, inputs)
        for name, p in module.named_parameters():
            assert p.requires_grad
            assert (p.grad is None) == name.startswith(prefixes), name

    return check


def listed(module: Any) -> set[int]:
    """Return the ids of the parameters in the optimizers."""
    return {id(p) for o in module.trainer.optimizers for g in o.param_groups for p in g["params"]}


def unlisted(inputs: Callable[[Any], Any], *prefixes: str) -> Check:
    """The parameters there are in no optimizer though they get gradients; all others are in one."""

    def check(fit: Fit, module: Any) -> None:
        known = listed(module)
        backward(fit, module, inputs)
        for name, p in module.named_parameters():
            assert p.requires_grad and p.grad is not None, name
            assert (id(p) not in known) == name.startswith(prefixes), name

    return check


def wired(fit: Fit, module: Any) -> None:
    """Every trainable parameter is in an optimizer, is finite and has moved."""
    known = listed(module)
    for name, p in module.named_parameters():
        if p.requires_grad:
            assert id(p) in known, f"{name} in no optimizer"
            assert p.isfinite().all(), f"{name} not finite"
            assert not torch.equal(p, fit.start[name]), f"{name} did not move"


def broken(fit: Fit, module: Any) -> None:
    """Some weights are not finite at the end, the data are finite."""
    assert not all(p.isfinite().all() for p in module.parameters())
    for batch in fit.train:
        tensors = batch.values() if isinstance(batch, dict) else batch
        assert all(t.isfinite().all() for t in tensors)


def mixed(expected: bool, tolerance: float = 1e-4) -> Check:
    """Whether the output of the first sample changes with the others of the batch (in eval mode)."""

    def check(fit: Fit, module: Any) -> None:
        module.eval()
        x = next(iter(fit.train))[0]
        other = torch.cat([x[:1], x[1:].flip(0) * 0.5])
        with torch.no_grad():
            change = float((module(x)[0] - module(other)[0]).abs().max())
        assert (change > tolerance) == expected, f"change {change:.2e}"

    return check
