"""Proofs for the questions_*.py programs: what the fitted module answers, on data that it is given anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .parts import Fit
from .verify import Check

Decide = Callable[[Tensor], Tensor]


def largest(output: Tensor) -> Tensor:
    return output.argmax(-1)


def positive(output: Tensor) -> Tensor:
    """A logit above 0."""
    return (output > 0).long().squeeze(-1) if output.shape[-1] == 1 else (output > 0).long()


def answers(fit: Fit, module: Any, *, on: str = "val", train: bool = False) -> tuple[Tensor, Tensor]:
    """Return outputs and targets over the whole training or validation set, in eval mode unless ``train``."""
    was = {m: m.training for m in module.modules()}
    module.train(train)
    with torch.no_grad():
        found = [(module(b[0]), b[-1]) for b in (fit.val if on == "val" else fit.train) or ()]
    for part, mode in was.items():
        part.training = mode
    return torch.cat([o for o, _ in found]), torch.cat([y for _, y in found])


def accuracy(low: float, high: float = 1.0, *, on: str = "val", decide: Decide = largest) -> Check:
    """The share of right answers lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        output, y = answers(fit, module, on=on)
        share = float((decide(output) == y).float().mean())
        assert low <= share <= high, f"accuracy {share:.3f} on {on}"

    return check


def recalled(low: float, high: float, *, decide: Decide = largest) -> Check:
    """The share of the positives that is found lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        output, y = answers(fit, module)
        share = float(decide(output)[y == 1].float().mean())
        assert low <= share <= high, f"recall {share:.3f}"

    return check


def explained(low: float, high: float = 1.0, *, on: str = "val") -> Check:
    """R squared, element by element, lies between ``low`` and ``high`` (NaN counts as minus infinity)."""

    def check(fit: Fit, module: Any) -> None:
        output, y = answers(fit, module, on=on)
        output, y = output.flatten(1).double(), y.reshape(len(y), -1).double()
        share = 1 - float((output - y).pow(2).sum() / (y - y.mean(0)).pow(2).sum())
        share = share if np.isfinite(share) else -np.inf
        assert low <= share <= high, f"R squared {share:.3f} on {on}"

    return check


def outside(low: float, high: float, share: float) -> Check:
    """Every output lies within ``low`` and ``high``, and ``share`` of the training targets do not."""

    def check(fit: Fit, module: Any) -> None:
        output, y = answers(fit, module, on="train")
        assert low - 1e-6 <= float(output.min()) and float(output.max()) <= high + 1e-6, (output.min(), output.max())
        missed = float(((y < low - 0.01) | (y > high + 0.01)).float().mean())
        assert missed >= share, f"{missed:.3f} of the targets out of reach"

    return check


def ended(rest: float = 0.1) -> Check:
    """All losses are finite, the last sixth of them is lower than the one before by ``rest`` of the fall at most."""

    def check(fit: Fit, module: Any) -> None:
        losses = np.asarray(module.losses)
        n = len(losses)
        assert n >= 30 and np.isfinite(losses).all()
        sixth = n // 6
        first, before, last = (
            losses[: max(n // 50, 2)].mean(),
            losses[-2 * sixth : -sixth].mean(),
            losses[-sixth:].mean(),
        )
        assert first > last and before - last <= rest * (first - last), f"{first:.3g}, {before:.3g}, {last:.3g}"

    return check


def still_falling(rest: float) -> Check:
    """The last sixth of the losses is lower than the sixth before by more than ``rest`` of the whole fall."""

    def check(fit: Fit, module: Any) -> None:
        losses = np.asarray(module.losses)
        sixth = len(losses) // 6
        first, before, last = losses[:2].mean(), losses[-2 * sixth : -sixth].mean(), losses[-sixth:].mean()
        assert before - last > rest * (first - last), f"{first:.3g}, {before:.3g}, {last:.3g}"

    return check


def steps(low: int, high: int) -> Check:
    """The number of optimizer steps lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        assert low <= module.trainer.global_step <= high, module.trainer.global_step

    return check


def unmoved(*prefixes: str) -> Check:
    """Parameters of these names, and no others, are what they were before the first step."""

    def check(fit: Fit, module: Any) -> None:
        same = {n for n, p in module.named_parameters() if n in fit.start and torch.equal(p.detach(), fit.start[n])}
        meant = {n for n, _ in module.named_parameters() if n.startswith(prefixes)}
        assert meant and same == meant, (same, meant)

    return check


def shift(low: float, high: float) -> Check:
    """The largest change of a weight matrix, as a share of its norm at the start, lies in between."""

    def check(fit: Fit, module: Any) -> None:
        now = module.state_dict()
        ratios = [float((now[n] - w).norm() / w.norm()) for n, w in fit.start.items() if w.ndim > 1 and w.norm() > 0]
        assert low <= max(ratios) <= high, f"largest relative change {max(ratios):.2e}"

    return check


def columns(*, above: float = 0.0, uneven: float = 0.0) -> Check:
    """Some input column is ``above`` this on average; the spreads of two columns differ ``uneven`` times."""

    def check(fit: Fit, module: Any) -> None:
        x = torch.cat([b[0] for b in fit.train]).double().flatten(1)
        spread = x.std(0)[x.std(0) > 0]
        assert x.mean(0).abs().max() >= above and spread.max() / spread.min() >= max(uneven, 1.0)

    return check


def scored(fit: Fit, module: Any, loss: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Return ``loss`` of outputs and targets over the validation set."""
    return float(loss(*answers(fit, module)))
