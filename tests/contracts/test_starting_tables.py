"""The names in Recipe, in the callbacks and in the tables of initializers and preprocessings are the same."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Any

import pytest

from lightning_diag import Initialize, Preprocess, initializers, preprocessing
from lightning_diag.recipe import names


def literals(annotation: Any) -> set[str]:
    """The strings that an annotation allows."""
    parts = [p for a in typing.get_args(annotation) for p in (literals(a) if typing.get_args(a) else [a])]
    return {p for p in parts if isinstance(p, str)}


def argument(kind: Any, name: str) -> set[str]:
    """The strings that an argument of a callback allows."""
    return literals(typing.get_type_hints(kind.__init__)[name])


TABLES = {
    "init": {row.name for row in initializers.INITIALIZERS},
    "bias": {*initializers.BIASES} - {"keep"},  # a recipe says None
    "output": {*initializers.OUTPUTS},
    "kind": {row.name for row in preprocessing.PREPROCESSINGS},
    "target": {row.name for row in preprocessing.TARGETS},
    "missing": {*preprocessing.MISSING},
    "residual": {*initializers.RESIDUALS},
}


@pytest.mark.parametrize(
    ("literal", "table"),
    [(names.InitName, "init"), (names.BiasName, "bias"), (names.OutputInitName, "output"),
     (names.StandardizeName, "kind"), (names.TargetName, "target")],
)  # fmt: skip
def test_a_recipe_allows_what_the_tables_have(literal: Any, table: str) -> None:
    assert literals(literal) == TABLES[table]


@pytest.mark.parametrize(
    ("kind", "name", "table"),
    [(Initialize, "scheme", "init"), (Initialize, "output", "output"), (Initialize, "residual", "residual"),
     (Preprocess, "kind", "kind"), (Preprocess, "target", "target"), (Preprocess, "missing", "missing")],
)  # fmt: skip
def test_the_callbacks_allow_what_the_tables_have(kind: Any, name: str, table: str) -> None:
    assert argument(kind, name) == TABLES[table]
    assert argument(Initialize, "bias") == {*initializers.BIASES}


def test_the_options_of_a_row_are_arguments_of_initialize() -> None:
    arguments = inspect.signature(initializers.initialize).parameters
    assert {o for row in initializers.INITIALIZERS for o in row.options} <= set(arguments)


def test_the_documents_have_the_rows_of_the_tables() -> None:
    docs = Path(__file__).parents[2] / "docs"
    start, data = ((docs / name).read_text(encoding="utf-8") for name in ("initialization.md", "preprocessing.md"))
    for row in initializers.INITIALIZERS:
        assert f"| `{row.name}` | {row.formula} | {row.nonlinearity} | {row.source} |" in start
    for gain in initializers.GAINS:
        torch = "" if gain.torch is None else f"{gain.torch:.4g}"
        assert f"| {gain.activation} | {gain.value:.4g} | {torch} | {gain.source} |" in start
    for kind in preprocessing.PREPROCESSINGS:
        assert f"| `{kind.name}` | {kind.formula} | {kind.use} | {kind.source} |" in data
    for target in preprocessing.TARGETS:
        assert f"| `{target.name}` | {target.formula} | {target.use} |" in data
