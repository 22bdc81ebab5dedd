"""Proofs for the programs that researchers write; no lightning_diag here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .parts import Fit
from .verify import Check, outputs, weights_of_start


def ends(low: float = -float("inf"), high: float = float("inf")) -> Check:
    """The mean of the last two validation losses lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        last = float(np.mean(module.val_losses[-2:]))
        assert low <= last <= high, f"validation loss {last:.4g}"

    return check


def hits(low: float = 0.0, high: float = 1.0) -> Check:
    """The mean of the last two validation accuracies lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        last = float(np.mean(module.val_accuracies[-2:]))
        assert low <= last <= high, f"accuracy {last:.3f}"

    return check


def calm(rise: float = 1.08, flat: float = 0.06) -> Check:
    """All is finite, the validation loss ends near its best, and its last fifth gained little of the whole gain."""

    def check(fit: Fit, module: Any) -> None:
        assert np.isfinite(module.losses).all() and all(p.isfinite().all() for p in module.parameters())
        val = np.asarray(module.val_losses)
        end, best = val[-2:].mean(), val.min()
        assert end - best <= (rise - 1) * max(abs(best), 0.05), f"rose from {best:.3g} to {end:.3g}"
        late = val[-max(len(val) // 5, 2) - 1]
        start = max(val[0], float(np.mean(module.losses[:3])))
        assert late - end <= flat * max(start - best, 1e-9), f"not flat: {start:.3g} .. {late:.3g} -> {end:.3g}"

    return check


def breaks(fit: Fit, module: Any) -> None:
    """The data are finite, the first loss or a later one is not."""
    assert all(torch.isfinite(batch[0].float()).all() for batch in fit.train)
    assert not np.isfinite(module.losses).all(), "all losses are finite"


def nonfinite_of_finite(site: str) -> Check:
    """With the weights of the start the module puts out NaN for some training row, and what goes into it is finite."""

    def check(fit: Fit, module: Any) -> None:
        arrived: list[bool] = []
        with weights_of_start(fit, module):
            part = module.get_submodule(site)
            handle = part.register_forward_pre_hook(lambda m, i: arrived.append(bool(i[0].isfinite().all())))
            found = outputs(fit, module, site, train=True)
            handle.remove()
        assert arrived and all(arrived) and not found.isfinite().all(), (arrived[:3], bool(found.isfinite().all()))
        assert not np.isfinite(module.losses).all()

    return check


def mixes(low: float = 1e-4, high: float = float("inf")) -> Check:
    """At the start, in eval mode, the prediction for row 0 changes by this much when only the other rows change."""

    def check(fit: Fit, module: Any) -> None:
        x = next(iter(fit.train))[0]
        module.eval()
        with weights_of_start(fit, module), torch.no_grad():
            other = x.clone()
            other[1:] = x[1]
            change = float((module.predicted(x)[0] - module.predicted(other)[0]).abs().max())
        assert low <= change <= high, f"changed by {change:.2e}"

    return check


def rates(test: Callable[[np.ndarray], bool]) -> Check:
    """What the optimizer's rate was at every step passes ``test``; the module keeps it in ``rates``."""

    def check(fit: Fit, module: Any) -> None:
        values = np.asarray(module.rates)
        assert test(values), f"{values[0]:.2e} .. {values.max():.2e} .. {values[-1]:.2e}"

    return check


def spread_of(site: str, low: float = 0.0, high: float = float("inf")) -> Check:
    """The deviation over the training rows of what ``site`` puts out, root mean square over its units."""

    def check(fit: Fit, module: Any) -> None:
        deviation = float(outputs(fit, module, site).std(0).pow(2).mean().sqrt())
        assert low <= deviation <= high, f"deviation {deviation:.3g}"

    return check


def distance(weights: dict[str, Tensor], module: Any, prefix: str) -> float:
    """Return how far the parameters of this name moved, relative to their size."""
    now = {n: p.detach() for n, p in module.named_parameters() if n.startswith(prefix)}
    moved = sum(float((p - weights[n]).pow(2).sum()) for n, p in now.items())
    return (moved / sum(float(weights[n].pow(2).sum()) for n in now)) ** 0.5
