"""O005 batch-size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.curve import pace, validation_loss
from lightning_diag.rules.fitness import fitness
from lightning_diag.rules.phase import is_running, loss_breaks, loss_descent
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.trivial import trivial_loss
from lightning_diag.trends import is_plateau, noise

_VALIDATIONS, _SHAKEN = 5, 0.1  # validation losses looked at; noise of one over its level
_FEW = 20  # losses of which no trend is told but one that never turns
_SMALLER = Prescription(
    "Use smaller batches, 32 to 128 samples: DataLoader(batch_size=64, shuffle=True).", {"batch_size": 64}
)
_LARGER = Prescription("Use larger batches, 16 or more samples, or accumulate_grad_batches=16.", {"batch_size": 16})


@final
@dataclass(frozen=True, kw_only=True)
class BatchSize:
    """Batches so large that few updates are made, or so small that noise outweighs what is learned.

    What it finds:
        Nearly the whole training set in a batch (``min_part`` of it), ``max_updates`` updates or fewer in the whole
        run, and a loss that still falls at its end while the fit is poor (where that is not known: at more than
        ``min_pace`` of its average pace, or by more than ``min_late`` of itself in the last quarter). Or one or two
        samples in a batch and a loss that never fell, is no better than that of a constant, and has a noise of
        ``min_noise`` of its level; or a poor fit at rest with that noise, in which the validation loss jumps by a tenth
        of itself from one to the next.

    Why it matters:
        An epoch of one batch is one update: ten epochs are ten small steps. A gradient of one sample is mostly noise,
        and at a large rate the steps follow the noise.

    When it is silent:
        Whole-set training that arrives, small batches that learn, runs that are not finished, smoke runs of fewer than
        ``min_updates`` updates.

    What to do:
        Between 32 and 128 samples a batch, as a start.

    Source:
        Bengio, Practical recommendations for gradient-based training (2012), 3.1.1; McCandlish et al., An Empirical
        Model of Large-Batch Training (2018); Masters, Luschi, Revisiting Small Batch Training (2018).
    """

    code: ClassVar[str] = "O005"
    name: ClassVar[str] = "batch-size"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    min_part: float = 0.5
    max_updates: int = 300
    min_updates: int = 8
    tiny: int = 2
    min_noise: float = 0.5
    min_pace: float = 0.5
    min_late: float = 0.15

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the whole run."""
        size, batch = history.run.get("dataset_size"), history.run.get("batch_size")
        loss, series = loss_descent(history), history.series("loss")
        if is_running(history) or not size or not batch or loss.n < self.min_updates:
            raise Unmeasured("a finished run is needed, with known numbers of samples in the set and in a batch")
        fit, values = fitness(history), series.values[np.isfinite(series.values)]
        if loss_breaks(history) or fit == "good" or (history.run.get("wiring") or {}).get("fast_dev_run"):
            return
        if fit == "unknown" and not (pace(values) > self.min_pace or late_fall(values) > self.min_late):
            return
        accumulated = int(history.run.get("accumulate_grad_batches") or 1) * int(history.run.get("world_size") or 1)
        samples = min(int(size), int(batch) * accumulated)
        if samples >= self.min_part * size and size > 32 and loss.n <= self.max_updates:
            few = loss.n < _FEW and float(np.diff(values).max()) < 0
            if few or (loss.kind in ("falling", "slight") and not is_plateau(values)):
                text = (
                    f"A batch holds {samples} of {size} samples, so that the run took {loss.n} updates in all; the "
                    f"loss, at {loss.end:.3g}, still falls at the end. Smaller batches make as many more updates at "
                    "the same cost."
                )
                yield self._finding(history, samples, size * self.min_part, text, _SMALLER)
        elif (
            samples <= self.tiny
            and size > 32 * samples
            and (self._drowned(values, trivial_loss(history)) or (fit == "poor" and self._shakes(history, values)))
        ):
            text = (
                f"A batch holds {samples} sample(s); the noise of the loss, {loss.noise:.2g}, is as large as its "
                f"level, {loss.end:.3g}, and rests in {loss.n} updates. The steps follow single samples."
            )
            yield self._finding(history, samples, float(self.tiny), text, _LARGER)

    def _drowned(self, values: Floats, trivial: float) -> bool:
        """Tell whether a loss never fell, is no better than a constant's in the mean, and is mostly noise."""
        late = values[-max(1, len(values) // 4) :]
        if len(values) < 256 or not trivial > 0 or float(late.mean()) < 0.95 * trivial:
            return False
        error = float(late.std()) / np.sqrt(len(late))
        for n in (32, 64, len(values) // 4):
            early = values[:n]
            if float(early.mean() - late.mean()) > 3 * np.hypot(error, float(early.std()) / np.sqrt(n)):
                return False
        return float(late.std()) > self.min_noise * float(np.abs(late).mean())

    def _shakes(self, history: History, values: Floats) -> bool:
        """Tell whether a loss rests, mostly noise, while each validation finds other weights than the one before."""
        late, (_, _, validation) = values[-max(1, len(values) // 2) :], validation_loss(history)
        if len(values) < 256 or len(validation) < _VALIDATIONS or not is_plateau(late):
            return False
        shaken = noise(validation[-_VALIDATIONS:]) > _SHAKEN * float(np.median(validation[-_VALIDATIONS:]))
        return bool(shaken and float(late.std()) > self.min_noise * float(np.abs(late).mean()))

    def _finding(self, history: History, value: float, limit: float, text: str, advice: Prescription) -> Finding:
        steps = history.series("loss").steps
        first, last = int(steps[0]), int(steps[-1])
        return Finding(
            self.code, self.name, Severity.WARNING, "", first, float(value), float(limit), text, last, "", (advice,)
        )


def late_fall(values: Floats) -> float:
    """Return by which share of itself a loss fell from the first to the last third of its last quarter.

    Example:
        >>> round(late_fall(np.linspace(1.0, 0.2, 80)), 2)
        0.35
    """
    n = max(3, len(values) // 12)
    before, end = float(np.median(values[-3 * n : -2 * n])), float(np.median(values[-n:]))
    return (before - end) / before if before > 0 else 0.0
