"""O012 samples-mixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Layer
from lightning_diag.rules.rule import Unmeasured

_DIM = Prescription("Normalize over the classes: softmax(x, dim=-1), nn.Softmax(dim=-1); dim=0 is the batch.")
_NONE = Prescription("In front of cross_entropy use no softmax at all: it takes logits.")


@final
@dataclass(frozen=True, kw_only=True)
class SamplesMixed:
    """A softmax runs over the batch, so that the output of a sample depends on the other samples.

    What it finds:
        A softmax or log-softmax of a (samples, units) tensor whose sums over the batch are 1 to ``max_error`` in every
        sample, and whose mean is 1 / batch size, not 1 / units. An error for an output, else a warning. Other mixtures
        of samples are not seen while training.

    Why it matters:
        The samples of a batch compete with each other: the probability of a class depends on the company a sample is
        in, changes with the batch size, and means nothing for a single sample.

    When it is silent:
        Softmax over units; as many units as samples, where both cannot be told apart (contrastive losses); a softmax
        over the parts of one sample (attention over a set), whose first axis is no batch.

    What to do:
        Give the softmax the axis of the classes.

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
        """Yield at most one finding, at the first such softmax."""
        errors, means = history.table("activation/sample_sum_error"), history.table("activation/mean")
        if not errors.matrix.size or np.isnan(errors.matrix).all():
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
