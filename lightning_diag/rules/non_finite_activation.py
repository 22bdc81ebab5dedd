"""A003 non-finite-activation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History, Ints
from lightning_diag.rules.non_finite_origin import (
    CHECK_DATA,
    CLIP,
    FULL_PRECISION,
    GUARD,
    LOWER_RATE,
    broken_parameters,
    grew,
    interval,
)
from lightning_diag.rules.phase import at_steps, execution_order, pick, skips_bad_steps


@final
@dataclass(frozen=True, kw_only=True)
class NonFiniteActivation:
    """A layer puts out NaN or Inf.

    What it finds:
        The first sampled step, and in it the first layer in order of execution, whose output is not finite; and
        whether its inputs and its own weights still were.

    Why it matters:
        The first such layer is where the fault was born; all layers behind it only pass it on.

    When it is silent:
        Infinities that the model handles: -inf used as an attention mask while the loss is finite. NaN that do
        not reach the loss, and steps that a gradient scaler (fp16) skipped and recovered from, are told as info.

    What to do:
        Non-finite input: check the data. Weights non-finite before: an earlier step broke them (learning rate,
        clipping). Finite inputs and weights: the layer overflows or leaves the domain of log, sqrt or division.

    Source:
        Higham, Accuracy and Stability of Numerical Algorithms (2002), 27.1; first-offender search as in
        torch.autograd.set_detect_anomaly, in the forward direction.
    """

    code: ClassVar[str] = "A003"
    name: ClassVar[str] = "non-finite-activation"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("activation/nonfinite",)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding, at the first offending layer."""
        table = history.table("activation/nonfinite")
        order = execution_order(history, table.sites)
        sites = tuple(table.sites[j] for j in order)
        counts = np.nan_to_num(table.matrix[:, order], nan=0.0)
        nan = np.nan_to_num(pick(history, "activation/nan", sites, table.steps), nan=0.0)
        if not len(history.table("activation/nan")):
            nan = counts
        loss = at_steps(history, "loss", table.steps)
        seen = np.isin(table.steps, history.series("loss").steps)
        reaches = ~np.isfinite(loss) & (seen | (nan.sum(axis=1) > 0))
        faulty = np.where(reaches[:, None], counts, nan) > 0
        rows = np.flatnonzero(faulty.any(axis=1))
        if not len(rows):
            return
        hard = rows[reaches[rows]]
        row = int(hard[0] if len(hard) else rows[0])
        last = int(table.steps[rows[-1]])
        yield self._finding(
            history, table.steps, sites, counts, (row, int(np.argmax(faulty[row]))), len(hard) > 0, last
        )

    def _finding(
        self,
        history: History,
        steps: Ints,
        sites: tuple[str, ...],
        counts: Floats,
        place: tuple[int, int],
        reaches_loss: bool,
        last: int,
    ) -> Finding:
        row, j = place
        step, site = int(steps[row]), sites[j]
        recovered = row < len(steps) - 1 and last < int(steps[-1]) and skips_bad_steps(history)
        severity = Severity.ERROR if reaches_loss and not recovered else Severity.INFO
        origin, advice = self._origin(history, site, step)
        behind = int((counts[row] > 0).sum()) - 1
        message = (
            f"The output of {site} holds {int(counts[row, j])} NaN or Inf at step {step}, the first of {behind + 1} "
            f"layer(s) in order of execution; {origin}"
        )
        if not reaches_loss:
            message += " The loss stayed finite, so they do not reach it."
        else:
            message += " Layers behind it only pass them on." + interval(history, step)
        return Finding(
            self.code, self.name, severity, site, step, float(counts[row, j]), 0.0, message, last, "", advice
        )

    @staticmethod
    def _origin(history: History, site: str, step: int) -> tuple[str, tuple[Prescription, ...]]:
        """Say whether inputs and weights were finite, and what follows from it."""
        layer = history.layer(site)
        broken = broken_parameters(history, layer.parameters if layer else (), step)
        if broken:
            return f"its own {broken[0]} was already not finite: an earlier update broke it.", (LOWER_RATE, CLIP)
        came_in = pick(history, "activation/input_nonfinite", (site,), np.array([step]))[0, 0]
        if came_in > 0:
            return "they came in with its input.", (CHECK_DATA, GUARD)
        if came_in == 0:
            advice = (LOWER_RATE, CLIP, GUARD) if grew(history, step) else (GUARD, LOWER_RATE, FULL_PRECISION)
            return "its inputs were finite: they were born here.", advice
        return "whether its inputs were finite is not known.", (GUARD, CHECK_DATA, LOWER_RATE)
