"""A Recipe states defaults, refuses what cannot be, survives YAML, JSON, pickle and replace."""

import json
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from typing import get_args

import pytest
from jsonargparse import ArgumentParser

from lightning_diag.recipe import Recipe
from lightning_diag.recipe.checks import CHOICES, NUMBERS
from lightning_diag.recipe.options import SCHEDULE_OPTIONS

FULL = Recipe(
    optimizer="adamw", lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05, layer_decay=0.8, decay_embeddings=False,
    overrides={"head.*": {"lr": "x10", "weight_decay": 0.0}}, l1=1e-5, gradient_clip_val=1.0,
    gradient_clip_algorithm="norm", schedule="milestones", schedule_options={"milestones": [3, 5], "factor": 0.2},
    warmup=0.05, warmup_kind="exponential", norm="layer", norm_position="post", activation="gelu", dropout=0.1,
    standardize="channel", mixup=0.2, averaging="ema", ema_decay=0.99, early_stopping=5, batch_size=32, shuffle=True,
)  # fmt: skip


def test_the_defaults_are_those_of_the_lectures() -> None:
    r = Recipe()
    assert (r.optimizer, r.lr, r.schedule, r.init, r.bias_init) == ("adam", 3e-4, "plateau", "kaiming_normal", "zeros")
    assert set(r.set_fields()) == {"optimizer", "lr", "schedule", "init", "bias_init", "decay_embeddings"}


def test_untouched_sets_nothing() -> None:
    assert set(Recipe.untouched().set_fields()) == {"decay_embeddings"}
    assert Recipe.untouched(norm="batch").norm == "batch"


@pytest.mark.parametrize("recipe", [Recipe(), FULL, Recipe.untouched()], ids=["default", "full", "untouched"])
def test_it_comes_back_from_json_and_pickle(recipe: Recipe) -> None:
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert eval(repr(recipe)) == recipe


def test_it_is_frozen_hashable_and_edited_by_replace() -> None:
    with pytest.raises(FrozenInstanceError):
        FULL.lr = 1.0  # type: ignore[misc]
    assert len({FULL, replace(FULL), replace(FULL, lr=0.5)}) == 2


def test_it_is_read_from_yaml_and_the_command_line() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--recipe", type=Recipe)
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # its name before 4.42
    text = (
        "{recipe: {optimizer: sgd, lr: 0.1, warmup: 0.05, betas: null, bias_init: 0.01, schedule: cosine, "
        "schedule_options: {final: 0.01}, overrides: {'head.*': {lr: x10}}}}"
    )
    made = instantiate(parser.parse_string(text)).recipe
    assert made == Recipe(
        optimizer="sgd", lr=0.1, warmup=0.05, bias_init=0.01, schedule="cosine", schedule_options={"final": 0.01},
        overrides={"head.*": {"lr": "x10"}},
    )  # fmt: skip
    options = ["--recipe.betas=[0.8, 0.9]", "--recipe.warmup=500", "--recipe.lr=search", "--recipe.bias_init=prior"]
    made = instantiate(parser.parse_args(options)).recipe
    assert made == Recipe(betas=(0.8, 0.9), warmup=500, lr="search", bias_init="prior")
    assert parser.parse_string(parser.dump(parser.parse_args(options))) == parser.parse_args(options)


def test_every_field_is_documented() -> None:
    text = Recipe.__doc__ or ""
    assert [f.name for f in fields(Recipe) if f"\n        {f.name}: " not in text] == []


def test_every_schedule_has_a_row_of_options() -> None:
    assert set(SCHEDULE_OPTIONS) == set(get_args(CHOICES["schedule"]))


@pytest.mark.parametrize("name", CHOICES)
def test_an_unknown_name_lists_the_allowed_and_the_nearest(name: str) -> None:
    allowed = get_args(CHOICES[name])
    with pytest.raises(ValueError, match="is none of") as caught:
        Recipe(**{name: allowed[-1] + "x"})
    assert all(a in str(caught.value) for a in allowed)
    assert f"did you mean '{allowed[-1]}'?" in str(caught.value)


@pytest.mark.parametrize("name", [n for n in NUMBERS if n != "bias_init"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "1e-3", [1]], ids=repr)
def test_absurd_numbers_are_refused(name: str, value: object) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"Recipe\.{name}|takes no"):
        Recipe(**{"optimizer": "rmsprop", name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields_", "message"),
    [
        ({"optimizer": "sgd", "momentum": 1.0}, r"Recipe.momentum must be a number in \[0, 1\), got 1.0"),
        ({"momentum": 0.9}, "adam takes no momentum; those that do: sgd"),
        ({"optimizer": "sgd", "betas": (0.9, 0.99)}, "sgd takes no betas"),
        ({"betas": (0.9, 1.0)}, r"each of Recipe.betas must be a number in \[0, 1\), got 1.0"),
        ({"betas": (0.9,)}, "two numbers"),
        ({"optimizer": "sgd", "eps": 1e-8}, "sgd takes no eps"),
        ({"optimizer": "rprop", "weight_decay": 0.1}, "rprop .* takes no weight_decay"),
        ({"optimizer": "sgd", "momentum": 0.0, "nesterov": True}, "nothing to look ahead with"),
        ({"optimizer": "momentum", "nesterov": True}, "contradicts itself"),
        ({"optimizer": "nesterov", "nesterov": False}, "contradicts itself"),
        ({"optimizer": None}, r"lr, schedule cannot be carried out; name an optimizer, or start from Recipe.untouched"),
        ({"lr": None}, "needs a learning rate"),
        ({"lr": "find"}, "a number above 0 or 'search'"),
        ({"warmup": 1.5}, "a whole number of steps or a share"),
        ({"warmup": -5}, "a whole number of steps or a share"),
        ({"schedule": "one_cycle", "warmup": 10}, "has a warmup of its own"),
        ({"interval": "step"}, "plateau looks at a metric once an epoch"),
        ({"gradient_clip_algorithm": "norm"}, "no effect without Recipe.gradient_clip_val"),
        ({"norm_position": "pre"}, "no effect without Recipe.norm"),
        ({"ema_decay": 0.9}, "needs averaging='ema'"),
        ({"shuffle": True, "curriculum": "order"}, "a curriculum orders the samples"),
        ({"schedule": "cosine", "schedule_options": {"finall": 0.1}}, "did you mean 'final'"),
        ({"schedule": "cosine", "schedule_options": {"final": 2}}, r"\['final'\] must be a number in \[0, 1\]"),
        ({"schedule": "milestones", "schedule_options": {"milestones": [5, 3]}}, "increasing whole numbers"),
        ({"overrides": {"head": 0.1}}, "must map a name glob to settings"),
        ({"overrides": {"head": {"lr": "0.1"}}}, "or a factor like 'x0.1', got '0.1'"),
        ({"overrides": {"head": {"wd": 0.1}}}, "'wd' is none of lr, weight_decay"),
        ({"nesterov": 1}, "must be True or False"),
        ({"decay_embeddings": None}, "must be True or False"),
        ({"monitor": ""}, "name of a logged metric"),
        ({"batch_size": 1.5}, "a whole number"),
        ({"bias_init": float("nan")}, "Recipe.bias_init must be a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(fields_: dict[str, object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Recipe(**fields_)  # type: ignore[arg-type]


def test_an_unknown_field_in_data_is_named() -> None:
    with pytest.raises(ValueError, match="'learning_rate' is none of"):
        Recipe.from_dict({"learning_rate": 0.1})
