"""Which rules are asked during a fit: what the constructor says, else what the configuration file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lightning_diag import config, rules
from lightning_diag.records import History
from lightning_diag.rules import Rules

Ignore: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]
Limits: TypeAlias = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Asked:
    """The rules that a fit is judged with.

    Attributes:
        select: codes, prefixes or names; all if empty.
        ignore: those left out, or site glob -> those left out there.
        rules: all rules, with their limits.
    """

    select: Sequence[str] = ()
    ignore: Ignore = ()
    rules: Rules = rules.RULES

    @property
    def tripwires(self) -> Rules:
        """The rules that are judged at every sample."""
        codes = {r.code for r in rules.TRIPWIRES}
        return tuple(r for r in self.rules if r.code in codes)


def asked(select: Sequence[str], ignore: Ignore, limits: Limits | None, read_config: bool) -> Asked:
    """Return what is asked: every argument that says something, else the setting of the same meaning.

    Raises:
        ValueError: a rule, parameter, or setting does not exist, or a value is out of range.
        TypeError: a parameter is of another type.
    """
    settings = config.load() if read_config else config.Settings()
    limited = rules.with_limits(settings.rules if limits is None else limits, rules.RULES)
    chosen = Asked(select or settings.select, ignore or settings.ignores, limited)
    rules.check(History(), chosen.select, chosen.ignore, rules=limited)  # refuses now, not at the end of a long run
    return chosen
