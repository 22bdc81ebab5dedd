"""H005 loss-target-mismatch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.calls import BINARY, SQUARED_LIKE, Call, differences, first_step, last_step, learned_calls
from lightning_diag.rules.metrics import words
from lightning_diag.rules.seen import loss_calls, target_of_data

_CLASSES = Prescription("Use F.cross_entropy with {k} outputs and the class numbers as target (dtype long).")
_SEVERAL = Prescription("For several labels a sample use F.binary_cross_entropy_with_logits on the same tensors.")
_UNIT = Prescription("Bring the targets into 0 to 1, or use a loss for what they are: F.mse_loss for real numbers.")
_SIGNS = Prescription("Give targets of -1 and +1 (2 * target - 1), or use F.binary_cross_entropy_with_logits.")
_COUNTS = Prescription(
    "Use F.mse_loss for real-valued targets; poisson_nll_loss is for counts, which are never negative."
)
_CLASS_METRICS = {"acc", "accuracy", "top1", "top5", "f1", "auc", "auroc", "precision", "recall", "kappa", "mcc"}
_REAL_METRICS = {"mae", "rmse", "mse", "r2", "mape", "smape", "pearson", "spearman"}
_SLIGHT = 0.05  # beyond 0 to 1: interpolated or noisy, and hardly another loss


@final
@dataclass(frozen=True, kw_only=True)
class LossTargetMismatch:
    """The targets are not what the loss is made for.

    What it finds:
        Binary cross entropy with targets outside of 0 to 1 (class numbers, raw pixels, -1); cross entropy with rows of
        real targets that do not sum to 1 (several labels a sample) or are negative; a squared, absolute or Huber
        error, called or written by hand, on class numbers: 0 to K - 1, all of them, stored as integers, in a run that
        logs an accuracy (without one: with about equal frequencies and no metric of a regression); soft margin and
        hinge losses on 0/1 instead of -1/+1; Poisson likelihood of negative targets.

    Why it matters:
        Each loss is least at the right answer only for the targets that it is made for. On class numbers an error
        says that class 3 is nearer to 4 than to 9; outside of 0 to 1 binary cross entropy has no least value at all.

    When it is silent:
        Targets within 0 to 1, also in between; one-hot or soft targets; squared errors of probabilities; counts and
        ratings; losses that are not reduced or weighted, where a mask may take out what does not fit (info).

    What to do:
        Cross entropy for one class of many, binary cross entropy for several labels, squared error for real numbers.

    Source:
        PyTorch documentation of torch.nn.BCEWithLogitsLoss, CrossEntropyLoss, SoftMarginLoss, PoissonNLLLoss; Bishop,
        Pattern Recognition and Machine Learning (2006), 5.2; Humbatova et al., Taxonomy of Real Faults in Deep
        Learning Systems (2020), wrong selection of loss function.
    """

    code: ClassVar[str] = "H005"
    name: ClassVar[str] = "loss-target-mismatch"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()
    min_classes: int = 3

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the first loss call or difference where it is so."""
        by_hand = differences(history)
        for fact in by_hand:
            found = self._indices(history, "A difference written by hand", str(fact.get("target")))
            if found is not None:
                yield found
                return
        for call in () if by_hand else learned_calls(history):
            found = self._call(call)
            if found is not None:
                yield found
                return

    def _call(self, call: Call) -> Finding | None:
        if call.loss in SQUARED_LIKE:
            first = loss_calls(call.history)[0].get("site") == call.site
            path = call.target or (target_of_data(call.history) if first else "")
            return self._indices(call.history, call.named, path)
        if not np.isfinite(call.stat("target/min")).any():
            return None
        if call.loss in BINARY:
            return self._outside(call)
        if call.loss == "cross_entropy" or (call.loss == "nll_loss" and call.float_target):
            return self._rows(call)
        least, most = (f(call.stat(s)) for f, s in ((np.nanmin, "target/min"), (np.nanmax, "target/max")))
        zeros = float(np.nanmean(np.nan_to_num(call.stat("target/zero_fraction"))))
        if call.loss in ("soft_margin_loss", "hinge_embedding_loss") and least == 0 and most == 1 and zeros > 0.01:
            message = (
                f"{call.named} gets targets of 0 and 1 ({100 * zeros:.0f} % are 0), but expects -1 and +1. Samples "
                "with target 0 push the output nowhere."
            )
            return self._finding(call.history, zeros, message, (_SIGNS,))
        if call.loss == "poisson_nll_loss" and least < 0:
            message = (
                f"F.poisson_nll_loss gets targets down to {least:.3g}, but counts are never negative. For such "
                "targets it has no least value: the loss falls without limit."
            )
            return self._finding(call.history, float(least), message, (_COUNTS,))
        return None

    def _outside(self, call: Call) -> Finding | None:
        least, most = float(np.nanmin(call.stat("target/min"))), float(np.nanmax(call.stat("target/max")))
        beyond = max(-least, most - 1)
        if beyond <= 1e-6:
            return None
        masked = call.reduction == "none" or bool(call.facts.get("weighted"))
        level = Severity.INFO if masked or beyond < _SLIGHT else Severity.ERROR
        counts = _counts(call.history)
        several = len(counts) >= self.min_classes and least >= 0 and most == max(counts)
        message = (
            f"{call.named} gets targets from {least:.3g} to {most:.3g} (steps {first_step(call.history)} to "
            f"{last_step(call.history)}), but expects 0 to 1. "
            + ("These look like numbers of classes. " if several else "")
            + "For a target outside the loss has no least value: it falls below 0 as outputs grow without bound."
        )
        classes = Prescription(_CLASSES.text.format(k=len(counts)))
        advice = (classes, _UNIT) if several else (_UNIT,)
        return self._finding(call.history, beyond, message, advice, level)

    def _rows(self, call: Call) -> Finding | None:
        """Soft targets: the mean of all elements times the number of classes is the mean row sum."""
        shape = call.shape("target")
        if not call.float_target or call.classes < 2 or shape != call.shape("prediction"):
            return None
        given = call.target or any(tuple(b.get("shape") or ()) == shape for b in _batch(call.history).values())
        if not given:  # computed in the step: weights of positive pairs, for example, need not be a distribution
            return None
        if call.loss == "nll_loss" and not _are_labels(call):
            return (
                None  # graded or weighted parts, or what a reconstruction is made of: a likelihood by hand may be meant
            )
        sums = call.stat("target/mean") * call.classes
        sums, least = sums[np.isfinite(sums)], float(np.nanmin(call.stat("target/min")))
        if float(np.median(np.abs(sums - 1))) <= 0.01 and least >= -1e-6:
            return None
        message = (
            f"{call.named} gets real targets whose rows sum to {sums.mean():.3g} on average (least element "
            f"{least:.3g}), but expects class numbers or probabilities, which sum to 1. It makes the classes compete, "
            "so that several true labels cannot all be likely."
        )
        return self._finding(call.history, float(sums.mean()), message, (_SEVERAL if least >= 0 else _UNIT,))

    def _indices(self, history: History, what: str, path: str) -> Finding | None:
        counts = _counts(history)
        dtype = str((_batch(history).get(path) or {}).get("dtype", ""))
        if (
            len(counts) < self.min_classes
            or path != target_of_data(history)
            or sorted(counts) != list(range(len(counts)))
        ):
            return None
        logged = {w for s in ("train", "validate") for n in history.series_names(s) for w in words(n)}
        classifies, n = bool(logged & _CLASS_METRICS), np.array(list(counts.values()), dtype=np.float64)
        even = n.sum() >= 10 * len(n) and n.min() > 0.3 * n.mean() and n.max() < 3 * n.mean()
        whole = "int" in dtype
        if not (classifies and (whole or even)) and not (whole and even and not logged & _REAL_METRICS):
            return None
        message = (
            f"{what} compares the output with class numbers 0 to {len(n) - 1} ({dtype.removeprefix('torch.')} in the "
            f"batch{', and an accuracy is logged' if classifies else ''}). As numbers, class 0 is nearer to 1 than to "
            f"{len(n) - 1}, and a mixture of both is 'right' in between."
        )
        advice = (Prescription(_CLASSES.text.format(k=len(n))),)
        level = Severity.ERROR if classifies else Severity.WARNING
        return self._finding(history, float(len(n)), message, advice, level)

    def _finding(
        self,
        history: History,
        value: float,
        message: str,
        advice: tuple[Prescription, ...],
        level: Severity = Severity.ERROR,
    ) -> Finding:
        first, last = first_step(history), last_step(history)
        return Finding(self.code, self.name, level, "", first, value, float("nan"), message, last, "", advice)


def _are_labels(call: Call) -> bool:
    """Tell whether targets are zeros and ones, more than one of them a row, and not the batch's first tensor."""
    mean, power = call.stat("target/mean"), call.stat("target/rms") ** 2
    known = np.isfinite(mean) & np.isfinite(power)
    if not known.any():
        return False
    whole = bool((np.abs(power - mean)[known] < 1e-3).all()) and bool((mean * call.classes)[known].mean() > 1.05)
    return whole and len(_batch(call.history)) > 1 and call.target != next(iter(_batch(call.history)), "")


def _batch(history: History) -> dict[str, dict[str, Any]]:
    return dict(history.run.get("batch") or {})


def _counts(history: History) -> dict[int, int]:
    """Return class -> how often it was seen; empty where targets are no whole numbers from 0 on."""
    found = ((history.run.get("data") or {}).get("target") or {}).get("counts") or {}
    return {int(k): int(v) for k, v in found.items()}
