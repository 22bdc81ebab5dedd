"""A recipe's optimizer for a model, and the scheduler that moves its rate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, MultiplicativeLR

from lightning_diag.optim.groups import base_rate, parameter_groups
from lightning_diag.optim.muon import MuonAndAdamW
from lightning_diag.optim.plateau import Plateau
from lightning_diag.optim.rows import row
from lightning_diag.recipe import Mode, Recipe


def build_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimizer over the trainable parameters of a model.

    Args:
        model: whose parameters; they must be where they will be trained.
        recipe: its optimizer, rate, momentum or betas, weight decay, layer decay and overrides.

    Raises:
        ValueError: the recipe names no optimizer, or see ``parameter_groups``.
        ImportError: the installed torch has no such optimizer.

    Example:
        >>> type(build_optimizer(nn.Linear(2, 1), Recipe(optimizer="sgd", lr=0.1))).__name__
        'SGD'
    """
    if recipe.optimizer is None:
        raise ValueError("the recipe names no optimizer (optimizer=None leaves it to the module)")
    one = row(recipe.optimizer)
    groups = parameter_groups(model, recipe)
    arguments = one.arguments(recipe)
    if one.matrices_only:
        return MuonAndAdamW(model, groups, base_rate(recipe), arguments)
    made: Optimizer = getattr(torch.optim, one.torch_name)(groups, lr=base_rate(recipe), **arguments)
    return made


def follow(optimizer: Optimizer, factor: Callable[[float], float]) -> LambdaLR:
    """Return a scheduler that sets each rate to its first value times ``factor(t)``.

    The schedule is wrapped in a partial, of which a checkpoint holds nothing: a resumed run follows the schedule of the
    recipe in hand from the step in the checkpoint.
    """
    return LambdaLR(optimizer, partial(_called, factor))


def _called(factor: Callable[[float], float], step: int) -> float:
    return factor(step)


def reduce_on_plateau(optimizer: Optimizer, recipe: Recipe, mode: Mode, warmup_steps: int = 0) -> Plateau:
    """Return the scheduler that multiplies the rates by a factor when a metric stops getting better.

    Args:
        optimizer: whose rates.
        recipe: its schedule_options factor, patience, threshold, cooldown, final.
        mode: whether less or more of the metric is better.
        warmup_steps: optimizer steps at the start in which nothing is counted.
    """
    return Plateau(optimizer, mode=mode, warmup_steps=warmup_steps, **(recipe.schedule_options or {}))


def rising(optimizer: Optimizer, warmup: Callable[[float], float]) -> MultiplicativeLR:
    """Return a scheduler for a warmup beside reduce-on-plateau.

    It multiplies the present rate by ``warmup(t) / warmup(t - 1)``, so that both can change it.
    """
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
        group["lr"] = group["lr"] * warmup(0)
    return MultiplicativeLR(optimizer, partial(_ratio, warmup))


def _ratio(warmup: Callable[[float], float], step: int) -> float:
    return warmup(step) / warmup(step - 1)
