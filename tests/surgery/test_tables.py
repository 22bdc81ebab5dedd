"""The tables of surgery: names as typed, unique, with sources; and what a person sees of an operation."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from rich.console import Console
from torch import nn

from lightning_diag.surgery import ACTIVATIONS, NORMALIZATIONS, compare, describe, insert_dropout, insert_normalization
from lightning_diag.surgery.activations import ActivationName
from lightning_diag.surgery.insertion import NormalizationName
from tests.order import models as m


@pytest.mark.parametrize(("rows", "literal"), [(NORMALIZATIONS, NormalizationName), (ACTIVATIONS, ActivationName)])
def test_rows_are_what_the_types_allow(rows: Any, literal: Any) -> None:
    names = [row.name for row in rows]
    assert tuple(names) == get_args(literal)
    assert all("(" in row.source and row.source[-1] != "." for row in rows), "author and year"


@pytest.mark.parametrize("row", NORMALIZATIONS, ids=lambda row: row.name)
def test_modules_of_a_row_keep_shapes(row: Any) -> None:
    for axes in range(4):
        shape = (4, 8, *[5] * axes) if axes else ((4, 8, 6) if row.linear == "tokens" else (4, 8))
        x = torch.randn(shape)
        module = row.build(8, axes)
        assert module(x).shape == x.shape
        assert sum(p.numel() for p in module.parameters()) == (8 if row.name == "rms" else 16)
        assert type(row.build(8, axes)) is type(module)


def text(table: Any) -> str:
    console = Console(width=120, record=True, file=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_table_of_layers_before_and_after() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 2))
    before = describe(model)
    assert [(row.name, row.layer, row.role, row.bias, row.then) for row in before] == [
        ("0", "Conv2d 3 -> 8", "hidden", True, "relu, MaxPool2d"),
        ("4", "Linear 72 -> 2", "output", True, ""),
    ]
    insert_normalization(model)
    insert_dropout(model, 0.1)
    after = describe(model)
    assert after[0].then == "BatchNorm2d, relu, Dropout, MaxPool2d"
    assert not after[0].bias
    shown = text(compare(before, after, "what was done"))
    assert "what was done" in shown
    assert "no bias, BatchNorm2d, relu, Dropout" in shown


def test_the_table_shows_residual_sums_and_roles() -> None:
    rows = {row.name: row for row in describe(m.Residual())}
    assert rows["a1"].then == "relu"
    assert rows["a2"].then == "+"
    assert {row.name: row.role for row in describe(m.Gated())}["squeeze"] == "gate"
    with pytest.raises(ValueError, match="give example_inputs="):
        describe(m.Branching())
    assert [row.name for row in describe(m.Branching(), torch.randn(m.ROWS))] == ["fc1", "fc2", "head"]
