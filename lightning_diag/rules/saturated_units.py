"""A002 saturated-units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Ints
from lightning_diag.rules.phase import Bools, is_learning, pick
from lightning_diag.rules.rule import Unmeasured, between, check_range, percent

_INIT = Prescription(
    "Initialize for the activation: nn.init.xavier_normal_(layer.weight, gain=nn.init.calculate_gain('tanh')).",
    {"init": "xavier_normal"},
)
_INPUT = Prescription("Standardize the input (mean 0, standard deviation 1 per feature).", {"standardize": True})
_NORM = Prescription("Put nn.BatchNorm or nn.LayerNorm before the activation.", {"norm": "batch"})
_RATE = Prescription("Lower the learning rate by a factor of 10.", {"lr": "x0.1"})
_GELU = Prescription(
    "Use an activation that does not saturate on both sides: nn.GELU or nn.ReLU.", {"activation": "gelu"}
)
_DECAY = Prescription("Add weight decay, so that the weights stop growing.", {"weight_decay": 1e-4})


@final
@dataclass(frozen=True, kw_only=True)
class SaturatedUnits:
    """Most units of a hidden bounded activation sit where it is flat.

    What it finds:
        Hidden sigmoid, tanh and similar layers of which more than ``max_saturated_units`` of the units are
        saturated (derivative below 5 % of its maximum) on at least 95 % of the elements, in the median of the
        last ``last_samples`` samples and in three quarters of them; or of which more than ``max_saturated_start``
        of all outputs were saturated in the first sample, and ``max_saturated_units`` are in the last ones.
        An error above ``max_layer_fraction`` if the
        loss does not fall.

    Why it matters:
        The gradient is multiplied by the derivative of the activation. Where that is about 0 the layers before
        learn about nothing, however wrong the prediction is.

    When it is silent:
        Output activations: a confident output sigmoid is what training asks for. Units that are saturated on
        some examples and not on others, which is how trained tanh and sigmoid layers, gates and hard activations
        encode. ReLU6, whose flat zero side is judged by dead-units. Batches of fewer than 8 examples.

    What to do:
        From the start: scale of initialization or input too large. Later: the weights grew, so lower the learning
        rate or add weight decay. A normalization before the activation helps in both cases.

    Source:
        Glorot and Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks (2010), 3;
        LeCun et al., Efficient BackProp (1998), 4.4.
    """

    code: ClassVar[str] = "A002"
    name: ClassVar[str] = "saturated-units"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("activation/saturated_units_fraction",)
    max_saturated_units: float = 0.5
    max_layer_fraction: float = 0.9
    max_saturated_start: float = 0.25
    last_samples: int = 8
    min_samples: int = 3
    min_batch: int = 8

    def __post_init__(self) -> None:
        check_range(self, "max_saturated_units", 0.0, 1.0)
        check_range(self, "max_layer_fraction", 0.0, 1.0)
        check_range(self, "min_samples", 1, self.last_samples)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for each saturated hidden layer, in order of execution."""
        sites = tuple(x.site for x in history.layers if x.role == "hidden" and x.activation not in ("", "relu6"))
        table = history.table("activation/saturated_units_fraction")
        matrix = pick(history, "activation/saturated_units_fraction", sites, table.steps)
        rows = np.flatnonzero(np.isfinite(matrix).any(axis=1))
        if not len(rows):
            raise Unmeasured("no hidden bounded activation (sigmoid, tanh, ...) was seen")
        if len(rows) < self.min_samples:
            raise Unmeasured(f"{len(rows)} samples, {self.min_samples} are needed: train for more steps")
        batch = history.run.get("batch_size") or self.min_batch
        if batch < self.min_batch:
            raise Unmeasured(f"a batch of {batch} is too small to tell a saturated unit, {self.min_batch} are needed")
        recent = matrix[rows[-self.last_samples :]]
        level = np.median(np.nan_to_num(recent, nan=0.0), axis=0)
        lasting = np.mean(np.nan_to_num(recent, nan=0.0) > self.max_saturated_units, axis=0) >= 0.75
        hot = self._hot(history, sites, table.steps[rows])
        for j in np.flatnonzero((level > self.max_saturated_units) & lasting | hot):
            column = np.nan_to_num(matrix[:, j], nan=0.0)
            bad = table.steps[rows] if hot[j] else table.steps[column > self.max_saturated_units]
            yield self._finding(history, sites[j], float(level[j]), bad, hot=bool(hot[j]))

    def _hot(self, history: History, sites: tuple[str, ...], steps: Ints) -> Bools:
        """Return where many outputs were saturated in the first sample already, and most are in the last ones.

        At a sound start about 3 % are, with a gain of 5/3 a fifth. Hard activations, which a sound start saturates
        by a third, are left out.
        """
        smooth = np.array([not (x := history.layer(s)) or not x.activation.startswith("hard") for s in sites])
        share = np.nan_to_num(pick(history, "activation/saturated_fraction", sites, steps), nan=0.0)
        late = np.median(share[-self.last_samples :], axis=0)
        return np.asarray(
            smooth & (share[0] > self.max_saturated_start) & (late > self.max_saturated_units), dtype=np.bool_
        )

    def _finding(self, history: History, site: str, level: float, bad: Ints, *, hot: bool) -> Finding:
        layer = history.layer(site)
        units = f"{layer.units} units" if layer and layer.units else "units"
        first, last = int(bad[0]), int(bad[-1])
        from_start = hot or first <= int(history.steps[min(1, len(history.steps) - 1)])
        elements = pick(history, "activation/saturated_fraction", (site,), history.steps[-self.last_samples :])
        share = f" ({percent(float(np.nanmedian(elements)))} of all outputs)" if np.isfinite(elements).any() else ""
        message = (
            f"At {site} {percent(level)} of its {units} were saturated on nearly every example{share} "
            f"{between(first, last)}, "
            + ("from the start (scale of initialization or input). " if from_start else "after a sound start. ")
            + "Their derivative is about 0, so the layers before get next to no gradient."
        )
        severe = level >= self.max_layer_fraction and not is_learning(history)
        advice = (_INIT, _INPUT, _NORM, _GELU) if from_start else (_RATE, _NORM, _DECAY, _GELU)
        severity = Severity.ERROR if severe else Severity.WARNING
        limit = self.max_saturated_units
        return Finding(self.code, self.name, severity, site, first, level, limit, message, last, "", advice)
