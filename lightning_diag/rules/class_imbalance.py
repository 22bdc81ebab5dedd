"""D005 class-imbalance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.phase import is_running, steps_seen
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import data, loss_calls, seen_steps, target_path, wiring

_CLASSIFYING = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
_ROWS = 100
_OFTEN = 3  # times the training set, drawn at random, in which hardly any sample was never seen
_WEIGHT = Prescription(
    "Weight the classes by 1 / frequency: nn.CrossEntropyLoss(weight=w), or pos_weight in BCEWithLogitsLoss."
)
_SAMPLE = Prescription("Or draw them evenly: DataLoader(sampler=WeightedRandomSampler(1 / frequency[y], len(y))).")

_SPLIT = Prescription("Split at random and by class: train_test_split(x, y, stratify=y, shuffle=True).")


@final
@dataclass(frozen=True, kw_only=True)
class ClassImbalance:
    """A rare class is ignored.

    What it finds:
        A class that is ``rarity`` times rarer than it would be among equals, was present ``min_present`` times in the
        last samples, and is found in less than ``min_recall`` of these cases, because it is hardly ever predicted.
        Or a class that came in validation and never in training.
        Info where the classes are that uneven and the rare ones are found, or are symbols of a language.

    Why it matters:
        A network that always says "the majority" has a low loss and a high accuracy, and is of no use for what
        one is looking for.

    When it is silent:
        Rare classes that are found; weighted losses and samplers that do their work; runs of fewer than ``min_steps``
        steps, targets that are no classes (unmeasured).

    What to do:
        Weight the loss (``nn.CrossEntropyLoss(weight=...)``, ``pos_weight``), sample evenly
        (``WeightedRandomSampler``), and judge by balanced accuracy, average precision or recall.

    Source:
        He, Garcia, Learning from Imbalanced Data (TKDE 2009); Buda, Maki, Mazurowski (2018).
    """

    code: ClassVar[str] = "D005"
    name: ClassVar[str] = "class-imbalance"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    rarity: float = 4.0
    min_recall: float = 0.1
    min_present: int = 5
    min_steps: int = 50

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        if not any(c.get("loss") in _CLASSIFYING for c in loss_calls(history)):
            raise Unmeasured("no classification loss of torch was called")
        target = data(history).get("target", {})
        counts = {int(k): int(n) for k, n in (target.get("counts") or {}).items()}
        if sum(counts.values()) < _ROWS or len(counts) < 2:
            raise Unmeasured("fewer than 100 targets that are classes, or only one class, were seen")
        if steps_seen(history) < self.min_steps or is_running(history):
            raise Unmeasured(f"judged at the end of {self.min_steps} steps or more")
        missing = _validated_only(history, counts)
        if missing is not None:
            message = (
                f"Class {missing} is among the validation targets, and not among the {sum(counts.values())} training "
                f"targets seen (classes {', '.join(map(str, sorted(counts)[:10]))}). What never comes is not learned."
            )
            whole = sum(counts.values()) >= _OFTEN * (history.run.get("dataset_size") or math.inf)
            level = self.severity if whole else Severity.INFO  # else it may just not have been looked at
            yield self._finding(history, level, 0.0, 1 / (len(counts) + 1), message, (_SPLIT,))
        recent = {k: {int(c): n for c, n in v.items()} for k, v in (target.get("recent") or {}).items()}
        present, predicted, right = (recent.get(k, {}) for k in ("present", "predicted", "right"))
        total = sum(counts.values())
        rare = [c for c, n in counts.items() if n * len(counts) * self.rarity < total]
        if not present and rare:
            raise Unmeasured("predictions were not seen, so it is unknown whether rare classes are found")
        seen = [c for c in rare if present.get(c, 0) >= self.min_present]
        ignored = [
            c for c in seen if right.get(c, 0) < self.min_recall * present[c] and predicted.get(c, 0) < 0.5 * present[c]
        ]
        if ignored:
            worst = min(ignored, key=lambda c: counts[c])
            recall = right.get(worst, 0) / present[worst]
            message = (
                f"Class {worst} makes {percent(counts[worst] / total)} of {total} targets and is found in "
                f"{right.get(worst, 0)} of {present[worst]} cases of the last samples; it was predicted "
                f"{predicted.get(worst, 0)} times"
                + (f" (as {len(ignored) - 1} more classes)" if len(ignored) > 1 else "")
                + ". The majority alone makes the loss low, so the rare class is not learned."
            )
            level = Severity.INFO if _of_language(history, len(counts)) else self.severity
            yield self._finding(history, level, recall, self.min_recall, message)
        elif rare:
            few = min(rare, key=lambda c: counts[c])
            share = counts[few] / total
            message = (
                f"Class {few} makes {percent(share)} of {total} targets. Accuracy says little of "
                f"classes that rare: look at "
                "recall and precision of each."
            )
            yield self._finding(history, Severity.INFO, share, 1 / (len(counts) * self.rarity), message)

    def _finding(
        self,
        history: History,
        severity: Severity,
        value: float,
        limit: float,
        message: str,
        advice: tuple[Prescription, ...] = (_WEIGHT, _SAMPLE),
    ) -> Finding:
        step, last = seen_steps(history)
        return Finding(self.code, self.name, severity, "", step, value, limit, message, last, "", advice)


def _of_language(history: History, classes: int) -> bool:
    """Tell whether the classes are the symbols that come in: those of a language are never balanced.

    A sample has several targets, and as many symbols are looked up as there are outputs.
    """
    calls = [c for c in loss_calls(history) if c.get("loss") in _CLASSIFYING]
    places = math.prod(calls[0].get("target_shape") or (0,)) if calls else 0
    outputs = (calls[0].get("prediction_shape") or (0, 0))[1:2] if calls else ()
    looked_up = {p for x in history.layers if x.type == "Embedding" for p in x.parameters}
    rows = {s[0] for n, (s, *_) in (wiring(history).get("parameters") or {}).items() if n in looked_up and s}
    return places >= 2 * (history.run.get("batch_size") or places) and bool(rows & {*outputs, classes})


def _validated_only(history: History, counts: Mapping[int, int]) -> int | None:
    """Return a class that validation has and training never had, though each class should have come 20 times."""
    facts = (data(history).get("validate") or {}).get(target_path(history)) or {}
    if not facts.get("integers") or np.size(facts.get("max") or ()) != 1 or _of_language(history, len(counts)):
        return None
    call = next(c for c in loss_calls(history) if c.get("loss") in _CLASSIFYING)
    outputs = 2 if "binary" in call["loss"] else (call.get("prediction_shape") or (0, 0))[1]
    ends = {int(np.ravel(facts[k])[0]) for k in ("min", "max")}
    new = [c for c in sorted(ends - set(counts)) if 0 <= c < outputs]  # others are left out of the loss
    return new[0] if new and sum(counts.values()) >= 20 * (len(counts) + len(new)) else None
