"""What the changes of a prescription mean for a Recipe: values, relative values, the names that rules use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from lightning_diag.recipe.words import unknown

# What True asks for, where nothing is set yet.
USUAL: Final[Mapping[str, Any]] = {
    "norm": "batch",
    "standardize": "feature",
    "standardize_target": "standardize",
    "early_stopping": 5,
    "mixup": 0.2,
    "dropout": 0.3,
    "averaging": "ema",
    "gradient_clip_val": 1.0,
    "shuffle": True,
    "decay_embeddings": True,
    "nesterov": True,
}
# Other names for a value, by field.
ALIASES: Final[Mapping[str, Mapping[str, str]]] = {
    "init": {"kaiming": "kaiming_normal", "he": "kaiming_normal", "xavier": "xavier_normal", "glorot": "xavier_normal"},
    "precision": {"bf16": "bf16-mixed", "16": "16-mixed", "32": "32-true", "64": "64-true"},
}
# What belongs to an optimizer, a schedule or an initializer goes with it when it is replaced.
_OWNED: Final[Mapping[str, tuple[str, ...]]] = {
    "optimizer": ("momentum", "nesterov", "betas", "smoothing", "eps"),
    "schedule": ("schedule_options", "interval"),
    "init": ("init_options",),
}
_COMPANIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "norm": ("norm_position",),
    "gradient_clip_val": ("gradient_clip_algorithm",),
    "warmup": ("warmup_kind",),
    "averaging": ("ema_decay",),
}
_RELATIVE: Final = re.compile(r"([x+])\s*([0-9.]+(?:e[+-]?[0-9]+)?)")


def edited(values: dict[str, Any], changes: Mapping[str, Any], relative: bool = True) -> dict[str, Any]:
    """Return ``values`` with the changes; without ``relative`` they are taken as they are.

    Raises:
        ValueError: no such field, or relative to a field that is unset.
    """
    from lightning_diag.recipe.recipe import Recipe

    fields = tuple(Recipe.__dataclass_fields__)
    result = dict(values)
    for name, value in changes.items():
        if name not in fields:
            raise unknown("field of Recipe:", name, fields)
        result[name] = _value(name, values.get(name), value) if relative else value
    if relative:
        _drop_strangers(result, values, changes)
    return result


def _value(name: str, now: Any, value: Any) -> Any:
    if value is True and name in USUAL:
        return USUAL[name] if now is None or now is False else now
    if not isinstance(value, str):
        return value
    match = _RELATIVE.fullmatch(value)
    if match:
        return _relative(name, now, match[1], float(match[2]))
    value = ALIASES.get(name, {}).get(value, value)
    return value.lower() if name == "optimizer" else value


def _relative(name: str, now: Any, sign: str, number: float) -> float | int:
    if sign == "+":
        raised: float = min((now or 0.0) + number, 0.9) if name == "dropout" else (now or 0) + number
        return raised
    if isinstance(now, bool) or not isinstance(now, (int, float)):
        raise ValueError(
            f"'x{number:g}' for {name} is relative, but {name} is {now!r} in this recipe; set {name} to a number first"
        )
    return max(1, round(now * number)) if isinstance(now, int) else now * number


def _drop_strangers(result: dict[str, Any], before: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Unset what belonged to what was replaced or unset."""
    for owner, owned in _OWNED.items():
        if owner in changes and result[owner] != before.get(owner):
            result.update({name: None for name in owned if name not in changes})
    for owner, owned in _COMPANIONS.items():
        if owner in changes and result[owner] is None:
            result.update({name: None for name in owned if name not in changes})
