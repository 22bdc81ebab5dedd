"""N001 batch-too-small-for-batchnorm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.deficit import deficit
from lightning_diag.rules.mode import batch_values, in_wrong_mode
from lightning_diag.rules.phase import is_learning, is_running, steps_seen
from lightning_diag.rules.rule import Unmeasured, check_range

_GROUP = Prescription("Normalize each sample by itself: nn.GroupNorm or nn.LayerNorm for BatchNorm.", {"norm": "group"})
_BATCH = Prescription("Use batches of 16 or more; accumulate_grad_batches does not help, it is not seen by BatchNorm.")
_SYNC = Prescription("On several devices: Trainer(sync_batchnorm=True).")


@final
@dataclass(frozen=True, kw_only=True)
class BatchTooSmallForBatchnorm:
    """BatchNorm estimates mean and variance of a channel from a handful of values.

    What it finds:
        Values per channel (samples times positions) of the usual batch of a BatchNorm in training mode: ``few`` or
        less is a warning (2 and no progress: an error); below ``enough`` it is a warning where validation is far
        worse than training, else an info.

    Why it matters:
        A mean of n values has a noise of 1/sqrt(n) standard deviations. Of 2 values each becomes +1 or -1, whatever
        it was; of 4 none is beyond 1.7. What is learned is the company that a sample is in, and evaluation, which
        uses running statistics, sees something else.

    When it is silent:
        Convolutions, where positions count as well; a single small batch at the end of an epoch; a frozen BatchNorm.

    What to do:
        Normalize each sample by itself, or use larger batches.

    Source:
        Wu and He, Group Normalization (2018), 1 and figure 1; Ioffe, Batch Renormalization (2017), 1.
    """

    code: ClassVar[str] = "N001"
    name: ClassVar[str] = "batch-too-small-for-batchnorm"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("norm/values",)
    few: int = 4
    enough: int = 8
    min_steps: int = 5

    def __post_init__(self) -> None:
        check_range(self, "few", 1, 10**6)
        check_range(self, "enough", self.few, 10**6)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the BatchNorm with the fewest values."""
        if steps_seen(history) < self.min_steps:
            raise Unmeasured(f"{steps_seen(history)} steps; {self.min_steps} are needed")
        try:
            resting, _ = in_wrong_mode(history, "train")
        except Unmeasured:
            resting = {}
        table = history.table("norm/values")
        values = {s: self._values(history, s) for s in table.sites if s.split("#")[0] not in resting}
        small = {s: n for s, n in values.items() if n < self.enough}
        if not small:
            return
        site = min(small, key=lambda s: small[s])
        n, worse = small[site], deficit(history)
        first, last = int(table.steps[0]), int(table.steps[-1])
        harm = f"; {worse.name} is {worse.validate:.3g}, in training {worse.train:.3g}" if worse else ""
        message = (
            f"{site} normalizes with {n:.0f} values per channel in a batch (steps {first} to {last}; {len(small)} of "
            f"{len(values)} BatchNorm layers with fewer than {self.enough}){harm}. The noise of their mean is "
            f"{1 / np.sqrt(max(n, 1)):.2g} standard deviations: what comes out depends on which samples come together."
        )
        severity = Severity.WARNING if n <= self.few or worse else Severity.INFO
        if n <= 2 and not is_running(history) and steps_seen(history) >= 100 and not is_learning(history):
            severity = Severity.ERROR
        advice, limit = (_GROUP, _BATCH, _SYNC), float(self.enough)
        yield Finding(self.code, self.name, severity, site, first, n, limit, message, last, "", advice)

    @staticmethod
    def _values(history: History, site: str) -> float:
        """Return the values per channel; where ranks normalize together, of all of them."""
        layer = history.layer(site)
        together = layer is not None and layer.type.startswith("Sync")
        return batch_values(history, site) * (int(history.run.get("world_size") or 1) if together else 1)
