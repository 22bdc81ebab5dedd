"""D007 repeated-samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.seen import data, floats, inputs, seen_steps, wiring

_MOST_ROWS = 1 << 15  # hashes kept
_WHOLE = 0.33
_INDEX = Prescription("Check that __getitem__ uses its index, and that nothing caches one item for all.")
_SEED = Prescription(
    "Check that workers and epochs do not restart one random seed: seed_everything(seed, workers=True)."
)


@final
@dataclass(frozen=True, kw_only=True)
class RepeatedSamples:
    """The network sees the same few samples again and again.

    What it finds:
        Distinct input rows among those seen, against how many a data set of its stated size would have shown: less
        than ``min_share`` of that. Inputs of whole numbers, which may be the same by chance, only below a tenth of it;
        info where the sampler draws with replacement or by weight.

    Why it matters:
        An index bug (``self.data[0]``, a forgotten ``idx``), a cache or a seed that is set in every worker shrink the
        data set to a few samples, which are then learned by heart.

    When it is silent:
        Every row comes about once an epoch. Augmented rows differ each time. Unmeasured: iterable data of unknown
        length, inputs of a single feature, fewer than 64 rows.

    What to do:
        Look at ``len(set(map(hash, rows)))`` of an epoch; mend ``__getitem__``, the index or the worker's seed.

    Source:
        Recht et al. and Barz, Denzler, Do We Train on Test Data? (2020) for duplicates; torch, "My data loader workers
        return identical random numbers" (FAQ).
    """

    code: ClassVar[str] = "D007"
    name: ClassVar[str] = "repeated-samples"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    min_share: float = 0.3
    min_rows: int = 64
    weighted_share: float = 0.05

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        seen = {p: f for p, f in inputs(history).items() if len(floats(f, "mean")) > 1}
        size = wiring(history).get("train_loader", {}).get("dataset_size") or history.run.get("dataset_size")
        if len(data(history)["train"]) > 2:
            raise Unmeasured("batches hold more than input and target: samples may differ in what is not looked at")
        if not seen or not size:
            raise Unmeasured("the size of the data set is unknown, or no input of several features was found")
        path, facts = max(seen.items(), key=lambda item: len(floats(item[1], "mean")))
        rows, distinct = int(facts["rows"]), int(facts["distinct"])
        expected = size * (1 - np.exp(-rows / size))
        loader, batches = wiring(history).get("train_loader", {}), wiring(history).get("batches_per_epoch")
        if batches and loader.get("sampler") == "SequentialSampler":  # the same rows of a batch are looked at
            expected = min(expected, batches * rows / max(1, int(facts.get("batches") or 1)))
        if rows < self.min_rows or size < self.min_rows:
            raise Unmeasured(f"{rows} rows of a set of {size} were seen; {self.min_rows} are needed")
        std = floats(facts, "std")
        if not (std > 0).any() or distinct == 0:
            raise Unmeasured("rows that are constant cannot be told apart")
        limit = self.min_share * (_WHOLE if facts.get("integers") else 1.0)
        share = distinct / min(expected, _MOST_ROWS)
        if share >= limit:
            return
        sampler = str(loader.get("sampler", ""))
        weighted = sampler == "WeightedRandomSampler" and share >= self.weighted_share
        severity = Severity.INFO if weighted else self.severity
        message = (
            f"{rows} rows of {path!r} were seen and only {distinct} of them differ; of a data set of {size} about "
            f"{expected:.0f} would. The network sees the same few samples again and again."
        )
        step, last = seen_steps(history)
        yield Finding(self.code, self.name, severity, path, step, share, limit, message, last, "", (_INDEX, _SEED))
