"""Proof of the faults in losses.py, from the outputs, targets and losses alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .parts import Fit
from .verify import Check, weights_of_start


def answers(fit: Fit, module: Any, *, train: bool = False) -> tuple[Tensor, Tensor]:
    """Return the outputs (in eval mode) and the targets of the whole validation (or training) set."""
    was = module.training
    module.eval()
    found: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for batch in fit.train if train else fit.val or ():
            x, y = batch.values() if isinstance(batch, dict) else batch
            found.append((module(x), y))
    module.train(was)
    outputs, targets = zip(*found, strict=True)
    return torch.cat(outputs), torch.cat(targets)


def within(low: float, high: float) -> Check:
    """All outputs are between ``low`` and ``high`` before the first step and after the last."""

    def check(fit: Fit, module: Any) -> None:
        for train in (True, False):
            output = answers(fit, module, train=train)[0]
            with weights_of_start(fit, module):
                output = torch.cat([output, answers(fit, module, train=train)[0]])
            assert low <= float(output.min()) <= float(output.max()) <= high, f"{output.min():.3g}, {output.max():.3g}"

    return check


def never_below(floor: float) -> Check:
    """No training or validation loss was ever below ``floor``, which the output's range makes its least."""

    def check(fit: Fit, module: Any) -> None:
        least = min(module.losses + module.val_losses)
        assert least >= floor, f"least loss {least:.3g}"

    return check


def unsure(most: float) -> Check:
    """No class has a probability above ``most`` after the training."""

    def check(fit: Fit, module: Any) -> None:
        highest = float(answers(fit, module)[0].softmax(1).max())
        assert highest <= most, f"{highest:.2f}"

    return check


def no_probability_below_half(fit: Fit, module: Any) -> None:
    """What the loss takes for a probability, the sigmoid of the output, is above a half for rows of both classes."""
    output, y = answers(fit, module)
    probability = torch.sigmoid(output)
    assert (probability >= 0.5).all() and set(y.tolist()) == {0, 1}, f"{probability.min():.3g}"


def without_bound(limit: float) -> Check:
    """The outputs are no log-probabilities, and the loss, which cannot be negative for such, falls below ``-limit``."""

    def check(fit: Fit, module: Any) -> None:
        for output in (answers(fit, module)[0], _start(fit, module)[0]):
            assert output.logsumexp(1).abs().mean() > 0.5, "log-probabilities"
        assert module.losses[-1] < -limit, f"loss {module.losses[-1]:.3g}"

    return check


def sharper(divergence: float) -> Check:
    """Probabilities and a negative loss: nearly all is on one class, the true divergence is above ``divergence``."""

    def check(fit: Fit, module: Any) -> None:
        p, teacher = answers(fit, module)
        assert torch.allclose(p.sum(1), torch.ones(len(p)), atol=1e-4) and (p >= 0).all()
        assert p.max(1).values.mean() > 0.9 and teacher.max(1).values.mean() < 0.75, (
            f"{p.max(1).values.mean():.2f}, teacher {teacher.max(1).values.mean():.2f}"
        )
        true = float(F.kl_div(p.clamp(min=1e-12).log(), teacher, reduction="batchmean"))
        assert max(module.losses) < 0 and true > divergence, f"divergence {true:.3g}"

    return check


def falls_short(low: float, high: float, share: float) -> Check:
    """The outputs stay between ``low`` and ``high``, but at least ``share`` of the training targets lies beyond."""

    def check(fit: Fit, module: Any) -> None:
        within(low, high)(fit, module)
        output, y = answers(fit, module, train=True)
        beyond = float(((y < low) | (y > high)).float().mean())
        assert beyond >= share, f"{beyond:.2f} beyond"
        assert output.std() > 0.1, "a constant output"

    return check


def _explained(fit: Fit, module: Any) -> float:
    output, y = answers(fit, module)
    error = (output.reshape(-1) - y.reshape(-1)).square().mean()
    return float(1 - error / y.var(unbiased=False))


def explains(share: float) -> Check:
    """The variance explained on the validation set is at least ``share``."""

    def check(fit: Fit, module: Any) -> None:
        found = _explained(fit, module)
        assert found >= share, f"{found:.3f} explained"

    return check


def explains_little(share: float) -> Check:
    """The variance explained on the validation set is below ``share``."""

    def check(fit: Fit, module: Any) -> None:
        found = _explained(fit, module)
        assert found < share, f"{found:.3f} explained"

    return check


def numbers_for_classes(fit: Fit, module: Any) -> None:
    """One output for more than two classes; the loss of the whole set is its squared distance to their indices."""
    output, y = answers(fit, module)
    assert output.shape == (len(y), 1) and y.dtype == torch.int64 and len(y.unique()) > 2
    distance = float((output[:, 0] - y).square().mean())
    assert abs(distance / module.val_losses[-1] - 1) < 1e-3, f"{distance:.3g}, logged {module.val_losses[-1]:.3g}"


def not_single_labels(share: float) -> Check:
    """At least ``share`` of the rows has none or several labels; the loss is minus the sum of their log-softmax."""

    def check(fit: Fit, module: Any) -> None:
        logits, y = answers(fit, module)
        other = float((y.sum(1) != 1).float().mean())
        assert other >= share, f"{other:.2f} of the rows"
        loss = float(-(logits.log_softmax(1) * y).sum(1).mean())
        assert abs(loss / module.val_losses[-1] - 1) < 1e-3, f"{loss:.3g}, logged {module.val_losses[-1]:.3g}"

    return check


def broadcasts(fit: Fit, module: Any) -> None:
    """Outputs minus targets make a matrix, and the outputs spread less than a quarter as wide as the targets."""
    output, y = answers(fit, module)
    assert (output - y).shape == (len(y), len(y)), f"{(output - y).shape}"
    assert output.std() < 0.25 * y.std(), f"spread {output.std() / y.std():.2f}"


def sums(fit: Fit, module: Any) -> None:
    """At the start, the loss of a whole batch is the sum of the losses of its halves."""
    was = module.training
    module.eval()
    with weights_of_start(fit, module), torch.no_grad():
        x, y = next(iter(fit.train))
        half = len(x) // 2
        parts = module.compute([x[:half], y[:half]]) + module.compute([x[half:], y[half:]])
        whole = module.compute([x, y])
    module.train(was)
    assert half > 1 and torch.isclose(whole, parts, rtol=1e-3), f"{whole:.3g}, halves {parts:.3g}"


def collapsed(fit: Fit, module: Any) -> None:
    """The output is the same for every sample, before the first step and after the last; nothing moved."""
    for output in (answers(fit, module, train=True)[0], _start(fit, module)[0]):
        assert float(output.max() - output.min()) < 1e-6
    assert all(torch.equal(module.state_dict()[name], w) for name, w in fit.start.items())


def maximizes(proper: Callable[[Tensor, Tensor], Tensor]) -> Check:
    """The loss fell, yet the ``proper`` loss of the validation set is greater after the training than before."""

    def check(fit: Fit, module: Any) -> None:
        start, end = (float(proper(*found)) for found in (_start(fit, module), answers(fit, module)))
        assert end > 1.2 * start, f"{start:.3g} -> {end:.3g}"
        assert np.mean(module.losses[-10:]) < np.mean(module.losses[:3])

    return check


def _start(fit: Fit, module: Any) -> tuple[Tensor, Tensor]:
    with weights_of_start(fit, module):
        return answers(fit, module)


def settled(fit: Fit, module: Any) -> None:
    """The validation loss ends within 5 % of its least and of what it was an eighth of the training before."""
    val = np.asarray(module.val_losses)
    before = val[-1 - max(len(val) // 8, 1)]
    assert val[-1] <= 1.05 * val.min(), f"{val.min():.3g} -> {val[-1]:.3g}"
    assert abs(before - val[-1]) <= 0.05 * val[-1], f"still {before:.3g} -> {val[-1]:.3g}"
