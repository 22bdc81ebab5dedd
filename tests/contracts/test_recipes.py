"""Every optimizer with every schedule trains digits; every name that a Recipe allows is a row of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from lightning_diag import Recipe, recipe as names
from lightning_diag.callbacks.recipes import LOADERS, TRAINER, recipe_callbacks
from lightning_diag.initializers import INITIALIZERS, OUTPUTS
from lightning_diag.optim import OPTIMIZERS, Plateau
from lightning_diag.preprocessing import PREPROCESSINGS, TARGETS
from lightning_diag.recipe.options import INIT_OPTIONS
from lightning_diag.schedules import SCHEDULES, Length, scheduled
from lightning_diag.surgery import ACTIVATIONS, NORMALIZATIONS
from tests.mixin.nets import FAMILIAR, fit

pytestmark = FAMILIAR
DOCUMENT = Path(__file__).parents[2] / "docs" / "recipe.md"
STEPS = 4
RATES = {"adadelta": 1.0, "sgd": 0.05, "momentum": 0.05, "nesterov": 0.05, "asgd": 0.05}
TABLES: dict[str, tuple[Any, Iterable[str]]] = {
    "optimizer": (names.OptimizerName, [r.name for r in OPTIMIZERS]),
    "schedule": (names.ScheduleName, [r.name for r in SCHEDULES]),
    "init": (names.InitName, [r.name for r in INITIALIZERS]),
    "output_init": (names.OutputInitName, OUTPUTS),
    "norm": (names.NormName, [r.name for r in NORMALIZATIONS]),
    "activation": (names.ActivationName, [r.name for r in ACTIVATIONS]),
    "standardize": (names.StandardizeName, [r.name for r in PREPROCESSINGS]),
    "standardize_target": (names.TargetName, [r.name for r in TARGETS]),
}


@pytest.mark.parametrize("field", TABLES)
def test_the_names_of_a_recipe_are_those_of_the_table(field: str) -> None:
    literal, table = TABLES[field]
    assert sorted(get_args(literal)) == sorted(table)


def test_the_options_of_initializers_are_those_of_their_rows() -> None:
    assert {r.name: r.options for r in INITIALIZERS if r.options} == dict(INIT_OPTIONS)


# Every optimizer and every schedule at least once.
PAIRS = list(zip(cycle([o.name for o in OPTIMIZERS]), [s.name for s in SCHEDULES], strict=False))


@pytest.mark.parametrize(("optimizer", "schedule"), PAIRS)
def test_an_optimizer_and_a_schedule_train_digits(optimizer: Any, schedule: Any) -> None:
    train_digits(optimizer, schedule)


@pytest.mark.full
@pytest.mark.parametrize("optimizer", [o.name for o in OPTIMIZERS])
def test_an_optimizer_and_every_schedule_train_digits(optimizer: Any) -> None:
    for schedule in SCHEDULES:
        train_digits(optimizer, schedule.name)


def train_digits(optimizer: Any, schedule: Any) -> None:
    """Train a few steps, and check that the rates are the stated ones and every parameter moved."""
    if not next(r.available for r in OPTIMIZERS if r.name == optimizer):
        pytest.skip(f"torch {torch.__version__} has no {optimizer}")
    warmup = None if schedule == "one_cycle" else 1
    recipe = Recipe(optimizer=optimizer, lr=RATES.get(optimizer, 0.003), schedule=schedule, warmup=warmup)
    module, seen, made = fit(recipe, n=32, max_epochs=2)
    stated = scheduled(recipe, Length(STEPS, 2, 2))
    assert stated is not None
    assert seen.rates == pytest.approx([float(recipe.lr or 0) * stated(t) for t in range(STEPS)])
    assert made.global_step == STEPS
    torch.manual_seed(0)
    start = fit(recipe, n=32, fast_dev_run=1)[0]
    moved = [not torch.equal(a, b) for a, b in zip(module.parameters(), start.parameters(), strict=True)]
    assert all(moved), "a parameter never moved"
    assert all(torch.isfinite(p).all() for p in module.parameters())


def tables() -> dict[str, str]:
    """Return the tables of the documentation, made from the rows."""
    optimizers = [
        "| name | torch.optim | step | decay | source |",
        "|:--|:--|:--|:--|:--|",
        *(
            f"| `{r.name}` | {r.torch_name} | {r.update.replace('|', chr(92) + '|')} | "
            f"{'decoupled' if r.decoupled else 'L2' if r.name != 'rprop' else 'none'}, {r.decay:g} | {r.source} |"
            for r in OPTIMIZERS
        ),
    ]
    schedules = [
        "| name | formula | t | RM | why | torch's twin |",
        "|:--|:--|:--|:--|:--|:--|",
        *(
            f"| `{r.name}` | {formula(r.function)} | {r.interval}s | {r.robbins_monro} | {r.why} | {r.twin or 'none'} |"
            for r in SCHEDULES
        ),
    ]
    return {"OPTIMIZERS": "\n".join(optimizers), "SCHEDULES": "\n".join(schedules)}


def formula(function: Any) -> str:
    """Return the formula in a schedule's docstring, in one line."""
    text = function.__doc__ if function else Plateau.__doc__ or ""
    if "Formula:" not in text:
        return "times 1/2, 1/5 or 1/10 when the metric stops getting better"
    part = re.split(r"\n\s*\n|\n\s*Source:", text.split("Formula:")[1])[0]
    return " ".join(part.split()).rstrip(".").replace("|", chr(92) + "|")


def test_the_tables_of_the_documentation_are_those_of_the_rows() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name, table in tables().items() if table not in text] == []


def test_who_carries_out_is_who_does() -> None:
    lines = {line.split("|")[1].strip().strip("`"): line for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
             if line.startswith("| `") and line.count("|") == 4}  # fmt: skip
    assert all("Trainer(**trainer_arguments(recipe))" in lines[name] for name in TRAINER)
    assert all("loader(dataset, recipe)" in lines[name] for name in LOADERS)
    full = Recipe(lr="search", l1=1.0, input_noise=0.1, curriculum="order", averaging="ema", early_stopping=1)
    made = {type(c).__name__ for c in recipe_callbacks(full)}
    for name in ("lr", "l1", "schedule", "input_noise", "curriculum", "averaging", "early_stopping", "init"):
        assert any(f"`{kind}`" in lines[name] for kind in made), name


def test_every_field_has_a_row_in_the_documentation() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1].strip().strip("`") for line in lines if line.startswith("| `") and line.count("|") == 4]
    assert [f for f in Recipe.__dataclass_fields__ if rows.count(f) != 1] == []
