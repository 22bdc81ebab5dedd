"""Limits from outside: only rules and parameters that exist, of their type, in their range."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from lightning_diag.records import History
from lightning_diag.rules import RULES, check, with_limits
from lightning_diag.rules.dead_units import DeadUnits
from tests.histories import sick


@pytest.mark.parametrize("name", ["dead-units", "A001"])
@pytest.mark.parametrize("parameter", ["max_dead_fraction", "max-dead-fraction"])
def test_a_limit_makes_an_instance(name: str, parameter: str) -> None:
    made = with_limits({name: {parameter: 0.6}}, RULES)
    assert made[0] == DeadUnits(max_dead_fraction=0.6)
    assert made[1:] == RULES[1:]


def test_no_limits_change_nothing() -> None:
    assert with_limits({}, RULES) == RULES


def test_every_parameter_of_every_rule_takes_its_own_default() -> None:
    for rule in RULES:
        values = {f.name: f.default for f in fields(rule)}  # type: ignore[arg-type]
        (made,) = with_limits({rule.name: values}, [rule])
        assert made == rule()


def test_rules_with_limits_judge() -> None:
    report = check(sick(), rules=with_limits({"dead-units": {"max_dead_fraction": 0.6}}, RULES))
    assert [f.code for f in report.findings] == ["L001"]
    assert report.rules["A001"].name == "dead-units"
    assert check(History(), rules=with_limits({"A001": {}}, RULES)).count("crashed") == 0


WRONG: list[tuple[Any, type[Exception], str]] = [
    ({"dead-unit": {}}, ValueError, "rules.dead-unit: no such rule; did you mean 'dead-units'?"),
    ({"dead-units": {"max_dead": 0.6}}, ValueError, "did you mean 'max_dead_fraction'.*Parameters: "),
    ({"dead-units": {"max_dead_fraction": 7}}, ValueError, "max_dead_fraction is 7.0, must be between"),
    ({"dead-units": {"max_dead_fraction": "much"}}, TypeError, "must be float .its default is .*, got 'much'"),
    ({"dead-units": {"max_dead_fraction": True}}, TypeError, "must be float"),
    ({"loss-oscillating": {"min_swings": 2.5}}, TypeError, "must be int"),
    ({"dead-units": 3}, TypeError, "rules.dead-units must be a table of parameters, got 3"),
    ({"dead-units": {}, "A001": {}}, ValueError, "given twice"),
    ([], TypeError, "limits map a rule to its parameters"),
]


@pytest.mark.parametrize(("limits", "error", "message"), WRONG)
def test_wrong_limits_are_named(limits: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        with_limits(limits, RULES)


def test_everywhere_as_a_glob_is_the_same_as_ignoring() -> None:
    everywhere, plain = check(sick(), ignore={"*": ["L001"]}), check(sick(), ignore=["L001"])
    assert everywhere == plain
    assert "non-finite-loss" not in everywhere.outcomes
