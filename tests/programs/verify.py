"""Independent proof that a program has its fault, or that it trains well; no lightning_diag here.

Every function returns a check ``(fit, trained module) -> None`` that raises AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from .parts import Fit

Check = Callable[[Fit, Any], None]


@contextmanager
def weights_of_start(fit: Fit, module: L.LightningModule) -> Iterator[None]:
    """Put the weights of before the first step into the module for a while."""
    end = {k: v.detach().clone() for k, v in module.state_dict().items()}
    module.load_state_dict(fit.start)
    try:
        yield
    finally:
        module.load_state_dict(end)


def outputs(fit: Fit, module: Any, site: str, *, train: bool = False) -> Tensor:
    """Return what the module at ``site`` puts out over the whole training set, units last."""
    seen: list[Tensor] = []
    handle = module.get_submodule(site).register_forward_hook(lambda m, i, o: seen.append(o.detach().clone()))
    was = module.training
    module.train(train)
    with torch.no_grad():
        for batch in fit.train:
            module.compute(batch)
    handle.remove()
    module.train(was)
    whole = torch.cat(seen)
    return whole.movedim(1, -1).flatten(0, -2) if whole.ndim > 2 else whole


def gradients(fit: Fit, module: Any) -> dict[str, Tensor]:
    """Return the gradients of the first training batch at the present weights."""
    module.zero_grad()
    module.train()
    module.compute(next(iter(fit.train))).backward()
    found = {n: p.grad.detach().clone() for n, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    return found


def _rms(x: Tensor) -> float:
    return float(x.detach().double().pow(2).mean().sqrt())


def relative(fit: Fit, module: Any) -> dict[str, float]:
    """Return rms of gradient over rms of weight for the weight matrices, in order of definition."""
    grads = gradients(fit, module)
    return {n: _rms(grads[n]) / max(_rms(p), 1e-30) for n, p in module.named_parameters() if p.ndim > 1 and n in grads}


def dead(*sites: str, share: float, at_start: bool) -> Check:
    """``share`` of the units of one of the ReLUs are zero on every training example at the end (and at the start)."""

    def largest(fit: Fit, module: Any) -> float:
        assert all(isinstance(module.get_submodule(s), nn.ReLU) for s in sites)
        return max(float((outputs(fit, module, s) <= 0).all(0).float().mean()) for s in sites)

    def check(fit: Fit, module: Any) -> None:
        end = largest(fit, module)
        with weights_of_start(fit, module):
            start = largest(fit, module)
        assert end >= share, f"{sites}: {end:.2f} of the units dead at the end"
        assert (start >= share) == at_start, f"{sites}: {start:.2f} dead at the start"

    return check


def saturated(site: str, share: float, *, at_start: bool = True) -> Check:
    """At least ``share`` of the outputs of a sigmoid or tanh have a derivative below 5 % of its maximum."""

    def derivative(module: Any, y: Tensor) -> Tensor:
        kind = module.get_submodule(site)
        return 1 - y**2 if isinstance(kind, nn.Tanh) else 4 * y * (1 - y)

    def check(fit: Fit, module: Any) -> None:
        end = (derivative(module, outputs(fit, module, site)) < 0.05).float().mean()
        with weights_of_start(fit, module):
            start = (derivative(module, outputs(fit, module, site)) < 0.05).float().mean()
        assert (start if at_start else end) >= share, f"{site}: {start:.2f} saturated at the start, {end:.2f} after"

    return check


def nonfinite_output(site: str) -> Check:
    """With the weights of the start the module puts out NaN or Inf on some training example; the inputs are finite."""

    def check(fit: Fit, module: Any) -> None:
        assert all(torch.isfinite(batch[0]).all() for batch in fit.train)
        with weights_of_start(fit, module):
            assert not torch.isfinite(outputs(fit, module, site, train=True)).all()
        assert not np.isfinite(module.losses).all()

    return check


def nonfinite_gradient(*names: str) -> Check:
    """At the start the loss is finite on every batch, the gradient of some parameter is not on one of them."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            module.train()
            bad: set[str] = set()
            for batch in fit.train:
                module.zero_grad()
                loss = module.compute(batch)
                assert torch.isfinite(loss)
                loss.backward()
                bad |= {n for n, p in module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()}
            module.zero_grad()
        assert bad, "all gradients are finite"
        assert all(any(b.startswith(n) for b in bad) for n in names), f"{names} not in {bad}"
        assert not all(p.isfinite().all() for p in module.parameters()), "the weights survived"

    return check


def nonfinite_loss(fit: Fit, module: Any) -> None:
    """The loss became NaN or Inf while the first non-finite one came of finite network outputs."""
    assert not np.isfinite(module.losses).all()
    with weights_of_start(fit, module), torch.no_grad():
        assert torch.isfinite(outputs(fit, module, "net")).all()


def vanishing(ratio: float) -> Check:
    """At the start the gradient of the first weight is below ``ratio`` of that of the last bias (rms by rms)."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            found = gradients(fit, module)
        first, last = _rms(next(iter(found.values()))), _rms(list(found.values())[-1])
        assert first < ratio * last, f"first weight {first:.2e}, last bias {last:.2e}"

    return check


def exploding(value: float) -> Check:
    """At the start some weight's gradient is more than ``value`` times the weight (rms by rms)."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            largest = max(relative(fit, module).values())
        assert largest > value, f"largest relative gradient {largest:.2e}"

    return check


def moved(low: float, high: float) -> Check:
    """The weights moved by between ``low`` and ``high`` of their own rms over the whole training."""

    def check(fit: Fit, module: Any) -> None:
        now = module.state_dict()
        ratios = [_rms(now[n] - w) / _rms(w) for n, w in fit.start.items() if w.ndim > 1 and _rms(w) > 0]
        assert low <= max(ratios) <= high, f"largest relative movement {max(ratios):.2e}"

    return check


def stuck(ratio: float = 0.9) -> Check:
    """The loss of the last fifth is not below ``ratio`` of the loss of the first tenth."""

    def check(fit: Fit, module: Any) -> None:
        losses = np.asarray(module.losses)
        n = len(losses)
        first, last = losses[: max(n // 10, 3)].mean(), losses[-max(n // 5, 3) :].mean()
        assert not last < ratio * first, f"{first:.3g} -> {last:.3g}"

    return check


def fails(accuracy: float) -> Check:
    """The last validation accuracy is below ``accuracy``."""

    def check(fit: Fit, module: Any) -> None:
        assert module.val_accuracies[-1] < accuracy, f"accuracy {module.val_accuracies[-1]:.3f}"

    return check


def overfits(factor: float) -> Check:
    """Validation loss at the end is ``factor`` times its best, while the training loss fell on."""

    def check(fit: Fit, module: Any) -> None:
        val, train = np.asarray(module.val_losses), np.asarray(module.losses)
        assert val[-3:].mean() > factor * val.min(), f"{val.min():.3g} -> {val[-3:].mean():.3g}"
        assert train[-len(train) // 5 :].mean() < 0.8 * train[: len(train) // 2].mean()

    return check


def learns(ratio: float = 0.7, *, accuracy: float = 0.0, first_share: float = 0.02) -> Check:
    """The loss falls by ``1 - ratio`` (of its size), stays finite, and the last validation accuracy is good."""

    def check(fit: Fit, module: Any) -> None:
        losses = np.asarray(module.losses)
        assert np.isfinite(losses).all()
        n = len(losses)
        first, last = losses[: max(int(first_share * n), 2)].mean(), losses[-max(n // 5, 3) :].mean()
        assert last - first < (ratio - 1) * abs(first), f"{first:.3g} -> {last:.3g}"
        if accuracy:
            assert module.val_accuracies[-1] >= accuracy, f"accuracy {module.val_accuracies[-1]:.3f}"
        assert all(p.isfinite().all() for p in module.parameters())

    return check


def every(*checks: Check) -> Check:
    """All of the checks."""

    def check(fit: Fit, module: Any) -> None:
        for one in checks:
            one(fit, module)

    return check
