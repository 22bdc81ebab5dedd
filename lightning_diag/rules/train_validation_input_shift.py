"""V006 train-validation-input-shift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.seen import floats, inputs, seen_steps

_SAME = Prescription(
    "Compute mean and standard deviation on the training set and apply them to training, validation and test alike.",
    {"standardize": True},
)

_CONSTANT = Prescription("Drop features that are constant in the training set; never divide by a deviation of about 0.")


@final
@dataclass(frozen=True, kw_only=True)
class TrainValidationInputShift:
    """Validation inputs that are scaled or centred other than training inputs.

    What it finds:
        Per feature, mean and standard deviation of validation inputs against those of training: the median
        feature lies more than ``max_shift`` training deviations away, or is ``max_scale`` times as wide or as
        narrow. Or a single one lies ``max_far`` deviations away: one that was constant in training, and was
        divided by its deviation of nothing.

    Why it matters:
        A network judges by the scale it was trained on. Standardized training data and raw validation data are
        two different worlds; the validation score says nothing.

    When it is silent:
        Small differences, as of any two samples; augmentation that widens training inputs somewhat.

    What to do:
        Fit the preprocessing on the training set once, and apply the same object everywhere.

    Source:
        scikit-learn, Common pitfalls, "Inconsistent preprocessing"; Quionero-Candela et al., Dataset Shift (2009).
    """

    code: ClassVar[str] = "V006"
    name: ClassVar[str] = "train-validation-input-shift"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    max_shift: float = 2.0
    max_scale: float = 3.0
    max_far: float = 30.0
    max_alone: float = 10.0
    min_rows: int = 16

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for each input of the batch."""
        train, validate = inputs(history), inputs(history, "validate")
        both = [
            p
            for p in train
            if p in validate
            and min(train[p]["rows"], validate[p]["rows"]) >= self.min_rows
            and len(floats(train[p], "mean")) == len(floats(validate[p], "mean"))
        ]
        if not both:
            raise Unmeasured("no input was seen both in training and in validation")
        for path in both:
            (m, s), (n, t) = ((floats(f, "mean"), floats(f, "std")) for f in (train[path], validate[path]))
            moving = (s > 1e-6 * np.abs(m)) & (s > 0)
            if not moving.any() or _is_flag(train[path]):
                continue
            shift = float(np.median(np.abs(n - m)[moving] / np.maximum(s, 1e-12)[moving]))
            ratio = float(np.median(t[moving] / s[moving]))
            scale = max(ratio, 1 / max(ratio, 1e-12))
            size = float(np.sqrt(np.mean(s**2)))
            far = np.maximum(np.abs(n - m), t) / np.maximum(s, size)
            worst = int(far.argmax())
            alone = np.abs(n - m) / np.maximum(s, size)
            if far[worst] <= self.max_far and alone.max() > self.max_alone:
                worst, far = int(alone.argmax()), alone
            if far[worst] > self.max_far or alone[worst] > self.max_alone:
                yield self._single(history, path, worst, (m, s, n, t), float(far[worst]))
                continue
            if shift <= self.max_shift and scale <= self.max_scale:
                continue
            message = (
                f"The median feature of {path!r} is {np.median(m[moving]):.3g} +- "
                f"{np.median(s[moving]):.2g} in training "
                f"and {np.median(n[moving]):.3g} +- {np.median(t[moving]):.2g} in validation: "
                f"{shift:.2g} deviations away, "
                f"{ratio:.2g} times as wide. The two are not preprocessed alike, so the validation score says nothing."
            )
            step, last = seen_steps(history)
            value, limit = (scale, self.max_scale) if scale > self.max_scale else (shift, self.max_shift)
            yield Finding(self.code, self.name, self.severity, path, step, value, limit, message, last, "", (_SAME,))

    def _single(
        self, history: History, path: str, j: int, seen: tuple[Floats, Floats, Floats, Floats], far: float
    ) -> Finding:
        m, s, n, t = seen
        message = (
            f"Feature {j} of {path!r} is {m[j]:.3g} +- {s[j]:.2g} in training and {n[j]:.3g} +- {t[j]:.2g} in "
            f"validation, "
            f"{far:.2g} times as far as features usually vary. The network never saw such inputs."
        )
        step, last = seen_steps(history)
        advice = (_SAME, _CONSTANT)
        return Finding(self.code, self.name, self.severity, path, step, far, self.max_far, message, last, "", advice)


def _is_flag(facts: Mapping[str, Any]) -> bool:
    """Tell whether an input is one whole number a sample or ones and zeros, which nobody standardizes."""
    whole, low, high = bool(facts.get("integers")), floats(facts, "min"), floats(facts, "max")
    return whole and len(low) > 0 and (len(low) == 1 or bool((low >= 0).all() and (high <= 1).all()))
