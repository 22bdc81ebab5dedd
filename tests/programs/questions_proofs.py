"""Proofs for the questions_*.py programs: what is wired, initialized and put out, looked at directly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .parts import Fit
from .questions_checks import answers, scored
from .verify import weights_of_start


def piled_up(fit: Fit, module: Any) -> None:
    """What the last steps were made with is many times the gradient of any batch."""
    module.zero_grad()
    x, y = next(iter(fit.train))
    module.criterion(module(x), y).backward()
    now = sum(float(p.grad.norm()) for p in module.parameters() if p.grad is not None)
    module.zero_grad()
    assert max(module.used[-50:]) > 4 * now, (max(module.used[-50:]), now)


def nothing_held(fit: Fit, module: Any) -> None:
    """The optimizer holds no parameter of the module, and none has moved."""
    held = {id(p) for group in module.trainer.optimizers[0].param_groups for p in group["params"]}
    assert held and not any(id(p) in held for p in module.parameters())
    assert all(torch.equal(p.detach(), fit.start[n]) for n, p in module.named_parameters())


def not_registered(fit: Fit, module: Any) -> None:
    """The experts have parameters, and the module does not know them."""
    known = {id(p) for p in module.parameters()}
    experts = [p for expert in module.model.experts for p in expert.parameters()]
    assert len(experts) == 16 and not any(id(p) in known for p in experts)


def untouched_statistics(fit: Fit, module: Any) -> None:
    """No BatchNorm has ever seen a batch in training mode."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d)]
    assert norms and all(int(m.num_batches_tracked) == 0 for m in norms)


def faded(first: str, last: str, ratio: float) -> Any:
    """At the start the gradient of ``first`` is below ``ratio`` of that of ``last``."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            module.zero_grad()
            x, y = next(iter(fit.train))
            module.criterion(module(x), y).backward()
            norms = {n: float(p.grad.norm()) for n, p in module.named_parameters() if p.grad is not None}
            module.zero_grad()
        assert norms[first] < ratio * norms[last], (norms[first], norms[last])

    return check


def far_from_chance(factor: float) -> Any:
    """The first loss is ``factor`` times that of equal probabilities."""

    def check(fit: Fit, module: Any) -> None:
        assert module.losses[0] > factor * np.log(10), module.losses[0]

    return check


def affine(fit: Fit, module: Any) -> None:
    """In eval mode the mean of two outputs is the output of the mean."""
    module.eval()
    a, b = torch.randn(64, 5), torch.randn(64, 5)
    with torch.no_grad():
        assert torch.allclose((module(a) + module(b)) / 2, module((a + b) / 2), atol=1e-4)


def silent_classes(fit: Fit, module: Any) -> None:
    """Some class has the score 0 on every training image, so that nothing can bring it back."""
    output, _ = answers(fit, module, on="train")
    silent = (output <= 0).all(0)
    assert silent.any() and (output[:, silent] == 0).all(), output.amax(0)


def below_zero(fit: Fit, module: Any) -> None:
    """The binary cross-entropy has become negative, which it cannot against 0 and 1; class 1 is never separated."""
    assert min(module.losses[-20:]) < 0 and float(answers(fit, module, on="train")[1].max()) == 2


def bounded(fit: Fit, module: Any) -> None:
    """What the loss takes for log-probabilities are probabilities."""
    output, _ = answers(fit, module)
    assert torch.allclose(output.sum(1), torch.ones(len(output)), atol=1e-5) and min(module.losses) >= -1


def mixed(fit: Fit, module: Any) -> None:
    """A row's output depends on the other rows of its batch; a row alone gets the same answer whatever it is."""
    x = next(iter(fit.train))[0]
    whole, single = module(x), torch.cat([module(row[None]) for row in x])
    assert (whole.exp().sum(1) - 1).abs().mean() > 0.1 and not torch.allclose(whole, single, atol=0.1)
    assert (single == 0).all()


def never_no(fit: Fit, module: Any) -> None:
    """The logits lie between 0 and 1, so that nothing is ever denied."""
    output, _ = answers(fit, module)
    assert output.min() >= 0 and output.max() <= 1


def all_pairs(fit: Fit, module: Any) -> None:
    """Output minus target has N x N elements, and the output hardly depends on the input."""
    x, y = next(iter(fit.train))
    output = module(x)
    assert (output - y).numel() == len(x) ** 2 and output.std() < 0.2 * y.std(), output.std() / y.std()


def diverged(fit: Fit, module: Any) -> None:
    """The loss is negative without bound, the reconstruction worse than that of the mean image."""
    y = torch.cat([b[1] for b in fit.train])
    mean = float(F.binary_cross_entropy(y.mean(0).expand_as(y), y))
    found = scored(fit, module, F.binary_cross_entropy_with_logits)
    assert not np.mean(module.losses[-10:]) > -100 and not found < mean, (module.losses[-1], found, mean)


def reconstructs(fit: Fit, module: Any) -> None:
    """The reconstruction is clearly better than that of the mean image."""
    y = torch.cat([b[1] for b in fit.train])
    mean = float(F.binary_cross_entropy(y.mean(0).expand_as(y), y))
    assert scored(fit, module, F.binary_cross_entropy_with_logits) < 0.9 * mean


def beats(ratio: float) -> Any:
    """The losses are finite, and the last of them fall below ``ratio`` of the first (of their size below it)."""

    def check(fit: Fit, module: Any) -> None:
        losses = np.asarray(module.losses)
        first, last = losses[:3].mean(), losses[-len(losses) // 6 :].mean()
        assert np.isfinite(losses).all() and last < first - (1 - ratio) * abs(first), (first, last)

    return check


def stays(fit: Fit, module: Any) -> None:
    """The loss is low from the first step to the last."""
    losses = np.asarray(module.losses)
    assert losses[:10].mean() < 0.15 and losses[-10:].mean() < 0.15, (losses[:10].mean(), losses[-10:].mean())


def apart(fit: Fit, module: Any) -> None:
    """The vectors of words of one topic are more alike than those of two."""
    vectors = F.normalize(module.model.weight[2:].detach(), dim=1)
    alike = vectors @ vectors.T
    same = torch.arange(120)[:, None] // 30 == torch.arange(120) // 30
    assert alike[same].mean() > alike[~same].mean() + 0.15, (alike[same].mean(), alike[~same].mean())


def better_than_mean(fit: Fit, module: Any) -> None:
    """The squared error is less than half of that of the mean image, on validation."""
    output, y = answers(fit, module)
    assert (output - y).pow(2).mean() < 0.5 * (y - y.mean(0)).pow(2).mean()
