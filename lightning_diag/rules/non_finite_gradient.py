"""G003 non-finite-gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Severity
from lightning_diag.records import History
from lightning_diag.rules.non_finite_origin import CLIP, FULL_PRECISION, GUARD, LOWER_RATE, interval
from lightning_diag.rules.phase import at_step, execution_order, pick, skips_bad_steps


@final
@dataclass(frozen=True, kw_only=True)
class NonFiniteGradient:
    """The gradient of a parameter is NaN or infinite.

    What it finds:
        The first sampled step with a non-finite parameter gradient and, since gradients flow backward, the last
        such parameter in order of execution: the one nearest to the origin. It says whether the forward pass and
        the loss were still finite at that step.

    Why it matters:
        One optimizer step with it makes the weights non-finite for good.

    When it is silent:
        A gradient scaler (fp16) skipped those steps and recovered: that is how it searches its scale. It speaks
        up when the last ``5`` sampled steps are all hit or the scale fell below 1.

    What to do:
        Forward finite, backward not: the derivative of some operation is infinite (sqrt or norm at 0, log at 0,
        x**p at 0, a division); add a small constant inside. torch.autograd.set_detect_anomaly(True) for a few
        steps names the operation. Else look at the loss or activation finding first.

    Source:
        Micikevicius et al., Mixed Precision Training (2018), 3.2; PyTorch documentation, torch.amp.GradScaler.
    """

    code: ClassVar[str] = "G003"
    name: ClassVar[str] = "non-finite-gradient"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("gradient/nonfinite",)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding, at the parameter nearest to the origin."""
        table = history.table("gradient/nonfinite")
        counts = np.nan_to_num(table.matrix, nan=0.0)
        rows = np.flatnonzero((counts > 0).any(axis=1))
        if not len(rows) or skips_bad_steps(history):
            return
        row = int(rows[0])
        step, last = int(table.steps[row]), int(table.steps[rows[-1]])
        place = {p: i for i, layer in enumerate(history.layers) for p in layer.parameters}
        hit = np.flatnonzero(counts[row] > 0)
        j = max(hit.tolist(), key=lambda i: (place.get(table.sites[i], -1), -i))
        implied = self._implied_before(history, step)
        after = np.isfinite(history.series("loss").values[history.series("loss").steps > step])
        survived = len(after) >= 5 and bool(after.all()) and last < int(table.steps[-1])
        scaled = " The gradient scaler did not recover from it." if history.run.get("scaler") else ""
        message = (
            f"The gradient of {table.sites[j]} holds {int(counts[row, j])} NaN or Inf at step {step}, and so do "
            f"{len(hit) - 1} other parameter(s); {self._forward(history, step, implied)}{scaled} "
            + ("The run got over it." if survived else "A step with such a gradient destroys the weights.")
            + interval(history, step)
        )
        advice = (GUARD, LOWER_RATE, CLIP) + ((FULL_PRECISION,) if history.run.get("scaler") else ())
        severity = Severity.WARNING if survived else Severity.ERROR
        yield Finding(
            self.code,
            self.name,
            severity,
            table.sites[j],
            step - implied,
            float(counts[row, j]),
            0.0,
            message,
            last,
            "",
            advice,
        )

    @staticmethod
    def _implied_before(history: History, step: int) -> bool:
        """Tell whether the gradient must have broken in the step before, which was not sampled.

        Weights that are not finite although the loss before was finite: only that step's update can have done it.
        """
        table = history.table("parameter/nonfinite")
        broken = pick(history, "parameter/nonfinite", table.sites, np.array([step]))
        unsampled = step - 1 not in table.steps
        return bool(np.nan_to_num(broken).sum() > 0 and unsampled and np.isfinite(at_step(history, "loss", step - 1)))

    @staticmethod
    def _forward(history: History, step: int, implied: bool) -> str:
        """Say whether the step was sound before its backward pass, and where the gradient broke."""
        if implied:
            return (
                f"weights were not finite by then, but the loss before was: step {step - 1} broke in its backward pass."
            )
        loss = at_step(history, "loss", step)
        if not np.isfinite(loss) and step in history.series("loss").steps:
            return "the loss itself was not finite."
        table = history.table("activation_gradient/nonfinite")
        sites = tuple(table.sites[j] for j in execution_order(history, table.sites))
        bad = np.flatnonzero(pick(history, "activation_gradient/nonfinite", sites, np.array([step]))[0] > 0)
        born = f", first behind the output of {sites[bad[-1]]} (seen from the loss)" if len(bad) else ""
        return f"the loss was finite ({loss:.4g}): it was born in the backward pass{born}."
