"""Runs rules over a history: selection, ignoring, outcomes. A rule that crashes is an outcome, not an exception."""

from __future__ import annotations

import difflib
import inspect
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TypeAlias

from lightning_diag.findings import Finding, Outcome, Report, RuleInfo
from lightning_diag.records import History, HistoryError, Series
from lightning_diag.records.parts import Points
from lightning_diag.rules.causes import fold
from lightning_diag.rules.metrics import words
from lightning_diag.rules.rule import Rule, Unmeasured

Rules: TypeAlias = Sequence[type[Rule] | Rule]
Selectors: TypeAlias = str | Iterable[str]
Ignore: TypeAlias = Selectors | Mapping[str, Selectors]

_WHY_ABSENT = {
    "activation/saturated_units_fraction": "no bounded activation (sigmoid, tanh, ...) was seen",
    "activation/dead_fraction": "no rectifier was seen on enough examples; train longer or with larger batches",
    "activation": "no module output that has it was seen",
    "activation_gradient": "gradients of module outputs were not recorded",
    "gradient": "no parameter gradient was seen before an optimizer step",
    "parameter": "no parameter was recorded",
    "update": "no optimizer step was sampled",
    "total": "no optimizer step was sampled",
    "loss": "training_step returned no loss, or no step was taken",
    "metric": "nothing was logged; call self.log(...) in training_step and validation_step",
}


def resolve(selectors: Selectors, rules: Rules) -> tuple[str, ...]:
    """Return the codes that selectors mean, in the order of ``rules``.

    Args:
        selectors: rule names ("dead-units"), codes ("A001") or prefixes of codes ("A").
        rules: the rules to choose from.

    Raises:
        ValueError: a selector means none; the message names the nearest.
        TypeError: a selector is no string.
    """
    chosen: set[str] = set()
    for selector in [selectors] if isinstance(selectors, str) else selectors:
        if not isinstance(selector, str):
            raise TypeError(f"a rule is selected by its code or name, got {selector!r}")
        found = {r.code for r in rules if selector and (r.name == selector or r.code.startswith(selector))}
        if not found:
            raise ValueError(_unknown(selector, rules))
        chosen |= found
    return tuple(r.code for r in rules if r.code in chosen)


def _unknown(selector: str, rules: Rules) -> str:
    names = {text.lower(): text for r in rules for text in (r.name, r.code)}
    near = difflib.get_close_matches(selector.lower(), names, n=1)
    hint = f"did you mean {names[near[0]]!r}?" if near else "a code prefix (A), a code (A001) or a name is allowed."
    return f"no rule {selector!r}; {hint} Rules: {', '.join(f'{r.code} {r.name}' for r in rules)}"


def infos(rules: Rules) -> dict[str, RuleInfo]:
    """Return code -> what a reader needs to know, taken from the docstrings."""
    texts = {r.code: inspect.cleandoc((r if isinstance(r, type) else type(r)).__doc__ or "") for r in rules}
    return {r.code: RuleInfo(r.code, r.name, texts[r.code].split("\n", 1)[0], texts[r.code]) for r in rules}


def judge(history: History, rules: Rules, select: Selectors = (), ignore: Ignore = (), *, known: Rules = ()) -> Report:
    """Return the report of ``rules`` on a history.

    Args:
        history: what was measured.
        rules: rule classes (their default parameters are used) or instances.
        select: only these codes, prefixes or names; empty means all.
        ignore: codes, prefixes or names to leave out, or a mapping of site globs to those ("*" is everywhere).
        known: further rules that selectors may name although they are not asked here.

    Raises:
        ValueError: a selector names no rule.
        HistoryError: numbers of a stored history cannot be read.
    """
    history = with_loss(history)
    named = (*rules, *(r for r in known if r.code not in {x.code for x in rules}))
    chosen = set(resolve(select, named)) or {r.code for r in rules}
    at_sites = {g: set(resolve(s, named)) for g, s in ignore.items()} if isinstance(ignore, Mapping) else {}
    chosen -= at_sites.pop("*", set()) if isinstance(ignore, Mapping) else set(resolve(ignore, named))
    there = {*history.statistics, *history.series_names("train")}
    asked = [r for r in rules if r.code in chosen]
    findings: list[Finding] = []
    outcomes: dict[str, Outcome] = {}
    for rule in asked:
        found, outcome = _ask(rule, history, there)
        kept = [f for f in found if not any(f.code in c and fnmatchcase(f.site, g) for g, c in at_sites.items())]
        if found and not kept:
            outcome = Outcome("clean", f"{len(found)} finding(s) ignored at their sites")
        findings += kept
        outcomes[rule.name] = outcome
    if crash := history.run.get("crash"):
        outcomes["diagnostics"] = Outcome("crashed", str(crash))
    return Report(tuple(_at_module(f) for f in fold(findings)), outcomes, infos(asked), _facts(history))


def _at_module(found: Finding) -> Finding:
    """Place what is found at a functional call ("fc1:relu") at the module whose output the call gets ("fc1")."""
    module, colon, _ = found.site.partition(":")
    return replace(found, site=module) if module and colon else found


def with_loss(history: History) -> History:
    """Return the history with the logged training loss as its loss, where training_step returned none.

    Under manual optimization it need not return one. Taken is the only metric of the training stage whose name says
    loss, or the one called just that; else, on sampled steps, what the only loss call gave.
    """
    if len(history.series("loss")):
        return history
    named = [n for n in history.series_names("train") if n.startswith("metric/") and "loss" in words(n)]
    plain = [n for n in named if words(n) == ["loss"]] if len(named) > 1 else named
    if plain:
        series = history.series(plain[0])
    elif "loss_call/value" in history.statistics and len(history.table("loss_call/value").sites) == 1:
        table = history.table("loss_call/value")
        series = Series(table.steps, table.matrix[:, 0])
    else:
        return history
    points = Points()
    points.extend(series.steps, series.values)
    view = history.tail(len(history) + 1)
    view._points = {**history._points, ("train", "loss"): points}
    return view


def _ask(rule: type[Rule] | Rule, history: History, there: Collection[str]) -> tuple[list[Finding], Outcome]:
    try:
        missing = next((name for name in rule.needs if name not in there), "")
        if missing:
            why = _WHY_ABSENT.get(missing, _WHY_ABSENT.get(missing.split("/")[0], "not in the history"))
            raise Unmeasured(f"{why} ({missing})")
        found = list((rule() if isinstance(rule, type) else rule).check(history))
    except Unmeasured as reason:
        return [], Outcome("unmeasured", str(reason))
    except HistoryError:  # a damaged file, not a fault of the rule
        raise
    except Exception:  # crashed is an outcome, with its traceback, and exit code 2
        return [], Outcome("crashed", traceback.format_exc())
    return found, Outcome("found" if found else "clean")


_LONG = (
    "optimizers", "frozen", "metric_direction", "wiring", "data", "modes", "unregistered", "unfed_norms", "differences",
    "products", "sequences", "reshapes", "attends_ahead",
)  # fmt: skip


def _facts(history: History) -> dict[str, object]:
    """Return the facts about the run that a report repeats."""
    steps = history.steps
    facts = {k: v for k, v in history.run.items() if k not in _LONG}
    if "steps" not in facts and len(history):
        facts["steps"] = int(steps[-1]) + 1 if len(steps) else 0
    return {**facts, "samples": facts.get("samples", len(steps))}
