"""Judges a history: one file per rule, the table of them, and :func:`check`.

Example:
    >>> from lightning_diag.records import History
    >>> report = check(History(), select=["L001"])
    >>> report.ok, report.outcomes["non-finite-loss"].verdict
    (False, 'unmeasured')
"""

from __future__ import annotations

from lightning_diag.findings import Report, RuleInfo
from lightning_diag.records import History
from lightning_diag.rules import judging
from lightning_diag.rules.catalogue import RULES, TRIPWIRES
from lightning_diag.rules.causal_table import CAUSES, Cause
from lightning_diag.rules.causes import fold
from lightning_diag.rules.judging import Ignore, Rules, Selectors
from lightning_diag.rules.limits import Limits, with_limits
from lightning_diag.rules.rule import Rule, Unmeasured


def check(history: History, select: Selectors = (), ignore: Ignore = (), *, rules: Rules = RULES) -> Report:
    """Return the judgement of a history: what was found, and what every rule came to.

    Args:
        history: what was measured.
        select: only these rules: codes ("A001"), prefixes of codes ("A") or names ("dead-units"); empty means all.
        ignore: rules to leave out, or a mapping of site globs to rules (``{"backbone.*": ["A001"], "*": ["V"]}``).
        rules: the rules to choose from, classes or instances with other parameters.

    Raises:
        ValueError: a selector names no rule; the message names the nearest.
    """
    return judging.judge(history, rules, select, ignore, known=RULES)


def resolve(selectors: Selectors) -> tuple[str, ...]:
    """Return the codes that selectors mean, in the order of RULES.

    Raises:
        ValueError: a selector names no rule; the message names the nearest.

    Example:
        >>> resolve("dead-units")
        ('A001',)
    """
    return judging.resolve(selectors, RULES)


def rule_infos() -> dict[str, RuleInfo]:
    """Return code -> what a reader needs to know of a rule."""
    return judging.infos(RULES)


__all__ = [
    "CAUSES",
    "RULES",
    "TRIPWIRES",
    "Cause",
    "Ignore",
    "Limits",
    "Rule",
    "Rules",
    "Selectors",
    "Unmeasured",
    "check",
    "fold",
    "resolve",
    "rule_infos",
    "with_limits",
]
