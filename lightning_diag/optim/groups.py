"""Parameter groups: what decays, at which rate each layer learns, and what a recipe says of single parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Final

from torch import nn

from lightning_diag.optim.roles import Part, trainable
from lightning_diag.optim.rows import row
from lightning_diag.recipe import Recipe
from lightning_diag.recipe.options import factor_of

_NEVER: Final = ("bias", "norm", "slope")
SEARCHED_FROM: Final = 3e-4  # the rate that stands in while the learning-rate finder searches


def base_rate(recipe: Recipe) -> float:
    """Return the recipe's learning rate; 3e-4 where it is still to be searched."""
    return SEARCHED_FROM if isinstance(recipe.lr, str) or recipe.lr is None else recipe.lr


def decays(part: Part, recipe: Recipe) -> bool:
    """Return whether weight decay and L1 hold for a parameter: never for biases, norms and PReLU slopes."""
    return part.role not in _NEVER and (recipe.decay_embeddings or part.role != "embedding")


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the parameter groups of a model for an optimizer of torch.

    Every trainable parameter is in exactly one; a shared one once. A group holds ``params``, ``name``, ``lr``,
    ``weight_decay`` and what an override sets. Names are "weights" and "no_decay", behind the layer ("layer3.weights")
    or the glob of an override where there is one.

    Args:
        model: whose parameters.
        recipe: its lr, weight_decay, decay_embeddings, layer_decay and overrides.

    Raises:
        ValueError: nothing is trainable, an override matches nothing, or a layer has no shape yet.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
        >>> recipe = Recipe(optimizer="adamw", weight_decay=0.05, overrides={"2.*": {"lr": "x10"}})
        >>> for group in parameter_groups(net, recipe):
        ...     print(group["name"], len(group["params"]), round(group["lr"], 6), group["weight_decay"])
        weights 1 0.0003 0.05
        no_decay 3 0.0003 0.0
        2.*.weights 1 0.003 0.05
        2.*.no_decay 1 0.003 0.0
    """
    parts = trainable(model)
    if not parts:
        raise ValueError("the model has no trainable parameter: nothing for an optimizer to do")
    check_globs(parts, recipe.overrides or {})
    deepest = max(p.layer for p in parts)
    groups: dict[str, dict[str, Any]] = {}
    for part in parts:
        name, settings = _settings(part, recipe, deepest)
        groups.setdefault(name, {**settings, "name": name, "params": []})["params"].append(part.parameter)
    check_once(model, groups.values())
    return list(groups.values())


def _settings(part: Part, recipe: Recipe, deepest: int) -> tuple[str, dict[str, Any]]:
    """Return the name of a parameter's group, and its settings."""
    optimizer = row(recipe.optimizer or "adam")
    rate, where = base_rate(recipe), ""
    if recipe.layer_decay is not None:
        rate, where = rate * recipe.layer_decay ** (deepest - part.layer), f"layer{part.layer}."
    decay = optimizer.decay if recipe.weight_decay is None else recipe.weight_decay
    settings: dict[str, Any] = {"lr": rate, "weight_decay": decay}
    for glob, said in (recipe.overrides or {}).items():
        if any(fnmatchcase(name, glob) for name in part.names):
            where = f"{where}{glob}."
            settings.update(said)
            if isinstance(said.get("lr"), str):
                settings["lr"] = rate * factor_of(said["lr"], f"overrides[{glob!r}]['lr']")
            if "weight_decay" in said:  # said of this very parameter
                return f"{where}set", _without_decay_if_unknown(optimizer.name, settings)
            break
    kind = "weights" if decays(part, recipe) else "no_decay"
    if kind == "no_decay":
        settings["weight_decay"] = 0.0
    return where + kind, _without_decay_if_unknown(optimizer.name, settings)


def _without_decay_if_unknown(optimizer: str, settings: dict[str, Any]) -> dict[str, Any]:
    if optimizer == "rprop":
        settings.pop("weight_decay")
    return settings


def check_globs(parts: Iterable[Part], overrides: Mapping[str, Any]) -> None:
    """Raise if an override matches no trainable parameter.

    Raises:
        ValueError: it does not; the message has the nearest name.
    """
    names = [name for part in parts for name in part.names]
    for glob in overrides:
        if not any(fnmatchcase(name, glob) for name in names):
            near = get_close_matches(glob, names, n=1, cutoff=0.0)
            raise ValueError(
                f"Recipe.overrides: {glob!r} matches no trainable parameter; there are {len(names)}, {near[0]!r} among "
                "them (a glob must match the whole name: 'head.*')"
            )


def check_once(model: nn.Module, groups: Iterable[Mapping[str, Any]]) -> None:
    """Raise if a trainable parameter of ``model`` is in no group, or in more than one.

    Raises:
        ValueError: it names the first such parameter.
    """
    counts: dict[int, int] = {}
    for group in groups:
        for parameter in group["params"]:
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and counts.get(id(parameter), 0) != 1:
            raise ValueError(f"{name} is in {counts.get(id(parameter), 0)} parameter groups; it must be in exactly one")
