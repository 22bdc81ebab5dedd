"""The L1 penalty: the gradient of the sum of absolute weights."""

from __future__ import annotations

import torch
from torch import nn

from lightning_diag.optim.groups import decays
from lightning_diag.optim.roles import trainable
from lightning_diag.recipe import Recipe


def penalized(model: nn.Module, recipe: Recipe) -> list[nn.Parameter]:
    """Return the parameters that the L1 penalty holds for: those that weight decay holds for."""
    return [part.parameter for part in trainable(model) if decays(part, recipe)]


@torch.no_grad()
def add_l1_gradient(parameters: list[nn.Parameter], weight: float) -> None:
    """Add the gradient of ``weight * sum |w|`` to the gradients, in place; 0 at 0.

    Formula: g = g + l sign(w).
    Source: lecture "Training neural networks", L1 regularization.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.add_(parameter.sign().to(parameter.grad.dtype), alpha=weight)


def l1_of(parameters: list[nn.Parameter]) -> torch.Tensor:
    """Return the sum of absolute values, a scalar."""
    total = torch.zeros((), device=parameters[0].device if parameters else None)
    for parameter in parameters:
        total = total + parameter.abs().sum()
    return total
