"""What a recipe changes in a model before its optimizer exists: activations, norms, dropout, first weights."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any, Final

from torch import nn

from lightning_diag.recipe import Recipe

STRUCTURE: Final = ("activation", "norm", "norm_position", "dropout")
_MARK: Final = "recipe_prepared"


def prepare(model: nn.Module, recipe: Recipe, example_inputs: Any = None) -> None:
    """Change a model as the recipe says, once: activations, then norms, then dropout, then first weights.

    A model that was prepared is left alone, so that a second stage, a second fit and restored weights find it as it is.

    Args:
        model: changed in place.
        recipe: its activation, norm, norm_position, norm_momentum, dropout, init, bias_init, init_options, output_init.
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
        _function("surgery", "swap_activations", "activation")(model, recipe.activation, example_inputs=example_inputs)
    if recipe.norm is not None:
        insert = _function("surgery", "insert_normalization", "norm")
        insert(model, recipe.norm, position=recipe.norm_position or "pre", example_inputs=example_inputs)
    if recipe.norm_momentum is not None:
        set_norm_momentum(model, recipe.norm_momentum)
    if recipe.dropout:
        _function("surgery", "insert_dropout", "dropout")(model, recipe.dropout, example_inputs=example_inputs)
    if recipe.init is not None or recipe.bias_init is not None or recipe.output_init is not None:
        start(model, recipe, example_inputs)


def start(model: nn.Module, recipe: Recipe, example_inputs: Any = None) -> None:
    """Give a model its first weights, as the recipe says."""
    initialize = _function("initializers", "initialize", "init")
    initialize(model, recipe.init, bias=recipe.bias_init, example_inputs=example_inputs, **(recipe.init_options or {}))


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
    if before is None:  # not prepared: the weights that come are the first ones
        prepare(model, replace(recipe, init=None, init_options=None, bias_init=None, output_init=None), example_inputs)
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


def _function(package: str, name: str, field: str) -> Any:
    """Return a function of a package beside this one.

    Raises:
        NotImplementedError: this version has no such function.
    """
    try:
        return getattr(import_module(f"lightning_diag.{package}"), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise NotImplementedError(
            f"Recipe({field}=...) needs lightning_diag.{package}.{name}, which this version does not have; "
            f"set {field}=None"
        ) from error
