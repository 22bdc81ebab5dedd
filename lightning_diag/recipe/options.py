"""The options of schedules and initializers, and the settings of a parameter override: names and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lightning_diag.recipe.ranges import COUNT, POSITIVE, Range, check_number
from lightning_diag.recipe.words import unknown

SCHEDULE_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "constant": (),
    "step": ("every", "factor"),
    "milestones": ("milestones", "factor"),
    "exponential": ("gamma",),
    "natural_exponential": ("k",),
    "linear": ("total_steps", "final"),
    "linear_to_floor": ("tau", "final"),
    "cosine": ("total_steps", "final"),
    "inverse_sqrt": ("w",),
    "inverse_time": ("k",),
    "polynomial": ("total_steps", "power", "final"),
    "triangular": ("half_period", "low"),
    "triangular2": ("half_period", "low"),
    "exp_range": ("half_period", "low", "gamma"),
    "cosine_restarts": ("period", "growth", "final"),
    "one_cycle": ("total_steps", "rise", "start", "final"),
    "warmup_stable_decay": ("total_steps", "decay", "final"),
    "plateau": ("factor", "patience", "threshold", "cooldown", "final"),
}
# What each initializer takes of its own; all take what stands in EVERY_INIT.
INIT_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "normal": ("std",),
    "truncated_normal": ("std",),
    "uniform": ("bound",),
    "constant": ("value",),
    "kaiming_normal": ("mode",),
    "kaiming_uniform": ("mode",),
    "zero_gamma": ("mode",),
}
EVERY_INIT: Final = ("gain", "residual", "forget_bias", "exclude", "overwrite")
OVERRIDES: Final = ("lr", "weight_decay", "momentum", "betas", "eps")
_WORDS: Final = {"mode": ("fan_in", "fan_out"), "residual": ("keep", "zero", "scale")}
_SHARE, _DECAY = Range("(0, 1)"), Range("[0, 1)")
OPTION_RANGES: Final[Mapping[str, Range]] = {
    "every": COUNT,
    "factor": _SHARE,
    "gamma": Range("(0, 1]"),
    "k": POSITIVE,
    "total_steps": COUNT,
    "final": Range("[0, 1]"),
    "tau": COUNT,
    "w": COUNT,
    "power": POSITIVE,
    "half_period": COUNT,
    "low": _DECAY,
    "period": COUNT,
    "growth": COUNT,
    "rise": _SHARE,
    "start": Range("(0, 1]"),
    "decay": _SHARE,
    "patience": Range("[0, inf)", whole=True),
    "threshold": Range("[0, inf)"),
    "cooldown": Range("[0, inf)", whole=True),
    "std": POSITIVE,
    "bound": POSITIVE,
    "forget_bias": Range("(-inf, inf)"),
    "value": Range("(-inf, inf)"),
    "weight_decay": Range("[0, inf)"),
    "momentum": _DECAY,
    "eps": POSITIVE,
    "lr": POSITIVE,
}


def check_options(kind: str, name: str | None, options: object) -> None:
    """Raise if ``options`` are not options of the schedule or initializer ``name``, or out of range."""
    if options is None or name is None:
        return
    if not isinstance(options, Mapping):
        raise TypeError(f"Recipe.{kind}_options must be a mapping of option to value, got {options!r}")
    allowed = SCHEDULE_OPTIONS[name] if kind == "schedule" else (*INIT_OPTIONS.get(name, ()), *EVERY_INIT)
    for option, value in options.items():
        if option not in allowed:
            raise unknown(f"option of {kind} {name!r}:", option, allowed or ("(it has none)",))
        _check_value(f"Recipe.{kind}_options[{option!r}]", option, value)


def check_overrides(overrides: object) -> None:
    """Raise if ``overrides`` is no mapping of name glob to settings, or a setting is unknown or out of range."""
    if overrides is None:
        return
    if not isinstance(overrides, Mapping) or not all(isinstance(v, Mapping) for v in overrides.values()):
        raise TypeError(
            f"Recipe.overrides must map a name glob to settings, {{'head.*': {{'lr': 0.01}}}}, got {overrides!r}"
        )
    for glob, settings in overrides.items():
        for name, value in settings.items():
            if name not in OVERRIDES:
                raise unknown(f"setting in Recipe.overrides[{glob!r}]:", name, OVERRIDES)
            if name == "lr" and isinstance(value, str):
                factor_of(value, f"Recipe.overrides[{glob!r}]['lr']")
            else:
                _check_value(f"Recipe.overrides[{glob!r}][{name!r}]", name, value)


def factor_of(text: str, what: str) -> float:
    """Return 0.1 for "x0.1".

    Raises:
        ValueError: not of that form, or not above 0.
    """
    try:
        factor = float(text[1:]) if text[:1] == "x" else 0.0
    except ValueError:
        factor = 0.0
    if factor not in POSITIVE:
        raise ValueError(f"{what} must be a number above 0 or a factor like 'x0.1', got {text!r}")
    return factor


def _check_value(what: str, name: str, value: Any) -> None:
    if name in OPTION_RANGES:
        check_number(what, value, OPTION_RANGES[name])
    elif name == "milestones":
        if not isinstance(value, (list, tuple)) or not value:
            raise TypeError(f"{what} must be increasing whole numbers, (30, 60), got {value!r}")
        for x in value:
            check_number(f"each of {what}", x, COUNT)
        if list(value) != sorted(set(value)):
            raise ValueError(f"{what} must be increasing whole numbers, (30, 60), got {value!r}")
    elif name in _WORDS:
        if value not in _WORDS[name]:
            raise unknown(f"{what}:", value, _WORDS[name])
    elif name == "overwrite" and not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, got {value!r}")
    elif name == "gain" and value not in ("auto", "torch"):
        check_number(what, value, POSITIVE)
    elif name == "betas":
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise TypeError(f"{what} must be two numbers in [0, 1), got {value!r}")
        for x in value:
            check_number(f"each of {what}", x, _DECAY)
