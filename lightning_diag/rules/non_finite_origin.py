"""Where a NaN or Inf came from: shared by the three non-finite rules."""

from __future__ import annotations

import numpy as np

from lightning_diag.findings import Prescription
from lightning_diag.records import History
from lightning_diag.rules.phase import pick

LOWER_RATE = Prescription(
    "Lower the learning rate by a factor of 10, or warm it up over the first few hundred steps.",
    {"lr": "x0.1", "warmup": 500},
)
CLIP = Prescription("Clip gradients: Trainer(gradient_clip_val=1.0).", {"gradient_clip_val": 1.0})
FULL_PRECISION = Prescription(
    "Use Trainer(precision='bf16-mixed') or 32-bit in place of fp16.", {"precision": "32-true"}
)
GUARD = Prescription(
    "Guard the operation that can leave its domain: log(x + 1e-8), sqrt(x + 1e-8), x / (y + 1e-8); pass logits to "
    "cross_entropy and binary_cross_entropy_with_logits in place of log(softmax(x)) and log(sigmoid(x))."
)
CHECK_DATA = Prescription(
    "Check the input: assert torch.isfinite(x).all() in the dataset; remove or fill missing values and standardize."
)


def last_good_sample(history: History, step: int) -> int:
    """Return the last sampled step before ``step``, -1 if there is none."""
    before = history.steps[history.steps < step]
    return int(before[-1]) if len(before) else -1


def interval(history: History, step: int) -> str:
    """Say between which steps the origin lies and how to catch it; "" if this step and the one before were sampled."""
    good = last_good_sample(history, step)
    if good >= step - 1 and (step in history.steps or not len(history.steps)):
        return ""
    since = "the start" if good < 0 else f"step {good}, the last one sampled before,"
    return (
        f" The origin lies between {since} and step {step}; to catch it, run again with the same seed "
        "(seed_everything) and Diagnostics(every_n_steps=1)."
    )


def grew(history: History, step: int) -> bool:
    """Tell whether the loss grew without bound before a step: then the steps were too long, whatever broke."""
    loss = history.series("loss")
    before = loss.values[loss.steps < step]
    before = before[np.isfinite(before)]
    return len(before) >= 2 and bool(before[-1] > 2 * abs(float(np.median(before))))


def broken_parameters(history: History, names: tuple[str, ...], step: int) -> tuple[str, ...]:
    """Return which of these parameters held non-finite values at a sampled step."""
    if not names or not len(history.table("parameter/nonfinite")):
        return ()
    counts = pick(history, "parameter/nonfinite", names, np.array([step]))[0]
    return tuple(n for n, c in zip(names, counts, strict=True) if c > 0)
