"""Checks of this topic; no lightning_diag here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .parts import Fit
from .verify import Check


def score(low: float = -np.inf, high: float = np.inf) -> Check:
    """The last validation score (mean of the last two) lies between."""

    def check(fit: Fit, module: Any) -> None:
        last = float(np.mean(module.scores[-2:]))
        assert low <= last <= high, f"score {last:.3f}"

    return check


def loss(low: float = -np.inf, high: float = np.inf) -> Check:
    """The mean training loss of the last tenth lies between."""

    def check(fit: Fit, module: Any) -> None:
        last = float(np.mean(module.losses[-max(len(module.losses) // 10, 3) :]))
        assert low <= last <= high, f"loss {last:.3g}"

    return check


def val_loss(low: float = -np.inf, high: float = np.inf) -> Check:
    """The last validation loss lies between."""

    def check(fit: Fit, module: Any) -> None:
        assert low <= module.val_losses[-1] <= high, f"validation loss {module.val_losses[-1]:.3g}"

    return check


def gap(most: float) -> Check:
    """The last validation loss exceeds its best by at most the factor (``most`` for losses above zero)."""

    def check(fit: Fit, module: Any) -> None:
        best, last = min(module.val_losses), module.val_losses[-1]
        assert last - best <= (most - 1) * abs(best), f"{best:.3g} -> {last:.3g}"

    return check


def steps(low: int, high: int = 1500) -> Check:
    """So many batches were trained on."""

    def check(fit: Fit, module: Any) -> None:
        assert low <= len(module.losses) <= high, f"{len(module.losses)} steps"

    return check


def updates(low: int, high: int) -> Check:
    """So many optimizer steps were taken."""

    def check(fit: Fit, module: Any) -> None:
        assert low <= module.trainer.global_step <= high, f"{module.trainer.global_step} updates"

    return check


def rate(low: float = 0.0, high: float = np.inf, *, at: float = 1.0) -> Check:
    """The learning rate at the share ``at`` of the training lies between."""

    def check(fit: Fit, module: Any) -> None:
        now = module.rates[min(int(at * len(module.rates)), len(module.rates) - 1)]
        assert low <= now <= high, f"learning rate {now:.2e}"

    return check


def shifted(prefix: str, low: float = 0.0, high: float = np.inf) -> Check:
    """The weights below ``prefix`` ended so far from their start, relative to the start (largest of them)."""

    def check(fit: Fit, module: Any) -> None:
        now = module.state_dict()
        names = [n for n, w in fit.start.items() if n.startswith(prefix) and w.ndim > 1]
        far = max(float((now[n] - fit.start[n]).norm() / fit.start[n].norm()) for n in names)
        assert low <= far <= high, f"{prefix} moved by {far:.3g}"

    return check


def rising(factor: float) -> Check:
    """The loss of the last tenth is above ``factor`` times that of the first tenth, or not finite."""

    def check(fit: Fit, module: Any) -> None:
        losses = np.asarray(module.losses)
        n = max(len(losses) // 10, 3)
        assert not losses[-n:].mean() <= factor * losses[:n].mean(), f"{losses[:n].mean():.3g} {losses[-n:].mean():.3g}"

    return check


def swings(factor: float, times: int, *, width: int = 5) -> Check:
    """The smoothed loss rose at least ``times`` times to ``factor`` of the low before, and came down again."""

    def check(fit: Fit, module: Any) -> None:
        smooth = np.convolve(module.losses, np.ones(width) / width, "valid")
        count, low, high, up = 0, smooth[0], smooth[0], False
        for value in smooth:
            low, high = min(low, value), max(high, value)
            if not up and value > factor * low:
                count, up, high = count + 1, True, value
            elif up and value < high / factor:
                up, low = False, value
        assert count >= times, f"{count} swings"

    return check


def calm(factor: float, times: int) -> Check:
    """The loss does not swing so often."""

    def check(fit: Fit, module: Any) -> None:
        try:
            swings(factor, times)(fit, module)
        except AssertionError:
            return
        raise AssertionError("the loss swings")

    return check


def untouched(prefix: str) -> Check:
    """No weight below ``prefix`` changed."""

    def check(fit: Fit, module: Any) -> None:
        now = module.state_dict()
        assert all(torch.equal(now[n], w) for n, w in fit.start.items() if n.startswith(prefix))

    return check


def improving(share: float) -> Check:
    """The validation loss still fell by ``share`` over the last two epochs."""

    def check(fit: Fit, module: Any) -> None:
        before, last = module.val_losses[-3], module.val_losses[-1]
        assert last < (1 - share) * before, f"{before:.3g} -> {last:.3g}"

    return check


def mean_picture(share: float) -> Check:
    """The score, an error per pixel, is at least ``share`` of that of the mean picture."""

    def check(fit: Fit, module: Any) -> None:
        pixels = torch.cat([batch[0] for batch in fit.train])
        error, mean = module.scores[-1], float((pixels - pixels.mean(0)).pow(2).mean())
        assert error >= share * mean, f"{error:.4f} against {mean:.4f}"

    return check
