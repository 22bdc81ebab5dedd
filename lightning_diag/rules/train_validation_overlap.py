"""V004 train-validation-overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import floats, inputs, seen_steps, symbols, wiring

_LEAST, _WHOLE = 5, 0.25
_SPLIT = Prescription(
    "Split by index once: random_split(dataset, [0.8, 0.2], generator=torch.Generator().manual_seed(0))."
)
_GROUP = Prescription("Where rows belong together (patients, windows of one series) split by group: GroupShuffleSplit.")


@final
@dataclass(frozen=True, kw_only=True)
class TrainValidationOverlap:
    """Validation holds samples that were trained on.

    What it finds:
        Rows of the validation batches that are bit for bit rows of training batches, against how many would be there by
        chance, scaled up by the share of the training set that was seen: more than ``max_share`` of the validation set.

    Why it matters:
        A validation score measures how well the network does on what it has not seen. Shared samples make it measure
        memory.

    When it is silent:
        Random augmentation (rows never are the same: it cannot be seen); whole-number inputs that coincide by chance;
        fewer than ``min_rows`` rows on either side (unmeasured).

    What to do:
        Split once, by index, before anything is duplicated, windowed or augmented; split by group where rows belong
        together.

    Source:
        Kaufman, Rosset, Perlich, Leakage in Data Mining (KDD 2011); Barz, Denzler (2020).
    """

    code: ClassVar[str] = "V004"
    name: ClassVar[str] = "train-validation-overlap"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    max_share: float = 0.1
    min_rows: int = 24

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        train, validate = (inputs(history, s) or symbols(history, s) for s in ("train", "validate"))
        both = [p for p in train if p in validate and len(floats(train[p], "mean")) > 1]
        if not both:
            raise Unmeasured("no input of several features was seen both in training and in validation")
        # real numbers tell samples apart best
        path = max(both, key=lambda p: (not train[p].get("integers"), len(floats(train[p], "mean"))))
        known, other = train[path], validate[path]
        distinct, seen = int(known["distinct"]), int(other.get("distinct") or 0)
        if distinct < self.min_rows or seen < self.min_rows:
            raise Unmeasured(f"{distinct} rows of training and {seen} of validation; {self.min_rows} are needed")
        size = wiring(history).get("train_loader", {}).get("dataset_size") or distinct
        coverage = min(1.0, distinct / size)
        shared = int(other.get("shared") or 0)
        chance = known["epoch_repeats"] / max(known["epoch_rows"], 1)
        share = min(1.0, shared / (seen * coverage))
        if shared < _LEAST or share <= self.max_share + 5 * chance or (known.get("integers") and share < _WHOLE):
            return
        message = (
            f"{shared} of {seen} validation rows looked at are among the {distinct} training rows looked at, so about "
            f"{percent(share)} of the validation set was trained on. Its score measures memory in part."
        )
        step, last = seen_steps(history)
        limit, advice = self.max_share, (_SPLIT, _GROUP)
        yield Finding(self.code, self.name, self.severity, path, step, share, limit, message, last, "", advice)
