"""Where biases start: zero, small and positive for rectifiers, at the class prior in the output layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from lightning_diag.initializers.gains import RECTIFIERS
from lightning_diag.initializers.parts import bias_names, forget_rows
from lightning_diag.initializers.plans import excluded
from lightning_diag.initializers.surroundings import Surroundings
from lightning_diag.initializers.words import unknown

BiasChoice = Literal["zeros", "small_positive", "prior", "keep"] | float | None
BIASES: Final = ("zeros", "small_positive", "prior", "keep")
SMALL_POSITIVE: Final = 0.01


def check_bias(bias: object) -> None:
    """Raise if a choice of bias is none of ``BIASES``, no finite number and not None."""
    if bias is None or bias in BIASES:
        return
    if isinstance(bias, str):
        raise unknown("bias", bias, BIASES)
    if isinstance(bias, bool) or not isinstance(bias, (int, float)) or not math.isfinite(bias):
        raise TypeError(f"bias must be one of {', '.join(BIASES)}, a finite number or None, got {bias!r}")


def class_counts(batches: Iterable[Any], num_classes: int | None = None, *, target: int | str = 1) -> Tensor:
    """Return how often each class occurs in batches, shape (classes,), int64.

    Args:
        batches: batches, as a DataLoader gives them: (input, target, ...) or mappings.
        num_classes: number of classes; None: the largest label + 1.
        target: index or key of the labels in a batch; whole numbers from 0, of any shape.

    Raises:
        TypeError: the labels are no whole numbers.
        ValueError: no labels, a label below 0 or not below ``num_classes``.
    """
    counts = torch.zeros(num_classes or 1, dtype=torch.int64)
    for batch in batches:
        labels = torch.as_tensor(batch[target]).reshape(-1).cpu()
        if labels.is_floating_point() and not bool((labels == labels.round()).all()):
            raise TypeError(f"labels must be whole numbers, batch[{target!r}] holds {labels[:4].tolist()}")
        labels = labels.long()
        if labels.numel() and int(labels.min()) < 0:
            raise ValueError(f"labels must be 0 or more, got {int(labels.min())} in batch[{target!r}]")
        found = torch.bincount(labels, minlength=len(counts))
        if num_classes is not None and len(found) > num_classes:
            raise ValueError(f"labels must be below num_classes={num_classes}, got {len(found) - 1}")
        counts = nn.functional.pad(counts, (0, len(found) - len(counts))) + found
    if int(counts.sum()) == 0:
        raise ValueError("no labels: the batches are empty")
    return counts


def prior_bias(counts: Tensor | Sequence[float], outputs: int) -> Tensor:
    """Return the output bias that predicts the class frequencies, shape (outputs,).

    ``log p_c`` for softmax; for one output and two classes ``log(p_1 / p_0)``, whose sigmoid is p_1. A class that never
    occurs counts as half a sample, so that its bias is finite.

    Args:
        counts: number of samples, or frequency, of each class; not negative, not all zero.
        outputs: units of the output layer.

    Raises:
        ValueError: counts are negative, all zero or not finite, or do not fit the outputs.

    Example:
        >>> prior_bias([90, 10], 1)
        tensor([-2.1972])
        >>> prior_bias([2, 1, 1], 3).softmax(0)
        tensor([0.5000, 0.2500, 0.2500])
    """
    n = torch.as_tensor(counts, dtype=torch.float64)
    if n.dim() != 1 or not bool(torch.isfinite(n).all()) or bool((n < 0).any()) or float(n.sum()) <= 0:
        raise ValueError(f"class counts must be finite numbers from 0 that are not all 0, got {n.tolist()}")
    if len(n) != outputs and not (outputs == 1 and len(n) == 2):
        raise ValueError(f"{len(n)} class counts do not fit an output layer of {outputs} units")
    total = float(n.sum())
    smallest = 0.5 if total > 1.5 else 0.5 * float(n[n > 0].min())  # frequencies sum to 1
    p = n.clamp_min(smallest) / n.clamp_min(smallest).sum()
    logs = p.log().float()
    return logs[1:] - logs[:1] if outputs == 1 else logs


def set_output_bias(layer: nn.Module, values: Tensor) -> None:
    """Set the bias of an output layer.

    Raises:
        ValueError: it has none, or of another shape.
    """
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, Tensor):
        raise ValueError(f"the output layer {type(layer).__name__} has no bias to set")
    if bias.shape != values.shape:
        raise ValueError(f"the output layer has {tuple(bias.shape)} biases, got {tuple(values.shape)} values")
    with torch.no_grad():
        bias.copy_(values)


def fill_biases(
    model: nn.Module, bias: BiasChoice, around: Surroundings, forget: float | None, globs: tuple[str, ...]
) -> None:
    """Fill the biases of every known layer that may be touched; of an LSTM, the forget gate's sum to ``forget``."""
    if bias is None or bias == "keep":
        return
    for name, module in model.named_modules():
        if excluded(name, module, globs):
            continue
        for parameter in bias_names(module):
            tensor = getattr(module, parameter)
            if tensor.requires_grad:
                with torch.no_grad():
                    tensor.fill_(_start(bias, module, around))
                    rows = forget_rows(module)
                    if rows is not None and forget is not None and "_ih" in parameter:
                        tensor[rows] = forget


def _start(bias: BiasChoice, module: nn.Module, around: Surroundings) -> float:
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return 0.0
    if isinstance(bias, (int, float)):
        return float(bias)
    rectified = around.activations.get(module) in RECTIFIERS
    return SMALL_POSITIVE if bias == "small_positive" and rectified else 0.0
