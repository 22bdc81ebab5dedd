"""Rules with other limits than their own, as a configuration file states them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeAlias

from lightning_diag.rules.rule import Rule

Limits: TypeAlias = Mapping[str, Mapping[str, Any]]


def with_limits(limits: Limits, rules: Sequence[type[Rule] | Rule]) -> tuple[type[Rule] | Rule, ...]:
    """Return the rules, those that ``limits`` names as instances with the parameters it gives.

    Args:
        limits: rule code or name -> parameter -> value.
        rules: rule classes.

    Raises:
        ValueError: there is no such rule or parameter (the message names the nearest), it is named twice, or a value is
            out of range.
        TypeError: a value is of another type than the parameter.

    Example:
        >>> from lightning_diag.rules import RULES
        >>> with_limits({"dead-units": {"max_dead_fraction": 0.6}}, RULES)[0].max_dead_fraction
        0.6
    """
    if not isinstance(limits, Mapping):
        raise TypeError(f"limits map a rule to its parameters, got {limits!r}")
    chosen: dict[str, Mapping[str, Any]] = {}
    for name, values in limits.items():
        code = _code_of(name, rules)
        if code in chosen:
            raise ValueError(f"rules.{name}: the limits of {code} are given twice, by code and by name")
        if not isinstance(values, Mapping):
            raise TypeError(f"rules.{name} must be a table of parameters, got {values!r}")
        chosen[code] = values
    return tuple(_with(rule, chosen[rule.code]) if rule.code in chosen else rule for rule in rules)


def _code_of(name: str, rules: Sequence[type[Rule] | Rule]) -> str:
    known = {key: r.code for r in rules for key in (r.code, r.name)}
    if name not in known:
        raise ValueError(f"rules.{name}: no such rule; {_nearest(name, known)}")
    return known[name]


def _with(rule: type[Rule] | Rule, values: Mapping[str, Any]) -> Rule:
    cls: Any = rule if isinstance(rule, type) else type(rule)
    own = {f.name: f for f in fields(cls)}
    made: dict[str, Any] = {}
    for name, value in values.items():
        plain = name.replace("-", "_")
        if plain not in own:
            allowed = f"{_nearest(plain, own)} Parameters: {', '.join(own) or 'none'}"
            raise ValueError(f"rules.{rule.name}.{name}: no such parameter; {allowed}")
        made[plain] = _checked(f"rules.{rule.name}.{name}", own[plain].default, value)
    instance: Rule = cls(**made)
    return instance


def _checked(key: str, default: Any, value: Any) -> Any:
    """Return the value, a whole number as float where the parameter is one."""
    if isinstance(default, float) and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, tuple) and isinstance(value, (list, tuple)):
        return tuple(value)
    if type(value) is not type(default):
        raise TypeError(f"{key} must be {type(default).__name__} (its default is {default!r}), got {value!r}")
    return value


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else "`lightning-diag rules` lists them."
