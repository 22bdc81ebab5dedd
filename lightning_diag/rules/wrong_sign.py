"""L006 wrong-sign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Stage
from lightning_diag.rules.calls import NEVER_NEGATIVE, differences, learned_calls, square_bounds
from lightning_diag.rules.curve import finite_loss, pace
from lightning_diag.rules.metrics import direction, words
from lightning_diag.rules.phase import at_steps, loss_descent, pick
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.seen import loss_calls
from lightning_diag.trends import block_medians, concordance, noise

_SIGN = Prescription("Return the loss, not its negative: remove the minus sign in front of it (or maximize=True).")
_SCORE = Prescription("To maximize a score return its negative; to minimize an error return it as it is.")
_QUALITY = {"acc", "accuracy", "top1", "f1", "auc", "auroc", "precision", "dice", "iou", "miou", "r2"}
_CHANCE_IS_0 = {"similarity", "cosine", "r2", "pearson", "spearman", "correlation", "corr", "kappa", "mcc"}
_FAR, _STEADY = 0.2, 0.8  # below chance, and how steadily it goes there (concordance)
_DEEP = 30  # times the size of the first losses
_STAGES: tuple[Stage, ...] = ("validate", "train")
_REWARDS = {"reward", "return", "elbo", "similarity", "likelihood"}
_ERRORS = {"mse", "mae", "rmse"}


@final
@dataclass(frozen=True, kw_only=True)
class WrongSign:
    """The objective is maximized where it should be minimized.

    What it finds:
        The training loss is the negative of what its loss calls, which are errors, gave: equal but for the sign, or
        correlated below ``max_correlation`` with it while all of it is negative; or the optimizer maximizes an error
        (``maximize=True``). Of a squared error written by hand: it is negative from the first step on, always as large
        as the sizes of prediction and target allow, and grows. Of a likelihood written by hand: it
        starts at minus log(classes) and falls. Of a loss of unknown kind: it falls below zero while a
        quality that was logged on training data, or one validated, sinks from its first value beyond noise; or it falls
        to ``bottomless`` times the size of its start below zero: no sound objective has no floor; or, written by hand,
        it falls while a validated accuracy ends below ``below_chance`` of that of guessing, or what is rewarded in
        training (reward, return, ELBO, similarity) sinks steadily from the start.

    Why it matters:
        Each step makes the model worse, and an error has no upper bound: outputs grow until numbers break.

    When it is silent:
        Several optimizers (opponents maximize on purpose); several terms, of which one may well be subtracted; losses
        that may be negative, as long as no quality sinks; overfitting, where the training loss stays above 0.

    What to do:
        Remove the minus sign.

    Source:
        Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems (2020), wrong loss calculation; PyTorch
        documentation of torch.optim.SGD, maximize.
    """

    code: ClassVar[str] = "L006"
    name: ClassVar[str] = "wrong-sign"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    max_correlation: float = -0.99
    min_samples: int = 4
    bottomless: float = 1000.0
    below_chance: float = 0.3

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the whole run."""
        optimizers = list(history.run.get("optimizers") or ())
        if len(optimizers) > 1:
            raise Unmeasured("several optimizers: opponents maximize what the other minimizes")
        calls = learned_calls(history) if loss_calls(history) else []
        errors = bool(calls) and all(c.loss in NEVER_NEGATIVE for c in calls)
        climbs = any(g.get("maximize") for o in optimizers for g in o.get("groups") or ())
        by_hand = differences(history)
        found = ""
        if errors:
            found = self._negated(history, tuple(c.site for c in calls), " + ".join(c.named for c in calls))
            if climbs:
                loss = history.series("loss").values
                found = "" if found else self._climbs(loss)
        elif by_hand:
            found = self._negated_square(history, by_hand[-1])
        elif not calls:
            found = self._negated_likelihood(history)
        found = found or _less_overlap(history)
        found = found or ("" if climbs or errors else self._sinks(history)) or self._bottomless(history)
        if not (found or climbs or calls):
            found = self._below_chance(history) or self._opposed(history) or _sinking(history) or _plunging(history)
        if found:
            steps = history.series("loss").steps
            first, last = int(steps[0]), int(steps[-1])
            value = float(history.series("loss").values[-1])
            advice = (_SIGN, _SCORE)
            yield Finding(self.code, self.name, self.severity, "", first, value, 0.0, found, last, "", advice)

    def _negated(self, history: History, sites: tuple[str, ...], what: str) -> str:
        """Return the evidence that the training loss is the negative of the sum of its calls, "" if it is not."""
        steps = history.table("loss_call/value").steps
        total = at_steps(history, "loss", steps)
        values = pick(history, "loss_call/value", sites, steps).sum(axis=1)
        known = np.isfinite(total) & np.isfinite(values)
        total, values, steps = total[known], values[known], steps[known]
        if len(total) < self.min_samples or (values < 0).any():
            return ""
        same = float((np.abs(total + values) <= 1e-3 * np.abs(values)).mean()) >= 0.9 and float(values.max()) > 0
        varied = np.std(total) > 0 and np.std(values) > 0
        r = float(np.corrcoef(total, values)[0, 1]) if varied and len(sites) == 1 else 0.0
        opposite = len(total) >= 8 and r < self.max_correlation and bool((total < 0).all())
        apart = np.abs(np.median(total) / max(float(np.median(values)), 1e-30))
        pieces = int(history.run.get("accumulate_grad_batches") or 1) > 1  # only the last micro-batch's call is seen
        parts = pieces and len(sites) == 1 and bool((total < 0).all()) and bool(0.5 < apart < 2)
        if not same and not opposite and not parts:
            return ""
        return (
            f"The training loss is the negative of {what}: {total[0]:.4g} and {values[0]:.4g} at step {steps[0]}, "
            f"{total[-1]:.4g} and {values[-1]:.4g} at step {steps[-1]} ({len(total)} samples"
            + (f", correlation {r:.3f}" if r else "")
            + "). Each step makes the error larger."
        )

    @staticmethod
    def _climbs(loss: np.typing.NDArray[np.float64]) -> str:
        good = loss[np.isfinite(loss)]
        if len(good) < 2 or good[0] < 0:
            return ""
        return (
            f"The optimizer has maximize=True and the loss is an error: it went from {good[0]:.4g} to {good[-1]:.4g} "
            f"in {len(loss)} steps. Each step makes the error larger."
        )

    def _negated_square(self, history: History, fact: Mapping[str, Any]) -> str:
        steps, least, most = square_bounds(history, fact)
        loss = at_steps(history, "loss", steps)
        known = np.isfinite(loss) & np.isfinite(most)
        loss, least, most, steps = loss[known], least[known], most[known], steps[known]
        if len(loss) < 8 or not (loss < 0).all():
            return ""
        fits = (-loss >= 0.99 * least) & (-loss <= 1.01 * most)
        if fits.mean() < 0.9 or not -loss[-4:].mean() > 4 * -loss[:4].mean():
            return ""
        return (
            "The loss, written by hand from a difference of prediction and target, is negative from the first step "
            f"on and goes from {loss[0]:.4g} at step {steps[0]} to {loss[-1]:.4g} at step {steps[-1]}, as minus "
            "a squared error does. Each step makes the error larger."
        )

    @staticmethod
    def _negated_likelihood(history: History) -> str:
        """Cross entropy of equal probabilities is log C: one that starts at minus that and falls lost a sign."""
        counts = ((history.run.get("data") or {}).get("target") or {}).get("counts") or {}
        likely = [x for x in history.layers if x.activation in ("softmax", "log_softmax")]
        values, loss = history.series("loss").values, loss_descent(history)
        values = values[np.isfinite(values)]
        if not likely or len(counts) != likely[-1].units or len(counts) < 2 or len(values) < 20 or values.max() >= 0:
            return ""
        equal = float(np.log(len(counts)))
        if loss.kind != "falling" or not 0.7 < -float(np.median(values[:3])) / equal < 1.5 or -loss.end < 1.2 * equal:
            return ""
        return (
            f"The loss starts at {values[0]:.4g}, minus the cross entropy of {len(counts)} equal probabilities "
            f"({equal:.4g}), and falls to {values[-1]:.4g} in {len(values)} steps. The likelihood of the right class "
            "is minimized: each step makes it smaller."
        )

    @staticmethod
    def _opposed(history: History) -> str:
        """Return the evidence that a score whose zero is chance is driven below it while all losses fall."""
        loss = loss_descent(history)
        watched = [history.series(n, "validate").values for n in history.series_names("validate") if "loss" in words(n)]
        if loss.kind != "falling" or any(len(v) > 1 and v[-1] >= v[0] for v in watched):
            return ""
        for name in history.series_names("validate"):
            v = history.series(name, "validate").values
            v = v[np.isfinite(v)]
            if not _CHANCE_IS_0 & set(words(name)) or direction(history, name) != "higher" or len(v) < 4:
                continue
            if v[-1] < -_FAR and v[-1] < v[0] - _FAR and concordance(v) <= -_STEADY:
                return (
                    f"The loss falls from {loss.begin:.4g} to {loss.end:.4g}, and {name.removeprefix('metric/')} falls "
                    f"with it from {v[0]:.4g} to {v[-1]:.4g}, far below 0, where chance is: it is minimized."
                )
        return ""

    def _below_chance(self, history: History) -> str:
        """Return the evidence that a validated accuracy ends far below that of guessing: no ignorance explains that."""
        counts = ((history.run.get("data") or {}).get("target") or {}).get("counts") or {}
        loss = loss_descent(history)
        if len(counts) < 2 or min(counts.values()) < 8 or loss.kind != "falling":
            return ""
        for name in history.series_names("validate"):
            v = history.series(name, "validate").values
            if not {"acc", "accuracy", "top1"} & set(words(name)) or len(v) < 2:
                continue
            end = float(np.nanmedian(v[-3:]))
            if 0 <= end < self.below_chance / len(counts):
                return (
                    f"The loss falls from {loss.begin:.4g} to {loss.end:.4g}, and {name.removeprefix('metric/')} is "
                    f"{end:.3g} at the end, where guessing among {len(counts)} classes gives {1 / len(counts):.3g}. "
                    "What is minimized is the opposite of what is meant."
                )
        return ""

    def _bottomless(self, history: History) -> str:
        """Return the evidence that the loss falls without limit: a term that grows forever is subtracted."""
        values = history.series("loss").values
        values = values[np.isfinite(values)]
        if len(values) < 12:
            return ""
        start, end = float(np.median(np.abs(values[:3]))), float(np.median(values[-max(3, len(values) // 10) :]))
        if not -end > self.bottomless * max(start, 1.0):
            return ""
        return (
            f"The loss falls from {values[0]:.4g} to {end:.4g} in {len(values)} steps and has no floor: something that "
            "grows without limit is subtracted where it should be added."
        )

    @staticmethod
    def _sinks(history: History) -> str:
        """Return the evidence that the loss falls below zero while a logged quality sinks from its first value."""
        loss = loss_descent(history)
        stages: tuple[Stage, ...] = ("train", "validate")
        if loss.kind != "falling" or not loss.end < 0:
            return ""
        names = [(s, n) for s in stages for n in history.series_names(s) if n.startswith("metric/")]
        for stage, name in names:
            told, way = set(words(name)), direction(history, name)
            v = history.series(name, stage).values
            v = v[np.isfinite(v)] * (-1 if way == "higher" else 1)
            if not told & (_QUALITY | _ERRORS) or not way or len(v) < 4:
                continue
            start, end = float(np.median(v[: max(1, len(v) // 10)])), float(np.median(v[-max(2, len(v) // 4) :]))
            worse, size = end - start, abs(start)
            if worse > 4 * noise(v) and worse > 0.25 * size and concordance(v) > 0.3:
                return (
                    f"The loss falls from {loss.begin:.4g} to {loss.end:.4g}, and {name.removeprefix('metric/')} went "
                    f"from {abs(start):.4g} to {abs(end):.4g}, which is worse. What is minimized is the opposite of "
                    "what is meant."
                )
        return ""


def _less_overlap(history: History) -> str:
    """Return the evidence that the loss is the overlap of prediction and mask, not what is missing to a whole one."""
    loss = loss_descent(history)
    if history.run.get("overlap") != "less" or loss.kind != "falling":
        return ""
    return (
        f"The loss is the overlap of prediction and target itself (Dice), and falls from {loss.begin:.4g} to "
        f"{loss.end:.4g}: what should be made larger is made smaller. 1 - overlap is what can be minimized."
    )


def _sinking(history: History) -> str:
    """Return the evidence that what is rewarded in training gets less and less from the start."""
    for name in history.series_names("train"):
        known = set(words(name))
        v = history.series(name).values
        v = v[np.isfinite(v)]
        if not known & _REWARDS or direction(history, name) != "higher" or len(v) < 40:
            continue
        level = block_medians(v, 10)
        error = 1.2533 * noise(v) / np.sqrt(len(v) / 10)
        fall = float(level[0] - level[-1])
        if concordance(level) <= -_STEADY and fall > max(6 * error, 0.3 * abs(float(level[0]))):
            return (
                f"{name.removeprefix('metric/')} sinks from {level[0]:.4g} to {level[-1]:.4g} in {len(v)} steps, and "
                "does so all the time: what should be made larger is made smaller."
            )
    return ""


def _plunging(history: History) -> str:
    """Return the evidence that a loss falls below zero faster and faster, and the accuracy comes to nothing by it."""
    v = finite_loss(history)
    start = float(np.abs(v[:5]).max(initial=0.0))
    if len(v) < 100 or not -v[-1] > _DEEP * start > 0 or not pace(v) > 1:
        return ""
    for stage in _STAGES:
        for name in history.series_names(stage):
            score = history.series(name, stage).values
            score = score[np.isfinite(score)]
            if not _QUALITY & set(words(name)) or len(score) < 4:
                continue
            first, last = float(np.median(score[:3])), float(np.median(score[-3:]))
            if last > first + 3 * noise(score) + 0.01:
                return ""
            return (
                f"The loss falls from {v[0]:.4g} to {v[-1]:.4g}, faster and faster, and {name.removeprefix('metric/')} "
                f"does not rise with it ({first:.3g} at first, {last:.3g} at the end): nothing that is worth "
                "minimizing has no floor."
            )
    return ""
