"""D002 unnormalized-input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.first_loss import first_loss
from lightning_diag.rules.metrics import already_good
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import first_is_norm, floats, inputs, seen_steps as _steps

_SCALE = Prescription(
    "Standardize each feature with the training set's statistics: x = (x - mean) / std, the same in validation "
    "(pixels: ToTensor(), then Normalize).",
    {"standardize": True},
)
_NORM = Prescription("Or put a BatchNorm1d/BatchNorm2d without affine parameters before the first layer.")
_MODERATE = 3.0  # rms of the first layer's output that shows nothing of a huge input

_BOUNDED = ("RNN", "LSTM", "GRU")  # what they put out is within -1 and 1 whatever comes in


@final
@dataclass(frozen=True, kw_only=True)
class UnnormalizedInput:
    """Inputs far too large, too small or too far from zero for the first layer.

    What it finds:
        The real-valued inputs of the batches (targets and integers as such excepted): root mean square of all
        features above ``max_rms`` or below ``min_rms``, or a spread across samples below ``min_spread`` of it (an
        offset hides the differences). Info where the run does well nevertheless (a bounded score of 0.9 or more, and
        no first loss ``wild_start`` times that of a guess), or where a normalization layer comes first; a warning else.

    Why it matters:
        Initializations assume inputs of mean 0 and variance 1. Inputs of 100 make first activations and gradients
        100 times as large, units saturate or die in the first steps, and the curvature of the loss differs by the
        square of that between features, so that no single learning rate suits all.

    When it is silent:
        Standardized inputs; pixels in 0..1 and in 0..16; sparse features; embeddings; whole numbers that are looked
        up. A normalization layer that is the first to see the input. Unmeasured where the callback Preprocess maps it.

    What to do:
        Standardize each feature with mean and standard deviation of the training set, the same in validation.

    Source:
        LeCun et al., Efficient BackProp (1998), 4.3; Wiesler, Ney, A Convergence Analysis of Log-Linear Training
        (NIPS 2011), on the condition number.
    """

    code: ClassVar[str] = "D002"
    name: ClassVar[str] = "unnormalized-input"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    max_rms: float = 10.0
    min_rms: float = 0.02
    min_spread: float = 0.05
    min_rows: int = 32
    wild_start: float = 10.0

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for each input of the batch."""
        seen = inputs(history)
        if not seen:
            raise Unmeasured("no real-valued input was found in the batches")
        if any("Preprocess" in name for name in (history.run.get("wiring") or {}).get("callbacks", ())):
            raise Unmeasured("the callback Preprocess maps the inputs of a batch before the first layer sees them")
        if max(facts["rows"] for facts in seen.values()) < self.min_rows:
            raise Unmeasured(f"fewer than {self.min_rows} rows were seen; train for more steps")
        for path, facts in seen.items():
            mean, std = floats(facts, "mean"), floats(facts, "std")
            rms = float(np.sqrt(np.mean(mean**2 + std**2)))
            spread = float(np.sqrt(np.mean(std**2)))
            if rms == 0 or spread == 0 or not np.isfinite(rms):
                continue  # constant-feature
            if len(mean) == 1 and len(seen) > 1:
                continue  # a weight, a length, a time: no input of the first layer
            if rms > self.max_rms:
                yield self._finding(history, path, facts, rms, self.max_rms, "large")
            elif rms < self.min_rms:
                yield self._finding(history, path, facts, rms, self.min_rms, "small")
            elif spread < self.min_spread * rms:
                yield self._finding(history, path, facts, spread / rms, self.min_spread, "offset")

    def _finding(
        self, history: History, path: str, facts: Mapping[str, Any], value: float, limit: float, kind: str
    ) -> Finding:
        low, high = float(floats(facts, "min").min()), float(floats(facts, "max").max())
        std = floats(facts, "std")
        moving = std[std > 0]
        uneven = float(moving.max() / np.median(moving))
        raw = low >= 0 and 128 < high <= 255
        what = {
            "large": f"have a root mean square of {value:.3g}" + (" (raw pixels, 0..255)" if raw else ""),
            "small": f"have a root mean square of {value:.2g} only",
            "offset": f"differ between samples by only {percent(value)} of their size: an offset hides the differences",
        }[kind]
        message = (
            f"The inputs {path!r} {what}: from {low:.4g} to {high:.4g} over {facts['rows']} rows, the deviation "
            f"of the widest feature is {uneven:.2g} times the median one. Layers start as if inputs had mean 0 and "
            "variance 1; others make activations, gradients and the curvature of the loss uneven by the square of that."
        )
        fine = first_is_norm(history) or (
            (bool(already_good(history)) and not self._wild(history)) or self._harmless(history, kind)
        )
        severity = Severity.INFO if fine else self.severity
        step, last = _steps(history)
        return Finding(self.code, self.name, severity, path, step, value, limit, message, last, "", (_SCALE, _NORM))

    def _wild(self, history: History) -> bool:
        """Tell whether the first loss shows it: many times that of a prediction that knows nothing."""
        first = first_loss(history)
        return first is not None and first.ratio > self.wild_start

    @staticmethod
    def _harmless(history: History, kind: str) -> bool:
        """Tell whether the first activations do not show it: something in the model scales the input."""
        first = next((x for x in history.layers if x.parameters and not x.activation and x.type != "Embedding"), None)
        if first is not None and first.type.removesuffix("Cell") in _BOUNDED:
            return False
        if kind != "large" or first is None or "activation/rms" not in history.statistics:
            return False
        table = history.table("activation/rms")
        values = table.matrix[:4, table.sites.index(first.site)] if first.site in table.sites else np.zeros(0)
        values = values[np.isfinite(values)]
        return bool(len(values) and np.median(values) < _MODERATE)
