"""D006 not-shuffled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import data, seen_steps, wiring

_RANDOM = ("RandomSampler", "WeightedRandomSampler", "SubsetRandomSampler")
_SHUFFLE = Prescription(
    "DataLoader(train_set, shuffle=True, ...); for iterable data shuffle within a buffer.", {"shuffle": True}
)


@final
@dataclass(frozen=True, kw_only=True)
class NotShuffled:
    """Batches that hold what lies next to each other in the data set.

    What it finds:
        Classes: the chance that two samples of one batch are of the same class, against that of two samples of
        different batches. Numbers: the share of the targets' variance that lies between batches. It finds where that
        is beyond what random batches show; a warning where it is more than ``max_share`` of all there is to explain,
        info below.

    Why it matters:
        A batch of one class pulls all weights to that class, the next one to another: the gradient of a batch is no
        estimate of that of the data set. Batch normalization sees other statistics in every batch.

    When it is silent:
        Shuffled data; data that lies in random order or is generated as it comes; too few batches (unmeasured).

    What to do:
        ``DataLoader(train_set, shuffle=True)``; for iterable data a shuffle buffer.

    Source:
        Bottou, Stochastic Gradient Descent Tricks (2012), 3; Bengio, Practical Recommendations (2012), 3.1.4.
    """

    code: ClassVar[str] = "D006"
    name: ClassVar[str] = "not-shuffled"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    max_share: float = 0.4
    min_batches: int = 8
    min_batch: int = 4

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        size = int(history.run.get("batch_size") or 0)
        found = data(history)
        batches = max((f.get("batches", 0) for f in found["train"].values()), default=0)
        if size < self.min_batch or batches < self.min_batches:
            raise Unmeasured(f"{batches} batches of {size} samples; {self.min_batches} of {self.min_batch} are needed")
        share, noise = self._share(history, size)
        if not np.isfinite(share):
            raise Unmeasured("no target was found in the batches")
        if share <= 4 * noise:
            return
        sampler = str(wiring(history).get("train_loader", {}).get("sampler", ""))
        if sampler in _RANDOM:
            return
        severity = self.severity if share > self.max_share else Severity.INFO
        message = (
            f"{percent(min(share, 1.0))} of what distinguishes targets lies between batches, not within them (random "
            f"batches of {size}: {percent(noise)}), seen over {batches} batches"
            + (f"; the loader draws with {sampler}" if sampler else "")
            + ". Each batch pulls the weights to its own targets, the next one elsewhere."
        )
        step, last = seen_steps(history)
        yield Finding(self.code, self.name, severity, "", step, share, self.max_share, message, last, "", (_SHUFFLE,))

    @staticmethod
    def _share(history: History, size: int) -> tuple[float, float]:
        """Return (share of the targets' variance between batches, its standard deviation if batches were random)."""
        target = data(history).get("target", {})
        within, whole = target.get("same_class_in_batch"), target.get("same_class")
        batches = max((f.get("batches", 0) for f in data(history)["train"].values()), default=1)
        if within is not None and whole is not None and whole < 1:
            return float((within - whole) / (1 - whole)), 1 / size / np.sqrt(batches) + 1e-3
        tables = [history.table(f"target/{s}") for s in ("mean", "std") if f"target/{s}" in history.statistics]
        if len(tables) < 2 or not len(tables[0]):
            return float("nan"), 0.0
        mean, std = (t.matrix[:, 0][np.isfinite(t.matrix[:, 0])] for t in tables)
        total = float(np.var(mean) + np.mean(std**2)) if len(mean) else 0.0
        if total <= 0:
            return float("nan"), 0.0
        return float(np.var(mean) / total) - 1 / size, 1 / size * (1 + np.sqrt(2 / len(mean)))
