"""Every change that a rule prescribes is an edit of a Recipe."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lightning_diag.rules
from lightning_diag.recipe import Recipe

# Changes made while judging, and what they come to.
COMPUTED: dict[str, list[dict[str, Any]]] = {
    "{'gradient_clip_val': None if by_hand else float(f'{np.quantile(norm, 0.9):.2g}')}": [
        {"gradient_clip_val": None},
        {"gradient_clip_val": 3.4},
    ],
    "{'lr': f'x{1 / factor:.2g}'}": [{"lr": "x0.016"}, {"lr": "x1e-05"}, {"lr": "x1.3e+02"}],
    "{**_STOP.changes, 'monitor': plain, 'monitor_mode': mode}": [
        {"early_stopping": True, "monitor": "val_acc", "monitor_mode": "max"}
    ],
    "_SCALE.changes": [{"standardize_target": "minmax"}],
}


def prescribed() -> Iterator[tuple[str, ast.expr]]:
    """Yield (file, changes) of every call of Prescription in the rules."""
    for path in sorted(Path(lightning_diag.rules.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Prescription":
                changes = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "changes")]
                yield from ((path.stem, x) for x in changes)


def changes() -> list[Any]:
    rows = {}
    for stem, node in prescribed():
        text = ast.unparse(node)
        for i, made in enumerate(COMPUTED[text] if text in COMPUTED else [ast.literal_eval(node)]):
            rows[f"{stem}-{made}-{i}"] = made
    return [pytest.param(made, id=name) for name, made in rows.items()]


def test_no_row_of_computed_changes_is_stale() -> None:
    assert set(COMPUTED) <= {ast.unparse(node) for _, node in prescribed()}
    assert len(changes()) > 60


@pytest.mark.parametrize("change", changes())
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(batch_size=32, max_epochs=10, weight_decay=0.01),
        Recipe(optimizer="sgd", lr=0.1, momentum=0.5, weight_decay=1e-4, schedule="linear", batch_size=8, max_epochs=3),
    ],
    ids=["adam", "sgd"],
)
def test_a_prescription_is_an_edit(recipe: Recipe, change: dict[str, Any]) -> None:
    made = recipe.edited(change)
    for name, value in change.items():
        if not isinstance(value, str) or value[0] not in "x+" or not value[1].isdigit():
            continue
        assert getattr(made, name) == pytest.approx(
            (getattr(recipe, name) or 0) * float(value[1:])
            if value[0] == "x"
            else (getattr(recipe, name) or 0) + float(value[1:])
        )
    assert made == recipe.edited(change)
    untouched = {name: getattr(recipe, name) for name in recipe.to_dict() if name not in change}
    kept = {name: getattr(made, name) for name in untouched}
    dropped = {"momentum"} if "optimizer" in change else set()
    assert {name for name in kept if kept[name] != untouched[name]} <= dropped


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ({"lr": "x0.1"}, "lr", 3e-5),
        ({"lr": "search"}, "lr", "search"),
        ({"batch_size": "x4"}, "batch_size", 128),
        ({"batch_size": "x0.001"}, "batch_size", 1),
        ({"dropout": "+0.15"}, "dropout", 0.15),
        ({"norm": True}, "norm", "batch"),
        ({"early_stopping": True}, "early_stopping", 5),
        ({"init": "kaiming"}, "init", "kaiming_normal"),
        ({"optimizer": "AdamW"}, "optimizer", "adamw"),
        ({"precision": "bf16"}, "precision", "bf16-mixed"),
        ({"gradient_clip_val": None}, "gradient_clip_val", None),
    ],
)
def test_what_a_change_means(change: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(Recipe(batch_size=32).edited(change), name) == pytest.approx(value)


def test_true_keeps_what_is_set() -> None:
    assert Recipe(norm="group").edited({"norm": True}).norm == "group"
    assert Recipe(dropout=0.8).edited({"dropout": "+0.15"}).dropout == pytest.approx(0.9)


def test_what_belonged_to_the_old_goes_with_it() -> None:
    sgd = Recipe(optimizer="sgd", momentum=0.9, schedule="step", schedule_options={"every": 3}, warmup=5)
    made = sgd.edited({"optimizer": "adamw", "schedule": "cosine"})
    assert (made.momentum, made.schedule_options, made.warmup) == (None, None, 5)
    clipped = Recipe(gradient_clip_val=1.0, gradient_clip_algorithm="norm")
    assert clipped.edited({"gradient_clip_val": None}).gradient_clip_algorithm is None
    assert replace(sgd, lr=0.5).momentum == 0.9


def test_a_relative_change_needs_a_number() -> None:
    with pytest.raises(ValueError, match="'x4' for batch_size is relative, but batch_size is None in this recipe"):
        Recipe().edited({"batch_size": "x4"})
    with pytest.raises(ValueError, match=r"'x0\.1' for lr is relative, but lr is 'search'"):
        Recipe(lr="search").edited({"lr": "x0.1"})


def test_an_unknown_field_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'warmup'"):
        Recipe().edited({"warm_up": 5})
