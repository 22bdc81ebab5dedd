"""W004 parameter-not-in-optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.fitness import column, execution_place, fitness, module_of, shapes
from lightning_diag.rules.rule import Unmeasured, percent

_HAND = Prescription("Give the optimizer all of them: torch.optim.Adam(self.parameters()), or add a parameter group.")
_FREEZE = Prescription("If it rests on purpose, say so: module.requires_grad_(False), and run it under no_grad().")


@final
@dataclass(frozen=True, kw_only=True)
class ParameterNotInOptimizer:
    """Trainable parameters that no optimizer holds.

    What it finds:
        Parameters with requires_grad that are in no parameter group although gradients flow through their layer to
        the loss. An error where they are half of all parameters in use and the fit is poor; an info where it is good
        and they are not as layers are initialized: pretrained, it seems.

    Why it matters:
        Gradients are computed for them and thrown away: they stay random, and accumulate in memory uncleared.

    When it is silent:
        Frozen parameters; layers that run under no_grad, as teachers and target networks do, or that do not run at
        all, are an info. Optimizers that Lightning does not know: unmeasured.

    What to do:
        Hand self.parameters() to the optimizer; create layers before configure_optimizers is called.

    Source:
        PyTorch documentation, torch.optim, Constructing it and Per-parameter options.
    """

    code: ClassVar[str] = "W004"
    name: ClassVar[str] = "parameter-not-in-optimizer"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()
    min_error_share: float = 0.5

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the first module in execution order."""
        known = shapes(history)
        trainable = {n: (s, o) for n, (s, t, o) in known.items() if t}
        if not known:
            raise Unmeasured("the model has no parameters")
        if not any(o >= 0 for _, o in trainable.values()):
            raise Unmeasured("no optimizer known to Lightning holds a parameter; return it from configure_optimizers()")
        left = [n for n, (_, o) in trainable.items() if o < 0]
        if not left:
            return
        place = execution_place(history)
        used = [n for n in left if self._in_use(history, n)]
        names = sorted(used or left, key=lambda n: place.get(n, len(history.layers)))
        elements = {n: int(np.prod(s)) if s else 1 for n, (s, _) in trainable.items()}
        whole = sum(elements[n] for n in trainable if n in used or trainable[n][1] >= 0)
        share = sum(elements[n] for n in names) / max(1, whole if used else sum(elements.values()))
        severity = self._severity(history, bool(used), share)
        site = module_of(names[0]) or names[0]
        steps = history.steps
        first, last = (int(steps[0]), int(steps[-1])) if len(steps) else (0, 0)
        modules = len({module_of(n) for n in names})
        text = (
            f"No optimizer holds {len(names)} trainable parameters of {modules} module(s), {site} first: "
            f"{percent(share)} of the trainable elements. "
        )
        text += "The loss depends on them, but no step ever changes them: they stay as they were initialized." if used \
            else "No gradient was seen to pass through them, so they may rest on purpose."  # fmt: skip
        advice = (_HAND, _FREEZE)
        yield Finding(self.code, self.name, severity, site, first, share, 0.0, text, last, "", advice)

    def _severity(self, history: History, used: bool, share: float) -> Severity:
        fit = fitness(history)
        if not used or (fit == "good" and not self._random(history)):
            return Severity.INFO
        return Severity.ERROR if share >= self.min_error_share and fit == "poor" else Severity.WARNING

    def _random(self, history: History) -> bool:
        """Tell whether what is left out is mostly as it was initialized, and not as it was pretrained."""
        known = shapes(history)
        fresh = set(history.run["wiring"].get("fresh_left_out") or ())
        left = {n: int(np.prod(s)) for n, (s, trainable, o) in known.items() if trainable and o < 0 and len(s) > 1}
        return sum(left[n] for n in fresh & left.keys()) > self.min_error_share * sum(left.values())

    @staticmethod
    def _in_use(history: History, name: str) -> bool:
        """Tell whether a gradient of the loss passes what its layer puts out; a repeated call may be a yardstick."""
        layers = [x for x in history.layers if name in x.parameters]
        if not layers or any("#" in x.site for x in layers):
            return False
        return any((column(history, "activation_gradient/rms", x.site)[1] > 0).any() for x in layers)
