"""O007 module-in-train-mode."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.mode import at_rest, in_wrong_mode, is_norm
from lightning_diag.rules.rule import check_range
from lightning_diag.rules.seen import wiring

_EVAL = Prescription(
    "Let Lightning set the mode: remove self.train() from validation_step and its hooks, and an empty "
    "on_validation_model_eval."
)
_PURPOSE = Prescription("If dropout samples on purpose (Monte Carlo), put only the dropouts into training mode.")


@final
@dataclass(frozen=True, kw_only=True)
class ModuleInTrainMode:
    """Dropout or normalization by batch is in training mode while the network is validated.

    What it finds:
        Modules with dropout above 0, or with running statistics, that are in training mode in more than ``max_share``
        of the validation runs. A warning; an info where dropout is on in a way that looks like a purpose.

    Why it matters:
        A BatchNorm then normalizes with the statistics of the validation batch, and updates its running statistics
        from it: the result depends on which samples come together, and validation data leaks into the model. Dropout
        throws away a part of the signal, so that validation looks worse, and noisier, than the model is.

    When it is silent:
        Modules of a frozen part whose statistics do not matter to what is trained; no validation.

    What to do:
        Let Lightning set the mode. For Monte Carlo dropout put the dropouts alone into training mode.

    Source:
        PyTorch documentation, Module.train; Ioffe and Szegedy, Batch Normalization (2015), 3.1; Gal and Ghahramani,
        Dropout as a Bayesian Approximation (2016), on dropout that stays on by intention.
    """

    code: ClassVar[str] = "O007"
    name: ClassVar[str] = "module-in-train-mode"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    max_share: float = 0.5

    def __post_init__(self) -> None:
        check_range(self, "max_share", 0.0, 1.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the first such module: of BatchNorm before that of dropout."""
        wrong, runs = in_wrong_mode(history, "validate")
        names = [n for n, c in wrong.items() if c > self.max_share * runs and not self._rests(history, n)]
        if not names:
            return
        norms = [n for n in names if is_norm(history, n)]
        purpose = not norms and self._on_purpose(history, names)
        site = (norms or names)[0]
        series = [history.series(n, "validate").steps for n in history.series_names("validate")]
        first = min((int(s[0]) for s in series if len(s)), default=0)
        last = max((int(s[-1]) for s in series if len(s)), default=0)
        others = f" and {len(names) - 1} more module(s) were" if len(names) > 1 else " was"
        effect = (
            "It normalizes with, and learns from, the statistics of validation batches: what is measured depends on "
            "which samples come together."
            if norms
            else "A part of the signal is thrown away at random: validation looks worse than the model is."
        )
        if purpose:
            effect = "That is right for Monte Carlo dropout, and too pessimistic a measurement otherwise."
        message = (
            f"{site}{others} in training mode in {wrong[site]} of {runs} validation runs (steps {first} to {last}). "
            f"{effect}"
        )
        severity = Severity.INFO if purpose else Severity.WARNING
        share, limit, advice = wrong[site] / runs, self.max_share, (_EVAL, _PURPOSE)
        yield Finding(self.code, self.name, severity, site, first, share, limit, message, last, "", advice)

    @staticmethod
    def _rests(history: History, site: str) -> bool:
        """Tell whether a BatchNorm or dropout is of a part that is never trained: it counts for a BatchNorm only."""
        return at_rest(history, site) and not is_norm(history, site)

    @staticmethod
    def _on_purpose(history: History, names: list[str]) -> bool:
        """Tell whether the dropouts were switched on one by one: others, or a BatchNorm, are in eval mode as due."""
        facts = wiring(history)
        others = [d for d in facts.get("dropout", {}) if d not in names]
        tracked = [n for n, s in facts.get("norms", {}).items() if s.get("track")]
        told = [str(history.run.get("model", "")), *names, *history.series_names("validate")]
        words = [w for t in told for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", t)]
        said = any(w.lower() in ("mc", "montecarlo", "bayesian", "bayes", "uncertainty", "epistemic") for w in words)
        return bool(others or tracked) or said
