"""V001 overfitting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.calls import BINARY
from lightning_diag.rules.metrics import aligned, bounded, direction, improves, pairs, signed, words
from lightning_diag.rules.phase import loss_breaks
from lightning_diag.rules.rule import Unmeasured, check_range
from lightning_diag.rules.seen import loss_calls
from lightning_diag.rules.trivial import trivial_loss
from lightning_diag.trends import Gap, falls, gap, noise, smooth

_STOP = Prescription(
    "Stop early and keep the best weights: EarlyStopping(monitor='{0}', mode='{1}', patience=5) and "
    "ModelCheckpoint(monitor='{0}', mode='{1}').",
    {"early_stopping": True},
)
_DROPOUT = Prescription("Add dropout before the last layers: nn.Dropout(0.3).", {"dropout": 0.3})
_MORE_DROPOUT = Prescription("Raise the dropout rate by 0.1 to 0.2.", {"dropout": "+0.15"})
_DECAY = Prescription("Raise weight decay: AdamW(..., weight_decay=0.05).", {"weight_decay": 0.05})
_FEW = 0.02  # of all samples: so many more may be wrong in a good score before it counts as lost
_GOOD = 0.95  # of a score whose best is 1: what the loss then says is how sure the model is of few mistakes
_SURE = ("cross_entropy", "nll_loss", *BINARY)  # losses that grow with how sure the model is of its mistakes
_NEARLY_ALL, _MUCH, _TIMES = 0.05, 0.25, 8  # training and validation error over the targets' variance; their ratio
_FAR, _LITTLE = 0.3, 0.2  # of the loss of a guess: below this most is explained; a rise that is small against it
_ENOUGH, _PARTED = 100, 0.15  # training samples looked at; accuracy lost from them to new ones
_SCORE = Prescription('Log what you are after on the validation set too: self.log("val_acc", ...).')
_DATA = Prescription("Get more data, or augment it (crops, flips, mixup).", {"mixup": 0.2})


@final
@dataclass(frozen=True, kw_only=True)
class Overfitting:
    """Validation gets worse while training goes on improving.

    What it finds:
        For every metric logged in training and validation under the same name: the last validation points are
        worse than the best (smoothed) one by more than ``min_rise_in_noise`` standard deviations, by ``min_rise`` of
        what had been gained and (a loss) by ``min_level_rise`` of its level, most points since then are, and training
        improved meanwhile by more than its noise. Or validation stands still for the last half of the points while
        training makes ``min_stalled_gain`` or more of all its gain. Or a regression's training error is below a
        twentieth of the variance of the targets, and the validation error, at rest, above a quarter of it and 8 times
        as large. Info where a validation score (accuracy, ...) still
        gets better beyond its own noise or stays at 0.95 or more, or where the loss merely stalls and the score does
        not fall.

    Why it matters:
        The network now learns the training examples by heart. Each further epoch makes it worse on new data.

    When it is silent:
        Fewer than ``min_points`` validation points; one bad point; a rise within the noise; validation that
        stalls because training has, too; training that gained less than ``min_train_gain`` of its level. Else the
        absolute gap between training and validation is not judged: a training loss seen through dropout,
        augmentation, or with penalties added to it, is offset from the validation loss. A metric of which it is not
        known whether higher is better (no torchmetrics object, no telling name).

    What to do:
        Keep the best checkpoint and stop early; then regularize (dropout, weight decay), augment, or get more data.

    Source:
        Prechelt, Early Stopping - But When? (1998), generalization loss GL; Guo et al., On Calibration of Modern
        Neural Networks (2017), 3, on loss that rises while accuracy does not fall.
    """

    code: ClassVar[str] = "V001"
    name: ClassVar[str] = "overfitting"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    min_points: int = 5
    min_rise_in_noise: float = 4.0
    min_rise: float = 0.1
    min_level_rise: float = 0.1
    min_stalled_gain: float = 0.25
    min_train_gain: float = 0.05

    def __post_init__(self) -> None:
        check_range(self, "min_points", 5, 10**9)
        check_range(self, "min_rise", 0.0, 1.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for every metric that overfits, scores before losses."""
        if loss_breaks(history):
            raise Unmeasured("the loss is not finite (non-finite-loss)")
        found = pairs(history)
        if not found:
            raise Unmeasured(
                "no metric was logged in training and validation under the same name; log both, for example "
                "self.log('train_loss', ...) and self.log('val_loss', ...)"
            )
        judged = False
        for train, validate in sorted(found, key=lambda p: direction(history, p[1]) == "lower"):
            a, b = history.series(train), history.series(validate, "validate")
            a, b = (type(s)(s.steps, signed(history, validate, s)) for s in (a, b))
            steps, t, v = aligned(a, b)
            if len(v) >= self.min_points:
                judged = True
                yield from self._judge(history, (train, validate), steps, t, v)
        if not judged:
            most = max(len(history.series(v, "validate")) for _, v in found)
            raise Unmeasured(
                f"{most} validation points; {self.min_points} are needed: train longer or validate oftener"
            )

    def _judge(
        self, history: History, names: tuple[str, str], steps: Floats, t: Floats, v: Floats
    ) -> Iterator[Finding]:
        parted = gap(t, v)
        lower = direction(history, names[1]) == "lower"
        slight = lower and 0 <= parted.rise < self.min_level_rise * parted.level[1]
        worse, stalled = self._worsens(parted, len(v)) and not slight, self._stalls(t, v)
        learned = parted.train_improvement > self.min_train_gain * abs(float(t[0]))
        torn = lower and not improves(v[len(v) // 2 :]) and _fits_training_only(history, *parted.level)
        if not learned or not (worse or stalled or torn):
            return
        at = parted.best if worse else len(v) // 2
        sign = -1.0 if direction(history, names[1]) == "higher" else 1.0
        plain, best, end = names[1].removeprefix("metric/"), sign * v[at], sign * parted.level[1]
        words = f"got worse from {best:.4g} to {end:.4g}" if worse else f"has not got better ({end:.4g})"
        first, last = int(steps[at]), int(steps[-1])
        message = (
            f"{plain} {words} in steps {first} to {last} ({len(v) - at} validation points, noise {parted.noise:.2g}) "
            f"while {names[0].removeprefix('metric/')} went on from {sign * t[at]:.4g} to {sign * parted.level[0]:.4g}."
        )
        harmless = "" if torn else self._scores_hold(history, names[1], int(steps[at]), stalled=not worse)
        unscored = lower and not harmless and _explains_most(history, best, end)
        if unscored:
            message += " It still explains most, and no score is logged that could tell whether more is wrong."
        elif harmless:
            holds = "holds or gets better" if worse else "has not got worse"
            message += f" But {harmless} {holds}: the model is only too sure of its mistakes."
        else:
            message += " The model now learns the training examples by heart, at the cost of new ones."
        severity = Severity.INFO if harmless or unscored else Severity.WARNING
        mode = "max" if sign < 0 else "min"
        advice = (
            Prescription(_STOP.text.format(plain, mode), {**_STOP.changes, "monitor": plain, "monitor_mode": mode}),
            _MORE_DROPOUT if history.run.get("dropout") else _DROPOUT,
            _DECAY,
            _DATA,
            *((_SCORE,) if unscored else ()),
        )
        yield Finding(
            self.code, self.name, severity, plain, first, parted.rise, self.min_rise_in_noise * parted.noise,
            message, last, "", advice,
        )  # fmt: skip

    def _worsens(self, g: Gap, n: int) -> bool:
        """Tell whether validation lost, beyond noise and for several points, while training gained."""
        beyond = g.rise > max(self.min_rise_in_noise * g.noise, self.min_rise * max(g.improvement, 0.0), 0.0)
        lasting = n - 1 - g.best >= 3 and g.worse_share >= 2 / 3
        return beyond and lasting and g.train_fall > max(2 * g.train_noise, 0.01 * g.train_improvement, 0.0)

    def _stalls(self, t: Floats, v: Floats) -> bool:
        """Tell whether validation stands still in its second half while training makes much of its gain there."""
        half = len(v) // 2
        if len(v) - half < 4:
            return False
        gained = float(np.median(t[half : half + 2]) - np.median(t[-2:]))
        total = float(t[0] - np.median(t[-2:]))
        better_train = np.median(t[-2:]) < np.median(v[-2:])  # else augmentation or dropout explains the difference
        moved = float(np.median(smooth(v[half:], 3)[:2]) - np.median(v[-3:]))
        still = moved <= noise(v) and not improves(v[half:])
        return bool(still and better_train and gained > max(self.min_stalled_gain * total, 4 * noise(t), 0.0))

    @staticmethod
    def _scores_hold(history: History, judged: str, since: int, *, stalled: bool) -> str:
        """Return a validated score that got better since a step (or is good, or ``stalled``: no worse), else "".

        For a loss only: a score is what the user is after, a loss stands in for it.
        """
        if direction(history, judged) != "lower":
            return ""
        for name in history.series_names("validate"):
            if name.startswith("metric/") and direction(history, name) == "higher":
                series = history.series(name, "validate")
                v, late = signed(history, name, series), series.steps > since
                v, late = v[np.isfinite(v)], late[np.isfinite(v)]
                if len(v) < 5 or not late.any() or late.all():
                    continue
                s, end, slack = smooth(v, 3), float(np.median(v[-3:])), 2 * noise(v)
                good = bounded(name) and _GOOD <= -end <= 1
                held = end - s.min() <= max(slack, 0.02 * float(v[0] - s.min()), _FEW if good else 0.0)
                parted = _learned_by_heart(history, name, -end)
                if held and not parted and (not falls(-v) if stalled else good or end < s[~late].min() - slack):
                    return name.removeprefix("metric/")
        return ""


def _explains_most(history: History, best: float, end: float) -> bool:
    """Tell whether an unscored validation loss of a classifier rose by little, to where a guess is still far off."""
    scored = any(direction(history, n) == "higher" for n in history.series_names("validate"))
    guess = trivial_loss(history)
    classifies = any(c.get("loss") in _SURE for c in loss_calls(history))
    return classifies and not scored and end < _FAR * guess and end - best < _LITTLE * guess


def _fits_training_only(history: History, train: float, validation: float) -> bool:
    """Tell whether a regression explains nearly all of the training targets and much less of new ones.

    Neither dropout nor augmentation can be the reason: they make the training error the larger one.
    """
    spread = trivial_loss(history)
    squared = [c.get("loss") for c in loss_calls(history)] == ["mse_loss"]
    return squared and 0 <= train < _NEARLY_ALL * spread and validation > max(_MUCH * spread, _TIMES * train)


def _learned_by_heart(history: History, score: str, end: float) -> bool:
    """Tell whether a validated accuracy ends far below that on the training samples seen last."""
    recent = ((history.run.get("data") or {}).get("target") or {}).get("recent") or {}
    present, right = (sum((recent.get(k) or {}).values()) for k in ("present", "right"))
    accuracy = {"acc", "accuracy", "top1"} & set(words(score))
    return bool(accuracy) and present >= _ENOUGH and right / present - end > _PARTED
