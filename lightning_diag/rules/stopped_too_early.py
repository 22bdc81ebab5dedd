"""L007 stopped-too-early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.curve import (
    best_scores,
    crosses_zero,
    finite_loss,
    pace,
    several_optimizers,
    unexplained,
    validation_loss,
)
from lightning_diag.rules.fitness import fitness
from lightning_diag.rules.metrics import direction, improves, words
from lightning_diag.rules.phase import is_running, loss_breaks, rate_share, steps_seen
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import planned
from lightning_diag.trends import concordance, noise

_MORE = Prescription("Train for two to four times as many epochs.", {"max_epochs": "x3"})
_STOP = Prescription('Let EarlyStopping(monitor="val_loss", patience=10) decide when to stop.')
_WATCH = Prescription('Tell it what to watch and where to: EarlyStopping(monitor="val_loss", mode="min", patience=10).')
_GOOD, _BARELY = 0.95, 0.5
_ACCURACY = {"acc", "accuracy", "top1", "f1", "iou", "dice", "auc", "auroc"}
_FEW_EPOCHS, _EARLY_PACE, _LITTLE, _LONG = 5, 0.15, 0.1, 100


@final
@dataclass(frozen=True, kw_only=True)
class StoppedTooEarly:
    """Training ends while the model still gets better.

    What it finds:
        At the end of a run that took all its planned steps, the training loss and, where it is logged, the validation
        loss still fall at more than ``max_pace`` of their average pace over the run, beyond noise. An exponential
        approach falls at that pace for as long as fewer than about 1.3 time constants have passed; a quarter
        of that pace counts where the last of five epochs or fewer brought a fifth of all that validation gained, or of
        its loss, and where a validated accuracy below 0.9 made a fifth of its gain in the last third. Or EarlyStopping
        ended the run with the mode of what is better the other way, or although the last validation was the best in
        every loss and score that is logged.

    Why it matters:
        The number of epochs is the second most frequent fault in published collections of real ones. As long as
        the loss falls at such a pace, more of the same helps, and all other conclusions are premature.

    When it is silent:
        A score of 0.95 or more (an IoU counts as the Dice that it is); a learning rate that was decayed to its end;
        early stopping after the best, at a ``stopping_threshold``, or by a ``min_delta`` once half of what a guess
        loses is gone, an exception or an interrupt; a time limit. Info: a good fit, runs
        of less than ``min_steps`` steps and ``min_epochs`` epochs (smoke runs), or of one epoch in which the loss came
        below half of that of a guess.

    What to do:
        Train for two to four times as many epochs, and let EarlyStopping on the validation loss end it.

    Source:
        Cao et al., DeepFD (ICSE 2022): epochs are wrong in 18 of 52 real faulty programs; Prechelt, Early Stopping
        - But When? (1998).
    """

    code: ClassVar[str] = "L007"
    name: ClassVar[str] = "stopped-too-early"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    max_pace: float = 0.6
    min_steps: int = 60
    min_epochs: int = 20

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        if is_running(history):
            raise Unmeasured("the run is still going")
        values = finite_loss(history)
        if len(values) < 24 or loss_breaks(history) or crosses_zero(values) or several_optimizers(history):
            raise Unmeasured("too few losses, or losses whose course says nothing")
        taken, plan = steps_seen(history), planned(history)
        ended = str(history.run.get("status", "finished")) == "finished"
        if ended and taken < 0.98 * plan:
            yield from self._cut_short(history, taken, plan)
        if not ended or taken < 0.98 * plan:
            return  # stopped by early stopping, a person or a fault, not by the number of epochs
        if rate_share(history, np.array([taken - 1]))[0] < 0.3 or _is_good(history):
            return
        train = pace(values)
        name, _, validation = validation_loss(history)
        limit = _EARLY_PACE if _has_just_begun(history, validation) else self.max_pace
        climbing = _still_climbs(history) if train > _EARLY_PACE else 0.0
        if not (train > limit and self._matters(history, values)) and not climbing:
            return
        if len(validation) >= 5 and not climbing:
            half = validation[len(validation) // 2 :]
            if not (improves(validation) and falls_on(half)):
                return
        elif len(validation) == 0 and taken < 2 * self.min_steps:
            return
        epochs = int(history.epochs[-1]) + 1 if len(history.epochs) else 0
        begun = float(np.nan_to_num(unexplained(history))) > _BARELY  # hardly anything is learned yet
        short = (taken < self.min_steps and epochs < self.min_epochs) or (epochs < 2 and not begun)
        severity = Severity.INFO if short or fitness(history) == "good" else self.severity
        message = (
            f"In its last third the training loss still falls at {percent(train)} of its average pace (from "
            f"{values[:5].mean():.4g} to {np.median(values[-5:]):.4g} in {taken} steps)"
            + (f", and {name.removeprefix('metric/')} falls with it" if len(validation) >= 5 else "")
            + ". Training ended because its epochs were over, not because there was nothing left to learn."
        )
        yield Finding(
            self.code, self.name, severity, "", taken - 1, train, limit, message, taken - 1, "", (_MORE, _STOP)
        )

    def _cut_short(self, history: History, taken: int, plan: int) -> Iterator[Finding]:
        """Yield a finding where EarlyStopping ended a run that it watched the wrong way, or that was at its best."""
        wiring = history.run.get("wiring") or {}
        stops: list[dict[str, Any]] = wiring.get("early_stopping") or []
        if "EarlyStopping" not in (wiring.get("callbacks") or ()) or _is_good(history):
            return
        if any(s.get("stopping_threshold") is not None for s in stops):
            return  # the user knows what is good enough
        name, _, loss = validation_loss(history)
        scores = {n: -v for n, v in best_scores(history)} | ({name: loss} if name else {})
        watched = {n: v[np.isfinite(v)] for n, v in scores.items()}
        watched = {n.removeprefix("metric/"): v for n, v in watched.items() if len(v) >= 3}
        begun = not float(np.nan_to_num(unexplained(history))) > _BARELY
        content = begun and any(s.get("min_delta") for s in stops)  # with less than the best, on purpose
        best = watched and not content and all(int(np.argmin(v)) == len(v) - 1 and _gained(v) for v in watched.values())
        best = best and (len(watched) > 1 or min(map(len, watched.values())) > 3)
        contrary = next((s for s in stops if _is_contrary(history, s)), None)
        if contrary is not None:
            message = (
                f'EarlyStopping(monitor="{contrary["monitor"]}", mode="{contrary["mode"]}") ended the run at step '
                f"{taken} of {plan}: it takes what gets better for worse, and ends a run that still learns."
            )
        elif best:
            message = (
                f"EarlyStopping ended the run at step {taken} of {plan}, although the last validation was the best of "
                f"all {len(next(iter(watched.values())))} ({', '.join(watched)}). It watches something else, in the "
                "wrong direction (mode), or with too little patience."
            )
        else:
            return
        value = taken / plan
        yield Finding(
            self.code, self.name, self.severity, "", taken - 1, value, 1.0, message, taken - 1, "", (_WATCH, _MORE)
        )

    @staticmethod
    def _matters(history: History, values: Floats) -> bool:
        """Tell whether the last third gained a part that matters.

        That is 2 % of the level at its beginning, or, where most is still to be learned, a fifth of all gained so far.
        """
        third = len(values) // 3
        before, end = np.median(values[-third : -third + max(3, third // 4)]), np.median(values[-max(3, third // 4) :])
        gain, left = float(before - end), unexplained(history)
        start = float(np.median(values[: max(3, third // 4)]))
        return gain > 0.02 * abs(float(before)) or (left > 0.5 and gain > 0.2 * (start - float(end)) > 0)


def _has_just_begun(history: History, validation: Floats) -> bool:
    """Tell whether the last of few epochs brought a fifth of what validation gained, or of what was left of it.

    For the latter a tenth or more of what a guess loses is left, after a hundred steps; for the former a half.
    """
    if not 3 <= len(validation) <= _FEW_EPOCHS:
        return False
    gains, left = -np.diff(validation), unexplained(history)
    much, most = gains[-1] > 0.2 * validation[-2], gains[-1] > 0.2 * gains.sum()
    return bool(
        (gains > 0).all() and ((most and left > _BARELY) or (much and left > _LITTLE and steps_seen(history) >= _LONG))
    )


def _still_climbs(history: History) -> float:
    """Return what the last third of a validated accuracy gained, 0.0 if less than a fifth of all, or than 3 %.

    Beyond noise, at rest nowhere in that third, and short of 0.9.
    """
    for name, v in best_scores(history):
        v = v[np.isfinite(v)]
        if not _ACCURACY & set(words(name)) or len(v) < 6 or not 0 <= v[-1] < 0.9 or v.max() > 1:
            continue
        third = v[-(len(v) // 3) - 1 :]
        gain, whole = float(np.median(third[-2:]) - np.median(third[:2])), float(np.median(v[-2:]) - v[0])
        rises = concordance(third) >= 0.6 if len(third) > 3 else bool((np.diff(third) > 0).all())
        if rises and gain > max(0.03, 0.2 * whole, 3 * noise(v)):
            return gain
    return 0.0


def _gained(values: Floats) -> bool:
    """Tell whether a series where lower is better got better, of three values each time."""
    return improves(values) if len(values) > 3 else bool((np.diff(values) < 0).all())


def _is_contrary(history: History, stop: Mapping[str, Any]) -> bool:
    """Tell whether an EarlyStopping has the mode of what is better the other way."""
    better = direction(history, str(stop.get("monitor")))
    return (better, stop.get("mode")) in (("higher", "min"), ("lower", "max"))


def _is_good(history: History) -> bool:
    """Tell whether a validation score whose best is 1 is nearly there."""
    for name, v in best_scores(history):
        best = float(np.nanmax(v[-3:])) if np.isfinite(v[-3:]).any() else 0.0
        if {"iou", "miou", "jaccard"} & set(words(name)):
            best = 2 * best / (1 + best)  # the Dice of such an overlap
        if _GOOD <= best <= 1:
            return True
    return False


def falls_on(half: Floats) -> bool:
    """Tell whether the second half of a validation loss still falls: its end is its best part, by 2 % or more."""
    if len(half) < 3:
        return bool(half[-1] < half[0])
    return bool(np.mean(half[-2:]) < half[0] - 0.02 * abs(half[0]) and np.argmin(half) >= len(half) - 2)
