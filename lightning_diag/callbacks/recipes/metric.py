"""Which metric to watch, and whether less or more of it is better."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from lightning_diag.recipe import Mode

_MORE: Final = re.compile(r"acc|auc|auroc|f1|precision|recall|score|iou|dice|bleu|psnr|ssim|r2|map\b|top\d")


def direction(metric: str) -> Mode:
    """Return "max" for accuracies and scores, by their name, else "min".

    Example:
        >>> direction("val_acc"), direction("val/loss")
        ('max', 'min')
    """
    return "max" if _MORE.search(metric.lower()) and "loss" not in metric.lower() else "min"


def chosen_loss(logged: Collection[str], before: Collection[str]) -> str | None:
    """Return the validation loss among the logged metrics: val_loss, or the only one with "loss" in its name.

    Args:
        logged: names after a validation.
        before: names that were there when it began.

    Returns:
        Its name, None where there is none or several could be meant.

    Example:
        >>> chosen_loss(["train_loss", "valid/loss", "valid/acc"], ["train_loss"])
        'valid/loss'
    """
    if "val_loss" in logged:
        return "val_loss"
    losses = [n for n in logged if "loss" in n.lower() and "train" not in n.lower()]
    new = [n for n in losses if n not in before] or losses
    return new[0] if len(new) == 1 else None
