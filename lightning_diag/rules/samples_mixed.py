"""O012 samples-mixed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Layer
from lightning_diag.rules.fitness import shapes
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.seen import seen_steps

_DIM = Prescription("Normalize over the classes: softmax(x, dim=-1), nn.Softmax(dim=-1); dim=0 is the batch.")
_FIRST = Prescription(
    "Say how the axes lie: batch_first=True for (samples, time, features); without it the layer expects (time, "
    "samples, features)."
)
_TRANSPOSE = Prescription(
    "Move axes with x.transpose(0, 1) or x.permute(...), then flatten; view and reshape only cut the numbers anew, in "
    "the order in which they lie."
)
_NONE = Prescription("In front of cross_entropy use no softmax at all: it takes logits.")


@final
@dataclass(frozen=True, kw_only=True)
class SamplesMixed:
    """A softmax, a recurrent or an attention layer runs over the batch: samples depend on each other.

    What it finds:
        A softmax or log-softmax of a (samples, units) tensor whose sums over the batch are 1 to ``max_error`` in every
        sample, and whose mean is 1 / batch size, not 1 / units: an error for an output, else a warning. A recurrent or
        attention layer whose time axis (batch_first) is as long as the batch has samples, and whose sample axis is as
        long as the batch has time steps: an error. A view or reshape that moves the axis of the samples, as
        (time, samples, features) to (samples, time * features): an error. Other mixtures are not seen while training.

    Why it matters:
        The samples of a batch compete with each other: the probability of a class depends on the company a sample is
        in, changes with the batch size, and means nothing for a single sample.

    When it is silent:
        Layers that get (time, samples, features) and say so; as many samples as time steps; layers over other axes of
        the data. Softmax over units; as many units as samples, where both cannot be told apart (contrastive losses); a
        softmax over the parts of one sample (attention over a set), whose first axis is no batch.

    What to do:
        Give the softmax the axis of the classes; tell the layer with batch_first how its axes lie.

    Source:
        PyTorch documentation, nn.Softmax (dim); Karpathy, A Recipe for Training Neural Networks (2019), "use backprop
        to chart dependencies", on mixing information across the batch.
    """

    code: ClassVar[str] = "O012"
    name: ClassVar[str] = "samples-mixed"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()
    max_error: float = 1e-3

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the first layer over time that is turned round, or the first such softmax."""
        for found in (self._swapped(history), self._torn(history)):
            if found is not None:
                yield found
                return
        errors, means = history.table("activation/sample_sum_error"), history.table("activation/mean")
        if not errors.matrix.size or np.isnan(errors.matrix).all():
            if history.run.get("sequences") or history.run.get("reshapes"):
                return
            raise Unmeasured("no softmax of a (samples, units) tensor was seen; other mixtures show in no statistic")
        for layer in history.layers:
            if layer.site not in errors.sites:
                continue
            error = errors.matrix[:, errors.sites.index(layer.site)]
            known = np.isfinite(error)
            if not known.any() or float(error[known].max()) > self.max_error:
                continue
            where = dict(zip(means.steps.tolist(), means.matrix[:, means.sites.index(layer.site)], strict=True))
            steps = errors.steps[known]
            mean = float(np.median([where.get(int(s), np.nan) for s in steps]))
            if self._over_batch(history, layer, mean):
                yield self._finding(layer, steps, float(error[known].max()), mean)
                return

    def _swapped(self, history: History) -> Finding | None:
        """A recurrent or attention layer whose samples are the time steps of the batch, and the other way round."""
        batch = [tuple(b.get("shape") or ()) for b in (history.run.get("batch") or {}).values() if isinstance(b, dict)]
        size = ((history.run.get("wiring") or {}).get("train_loader") or {}).get("batch_size")
        if size is None or any(s[:1] != (size,) for s in batch):  # the samples may lie along another axis on purpose
            return None
        for site, (samples, times) in (history.run.get("sequences") or {}).items():
            whole = samples * _width(history, site)
            torn = samples > 1 and samples % size != 0 and any(len(s) > 1 and math.prod(s[1:]) == whole for s in batch)
            if times == size != samples and (torn or any(s[1:2] == (samples,) for s in batch)):
                first, last = seen_steps(history)
                message = (
                    f"{site} takes the {size} samples of the batch for {size} time steps, and the {samples} time steps "
                    f"for {samples} samples (steps {first} to {last}): what it puts out for a sample depends on the "
                    "samples before it in the batch, and nothing passes from one time step to the next."
                )
                advice, value = (_FIRST,), float(times)
                return Finding(
                    self.code, self.name, self.severity, site, first, value, float(samples), message, last, "", advice
                )
        return None

    def _torn(self, history: History) -> Finding | None:
        """A reshape where a transpose was meant."""
        for fact in history.run.get("reshapes") or ():
            first, last = seen_steps(history)
            before, after = tuple(fact["from"]), tuple(fact["to"])
            site = str(fact.get("site") or "")
            message = (
                f"A view or reshape in {site or 'the training step'} makes {before} into {after} (steps {first} to "
                f"{last}). It moves the axis of the samples without moving the numbers: each row it gives holds pieces "
                "of several samples, so that the output of one depends on the others."
            )
            value, nothing = float(before[1]), float("nan")
            return Finding(
                self.code, self.name, self.severity, site, first, value, nothing, message, last, "", (_TRANSPOSE,)
            )
        return None

    @staticmethod
    def _over_batch(history: History, layer: Layer, mean: float) -> bool:
        """Tell whether a softmax over the first axis runs over the samples of a batch, and there are other units."""
        batch = [list(b.get("shape") or ()) for b in (history.run.get("batch") or {}).values() if isinstance(b, dict)]
        sizes = {s[0] for s in batch if s} | {history.run.get("batch_size")}
        if layer.activation == "softmax":
            rows = round(1 / mean) if mean > 0 else 0
            return rows > 1 and rows != layer.units and all(n is None or abs(n - rows) <= 1 for n in sizes)
        return layer.activation == "log_softmax" and len(batch) > 0 and layer.units not in sizes

    def _finding(
        self, layer: Layer, steps: np.ndarray[tuple[int], np.dtype[np.int64]], error: float, mean: float
    ) -> Finding:
        first, last = int(steps[0]), int(steps[-1])
        message = (
            f"The {layer.activation} {layer.site} sums to 1 over the samples of the batch (to {error:.1g}, in all "
            f"{len(steps)} samples of steps {first} to {last}), not over its {layer.units} units. The output for a "
            "sample depends on which other samples are in its batch."
        )
        severity = Severity.ERROR if layer.role == "output" else Severity.WARNING
        advice, limit = (_DIM, _NONE), self.max_error
        return Finding(self.code, self.name, severity, layer.site, first, error, limit, message, last, "", advice)


def _width(history: History, site: str) -> int:
    """Return the numbers that a recurrent or attention layer takes at a time step, 0 if unknown."""
    known = shapes(history)
    for name in (f"{site}.weight_ih_l0", f"{site}.in_proj_weight"):
        if name in known and len(known[name][0]) == 2:
            return int(known[name][0][1])
    return 0
