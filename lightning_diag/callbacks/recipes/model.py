"""What a recipe changes in the layers of a model before its optimizer exists: activations, norms, dropout."""

from __future__ import annotations

from typing import Any, Final

from torch import nn

from lightning_diag.preprocessing import Preprocessing, TargetPreprocessing, attach
from lightning_diag.recipe import Recipe
from lightning_diag.surgery import insert_dropout, insert_normalization, swap_activations

STRUCTURE: Final = ("activation", "norm", "norm_position", "dropout")
_MARK: Final = "recipe_prepared"


def prepare(model: nn.Module, recipe: Recipe, example_inputs: Any = None) -> None:
    """Change the layers of a model as the recipe says, once: activations, then norms, then dropout.

    A model that was prepared is left alone, so that a second stage, a second fit and restored weights find it as it is.

    Args:
        model: changed in place.
        recipe: its activation, norm, norm_position, norm_momentum and dropout.
        example_inputs: inputs of ``forward``, where an order of execution must be recorded.

    Raises:
        ValueError: a change is refused, with the reason.
        RuntimeError: the model was prepared by a recipe of another structure.
    """
    structure = {name: getattr(recipe, name) for name in STRUCTURE}
    before = getattr(model, _MARK, None)
    if before is not None:
        check_structure(before, structure)
        return
    setattr(model, _MARK, structure)
    if recipe.activation is not None:
        swap_activations(model, recipe.activation, example_inputs=example_inputs)
    if recipe.norm is not None:
        position = recipe.norm_position or "pre"
        insert_normalization(model, recipe.norm, position, example_inputs=example_inputs, batch_size=recipe.batch_size)
    if recipe.norm_momentum is not None:
        set_norm_momentum(model, recipe.norm_momentum)
    if recipe.dropout:
        insert_dropout(model, recipe.dropout, example_inputs=example_inputs)


def attach_preprocessing(model: nn.Module, recipe: Recipe) -> None:
    """Put the recipe's preprocessing, not yet fitted, into a model, so that its statistics can be restored."""
    inputs = None if recipe.standardize is None else Preprocessing(recipe.standardize)
    target = None if recipe.standardize_target is None else TargetPreprocessing(recipe.standardize_target)
    if inputs is not None or target is not None:
        attach(model, inputs, target)


def check_structure(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise if a model was changed by a recipe that differs in what cannot be undone.

    Raises:
        RuntimeError: it was.
    """
    differing = [f"{name}={now[name]!r} (it has {before[name]!r})" for name in now if now[name] != before[name]]
    if differing:
        raise RuntimeError(
            f"the model was already changed by its recipe and cannot be changed again: {', '.join(differing)}; make "
            "the module anew with the recipe: Net(recipe=...), Net.load_from_checkpoint(path, recipe=...)"
        )


def restructure(model: nn.Module, recipe: Recipe, example_inputs: Any = None) -> None:
    """Give a model the layers of the recipe that its weights, about to be restored, were trained with.

    Raises:
        RuntimeError: it has others already.
    """
    before = getattr(model, _MARK, None)
    if before is None:
        prepare(model, recipe, example_inputs)
    elif not any(before.values()):
        delattr(model, _MARK)
        restructure(model, recipe, example_inputs)
    else:
        check_structure(before, {name: getattr(recipe, name) for name in STRUCTURE})


def set_norm_momentum(model: nn.Module, momentum: float) -> None:
    """Set the share of the new batch in the running statistics of every BatchNorm and InstanceNorm.

    Raises:
        ValueError: there is none.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    if not norms:
        raise ValueError("Recipe(norm_momentum=...) finds no norm with running statistics (nn.BatchNorm) in the model")
    for norm in norms:
        norm.momentum = momentum
