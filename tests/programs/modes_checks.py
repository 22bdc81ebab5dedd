"""Independent proof of the faults in modes.py, with plain torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .parts import Fit
from .verify import Check, gradients, outputs, weights_of_start


@contextmanager
def _mode(module: nn.Module, train: bool) -> Iterator[None]:
    """Put the module into a mode for a while; its buffers and the modes of its parts come back afterwards."""
    modes = {m: m.training for m in module.modules()}
    buffers = {n: b.clone() for n, b in module.named_buffers()}
    module.train(train)
    yield
    for n, b in module.named_buffers():
        b.copy_(buffers[n])
    for m, was in modes.items():
        m.training = was


def loss_of(module: Any, loader: Any, *, train: bool) -> float:
    """Return the mean loss over a loader in train or in eval mode."""
    with _mode(module, train), torch.no_grad():
        return float(np.mean([float(module.compute(batch)) for batch in loader]))


def epochs(fit: Fit, values: list[float]) -> np.ndarray:
    """Return the mean of every epoch's validation."""
    count = len(fit.val) if fit.val is not None else 1
    return np.asarray(values[-(len(values) // count) * count :]).reshape(-1, count).mean(1)


def settled(rise: float = 1.06, flat: float = 0.94) -> Check:
    """The validation loss ends within ``rise`` of its best, and its last quarter does not fall below ``flat``."""

    def check(fit: Fit, module: Any) -> None:
        val = epochs(fit, module.val_losses)
        last = val[-max(len(val) // 4, 2) :]
        assert val[-1] <= rise * val.min(), f"validation loss rose {val.min():.3g} -> {val[-1]:.3g}"
        assert last[-1] >= flat * last[0] or last[0] < 0.05, f"still falling {last[0]:.3g} -> {last[-1]:.3g}"

    return check


def accuracy(low: float, high: float = 1.0) -> Check:
    """The mean validation accuracy of the last epoch lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        found = epochs(fit, module.val_accuracies)[-1]
        assert low <= found <= high, f"accuracy {found:.3f}"

    return check


def never_updated(share: float = 0.05) -> Check:
    """No BatchNorm saw more than ``share`` of the training batches in train mode."""

    def check(fit: Fit, module: Any) -> None:
        seen = [int(m.num_batches_tracked) for m in module.modules() if isinstance(m, _BatchNorm)]
        assert seen, "no BatchNorm"
        assert max(seen) <= share * len(module.losses), f"statistics updated {max(seen)} times"

    return check


def left_in_eval(*sites: str) -> Check:
    """After the fit, which puts back the mode that training had before a validation, the parts are in eval mode."""

    def check(fit: Fit, module: Any) -> None:
        assert not any(module.get_submodule(s).training for s in sites)

    return check


def worse_than_regularized(rise: float, train: float) -> Check:
    """The validation loss rises by ``rise`` from its best; the training loss falls below ``train`` of the best."""

    def check(fit: Fit, module: Any) -> None:
        val = epochs(fit, module.val_losses)
        end = float(np.mean(module.losses[-len(module.losses) // 10 :]))
        assert val[-1] > rise * val.min(), f"{val.min():.3g} -> {val[-1]:.3g}"
        assert end < train * val.min(), f"training {end:.3g}, validation {val.min():.3g}"

    return check


def reported_too_bad(factor: float) -> Check:
    """The last reported validation loss is ``factor`` times what the same weights reach in eval mode."""

    def check(fit: Fit, module: Any) -> None:
        reported, right = epochs(fit, module.val_losses)[-1], loss_of(module, fit.val, train=False)
        assert reported > factor * right, f"reported {reported:.3g}, in eval mode {right:.3g}"

    return check


def reported_rightly(fit: Fit, module: Any) -> None:
    """The last reported validation loss is that of eval mode."""
    reported, right = epochs(fit, module.val_losses)[-1], loss_of(module, fit.val, train=False)
    assert abs(reported - right) < 0.02 * right + 1e-3, f"reported {reported:.3g}, in eval mode {right:.3g}"


def eval_worse(factor: float) -> Check:
    """On the training data itself the loss in eval mode is ``factor`` times that in train mode."""

    def check(fit: Fit, module: Any) -> None:
        train, evaluated = (loss_of(module, fit.train, train=mode) for mode in (True, False))
        assert evaluated > factor * train, f"train mode {train:.3g}, eval mode {evaluated:.3g}"

    return check


def tiny_batches(site: str, share: float) -> Check:
    """In train mode at least ``share`` of the normalized values are +1 or -1 times the scale: of a pair, only signs."""

    def check(fit: Fit, module: Any) -> None:
        norm = module.get_submodule(site)
        with _mode(module, True):
            z = (outputs(fit, module, site, train=True) - norm.bias.detach()) / norm.weight.detach()
        found = float(((z.abs() - 1).abs() < 0.1).float().mean())
        assert found > share, f"{found:.2f} of the values are signs"

    return check


def starts_at(low: float, high: float = float("inf")) -> Check:
    """With the weights of the start the loss of the first batch lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module), _mode(module, True), torch.no_grad():
            loss = float(module.compute(next(iter(fit.train))))
        assert low <= loss <= high, f"first loss {loss:.3g}"

    return check


def ends_above(value: float) -> Check:
    """The last validation loss is above ``value``."""

    def check(fit: Fit, module: Any) -> None:
        end = epochs(fit, module.val_losses)[-1]
        assert end > value, f"last validation loss {end:.3g}"

    return check


def ends_below(value: float) -> Check:
    """The last validation loss is below ``value``."""

    def check(fit: Fit, module: Any) -> None:
        end = epochs(fit, module.val_losses)[-1]
        assert end < value, f"last validation loss {end:.3g}"

    return check


def grown(factor: float) -> Check:
    """Some weight matrix has grown by ``factor`` in norm."""

    def check(fit: Fit, module: Any) -> None:
        now = module.state_dict()
        found = max(float(now[n].norm() / w.norm()) for n, w in fit.start.items() if w.ndim > 1)
        assert found > factor, f"grown by {found:.3g}"

    return check


def amplified(first: str, last: str, factor: float) -> Check:
    """At the start the outputs of ``last`` are ``factor`` times those of ``first`` (rms)."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            a, b = (float(outputs(fit, module, s).square().mean().sqrt()) for s in (first, last))
        assert b > factor * a, f"{a:.3g} -> {b:.3g}"

    return check


def same_direction(site: str, cosine: float) -> Check:
    """The codes of different training rows point all the same way: mean cosine above ``cosine``."""

    def check(fit: Fit, module: Any) -> None:
        z = F.normalize(outputs(fit, module, site), dim=1)
        mean = float((z @ z.T).mean())
        assert mean > cosine, f"mean cosine {mean:.4f}"

    return check


def neighbours(low: float, high: float = 1.0) -> Check:
    """The label of the nearest training row in the code is right for a share of the validation rows."""

    def check(fit: Fit, module: Any) -> None:
        def codes(loader: Any) -> tuple[Tensor, Tensor]:
            with _mode(module, False), torch.no_grad():
                pairs = [(module.net(x), y) for x, y in loader]
            return torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs])

        (a, ya), (b, yb) = codes(fit.train), codes(fit.val)
        noise = 0.02 * a.square().mean().sqrt()
        a, b = a + noise * torch.randn_like(a), b + noise * torch.randn_like(b)
        hits = float((ya[torch.cdist(b, a).argmin(1)] == yb).float().mean())
        assert low <= hits <= high, f"nearest neighbour is right for {hits:.2f}"

    return check


def constant(site: str) -> Check:
    """The output is the same for every training row, at the start and at the end."""

    def check(fit: Fit, module: Any) -> None:
        for _ in range(2):
            z = outputs(fit, module, site)
            assert float(z.std(0).max()) < 1e-6, f"spread {float(z.std(0).max()):.2e}"
            module.load_state_dict(fit.start)

    return check


def over_time(x: Tensor, module: Any, *, first: int = 0) -> float:
    """Return the gradient of the loss at the input of step ``first`` over that at the last step (rms)."""
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        module.net(x).square().sum().backward()
    assert x.grad is not None
    steps = x.grad.square().mean((0, 2)).sqrt()
    module.zero_grad()
    return float(steps[first] / steps[-1])


def through_time(low: float, high: float) -> Check:
    """At the start the gradient at the first step is between ``low`` and ``high`` times that at the last step."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            ratio = over_time(next(iter(fit.train))[0], module)
        assert low <= ratio <= high, f"first over last step {ratio:.2e}"

    return check


def no_hidden_gradient(site: str) -> Check:
    """At the start the parameters at ``site`` get no gradient at all."""

    def check(fit: Fit, module: Any) -> None:
        with weights_of_start(fit, module):
            found = [g.abs().max() for n, g in gradients(fit, module).items() if n.startswith(site)]
        assert found, "no such gradient"
        assert float(max(found)) == 0.0, f"gradient {float(max(found)):.2e}"

    return check
