"""Modules in the wrong mode, shared by module-in-eval-mode and module-in-train-mode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lightning_diag.records import Floats, History
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.seen import wiring

SHIFT, SPREAD = 0.5, float(np.log(2.0))  # a mean off by half a deviation; a variance off by a factor of 2


def in_wrong_mode(history: History, stage: str) -> tuple[dict[str, int], int]:
    """Return (module -> samples or validation runs in the wrong mode, samples or runs looked at).

    Raises:
        Unmeasured: nothing was looked at.
    """
    modes = history.run.get("modes")
    seen: Mapping[str, int] = modes.get(stage, {}) if isinstance(modes, dict) else {}
    if not seen.get(""):
        what = {"train": "no training step was sampled", "validate": "no validation ran"}[stage]
        raise Unmeasured(f"{what}, or the history is of an older version without the modes of modules")
    return {name: n for name, n in seen.items() if name}, int(seen[""])


def is_norm(history: History, site: str) -> bool:
    """Tell whether a module normalizes by batch (all others whose mode matters are dropouts)."""
    norms = wiring(history).get("norms", {})
    layer = history.layer(site)
    return site in norms or (layer is not None and "norm" in layer.type.lower())


def at_rest(history: History, site: str) -> bool:
    """Tell whether a module is part of something that is not trained: a frozen backbone, a teacher.

    So it is if the smallest module around it that has parameters has none that an optimizer holds.
    """
    parameters = wiring(history).get("parameters", {})
    parts = site.split(".")
    for depth in range(len(parts), 0, -1):
        prefix = ".".join(parts[:depth]) + "."
        inside = [known for name, known in parameters.items() if name.startswith(prefix)]
        if inside:
            return not any(trainable and owner >= 0 for _, trainable, owner in inside)
    return False


def misfit(history: History, site: str) -> tuple[Floats, Floats, Floats]:
    """Return (steps, mean gap, log variance ratio) of a BatchNorm: running statistics against those of batches."""
    gap, ratio = history.table("norm/mean_gap"), history.table("norm/log_variance_ratio")
    if site not in gap.sites or site not in ratio.sites:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    a, b = gap.matrix[:, gap.sites.index(site)], ratio.matrix[:, ratio.sites.index(site)]
    known = np.isfinite(a) & np.isfinite(b)
    return gap.steps[known].astype(np.float64), a[known], b[known]


def batch_values(history: History, site: str) -> float:
    """Return how many values a channel of a BatchNorm usually has in a batch, NaN where it was not seen."""
    table = history.table("norm/values")
    column = table.matrix[:, table.sites.index(site)] if site in table.sites else np.zeros(0)
    column = column[np.isfinite(column)]
    return float(np.median(column)) if len(column) else float("nan")


def expected_gap(history: History, site: str) -> float:
    """Return the mean gap that independent samples in a batch alone make: 1 / sqrt(samples), at most 1."""
    values = batch_values(history, site)
    samples = float(history.run.get("batch_size") or values)
    n = min(samples, values) if np.isfinite(values) else samples
    return float(1 / np.sqrt(n)) if n >= 1 else 1.0


def fits(history: History, site: str) -> bool:
    """Tell whether the running statistics of a BatchNorm are those of its batches, as far as was seen.

    So it is where, in the median of the last samples, the mean is off by less than half a deviation beyond the noise
    of a batch, and the variance by less than a factor of 2.
    """
    _, gap, ratio = misfit(history, site)
    if not len(gap):
        return True
    late = slice(-max(3, len(gap) // 3), None)
    noise = expected_gap(history, site)
    return bool(np.median(gap[late]) < SHIFT + noise and abs(np.median(ratio[late])) < SPREAD + noise)
