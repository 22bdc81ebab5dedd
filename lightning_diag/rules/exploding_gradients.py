"""G002 exploding-gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.depth import gradient_depth, over_time, signal_depth, start_growth
from lightning_diag.rules.metrics import already_good
from lightning_diag.rules.phase import is_learning, matrices, pick
from lightning_diag.rules.rule import Unmeasured, between
from lightning_diag.rules.trivial import trivial_loss
from lightning_diag.trends import jumps, noise

_CLIP = Prescription("Clip gradients by norm: Trainer(gradient_clip_val=1.0).", {"gradient_clip_val": 1.0})
_RATE = Prescription("Lower the learning rate by a factor of 10, or warm it up.", {"lr": "x0.1", "warmup": 500})
_INIT = Prescription(
    "Initialize with variance 2 / fan_in (nn.init.kaiming_normal_) for ReLU, orthogonal for recurrent weights.",
    {"init": "kaiming_normal"},
)
_ORTHOGONAL = Prescription(
    "Start recurrent weights orthogonal (nn.init.orthogonal_(cell.weight_hh_l0)), or use nn.LSTM or nn.GRU.",
    {"init": "orthogonal"},
)
_SMALL = 0.05  # of the usual size: what starts so small grows by any factor
_KNOWN = {"cross_entropy", "mse_loss", "binary_cross_entropy_with_logits"}
_NORM = Prescription("Put nn.BatchNorm or nn.LayerNorm behind every hidden layer.", {"norm": "layer"})


@final
@dataclass(frozen=True, kw_only=True)
class ExplodingGradients:
    """Gradients grow without bound, over depth or over steps, and training suffers from it.

    What it finds:
        Over steps: the gradient norm jumps ``min_jump_decades`` powers of ten above the median of all samples
        before, and afterwards the loss is not finite, or more than half of the progress made is lost for good.
        Over depth: gradient over weight of the early third of the weight matrices exceeds that of the late third
        by ``min_depth_decades`` powers of ten in the last samples, and the loss does not fall. From the start: in
        the first sample the standard deviation of the hidden outputs grows by ``min_start_decades`` powers of ten
        over depth, and so does the gradient on its way back; or, as within a recurrent layer, the last hidden output
        is ``min_growth`` times as large as the batch, and the first loss ``min_start_loss`` times that of
        a constant prediction; or one of the first steps of SGD changes a weight matrix by ``min_throw`` times its own
        size, with a gradient that far above all later ones. A warning if the loss falls all the same. Over time: the
        last output of a recurrent layer depends on its first inputs more than on its last ones by
        ``min_time_decades``, and the loss does not fall.

    Why it matters:
        One step along a huge gradient throws the weights far away from all that was learned, often to where the
        loss overflows.

    When it is silent:
        A spike from which the loss recovers; large gradients that clipping or Adam tame while the loss falls; the
        first samples, in which gradients of a new model change a lot; a scaled loss, since the run is compared
        only with itself.

    What to do:
        Clip the gradient norm; lower or warm up the learning rate; if it grows over depth, initialize by fan-in
        and normalize.

    Source:
        Pascanu, Mikolov, Bengio, On the Difficulty of Training Recurrent Neural Networks (2013), 2 and 3.2;
        Hanin, Which Neural Net Architectures Give Rise to Exploding and Vanishing Gradients? (2018).
    """

    code: ClassVar[str] = "G002"
    name: ClassVar[str] = "exploding-gradients"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("total/gradient_norm", "loss")
    min_jump_decades: float = 2.0
    min_depth_decades: float = 3.0
    min_start_decades: float = 2.0
    min_time_decades: float = 4.0
    min_growth: float = 10.0
    min_start_loss: float = 10.0
    min_throw: float = 2.0
    warm_samples: int = 5
    last_samples: int = 8

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding: over steps, else over depth."""
        over_steps = list(self._over_steps(history))
        if not over_steps and len(history.table("total/gradient_norm")) < self.warm_samples:
            raise Unmeasured(f"fewer than {self.warm_samples} samples of the gradient norm: train for more steps")
        yield from (
            over_steps
            or list(self._over_time(history))
            or list(self._hot_start(history))
            or list(self._wild_start(history))
            or list(self._thrown_at_once(history))
            or self._over_depth(history)
        )

    def _over_time(self, history: History) -> Iterator[Finding]:
        """Yield the finding of a recurrent layer whose early inputs move its end far more than late ones."""
        if is_learning(history):
            return
        for layer in over_time(history):
            if layer.decades > self.min_time_decades:
                message = (
                    f"The first inputs of a sequence move the last output of {layer.site} 10^{layer.decades:.0f} times "
                    f"as much as its last inputs do, {between(layer.first, layer.last)}, and the loss does not fall. "
                    "Every step back in time multiplies the gradient."
                )
                yield Finding(
                    self.code, self.name, Severity.ERROR, layer.site, layer.first, 10.0**layer.decades,
                    10.0**self.min_time_decades, message, layer.last, "", (_CLIP, _ORTHOGONAL, _RATE),
                )  # fmt: skip

    def _over_steps(self, history: History) -> Iterator[Finding]:
        table, loss = history.table("total/gradient_norm"), history.series("loss")
        norm = table.matrix[:, 0] if table.matrix.size else np.zeros(0)
        broken = np.flatnonzero(~np.isfinite(loss.values))
        if len(broken) and not np.isfinite(loss.values[-1]):
            before = np.flatnonzero((table.steps < loss.steps[broken[0]]) & np.isfinite(norm))
            jumped = jumps(norm[before], decades=self.min_jump_decades, warm_points=1)
            if len(before) and jumped[-1]:  # still up when it broke
                start = before[int(np.flatnonzero(~jumped)[-1]) + 1]
                yield self._finding(history, int(start), int(before[-1]), "then became non-finite", Severity.ERROR)
            return
        for i in np.flatnonzero(jumps(norm, decades=self.min_jump_decades, warm_points=self.warm_samples)):
            lost = self._lost(loss.steps, loss.values, int(table.steps[i]))
            if lost > 0.5:
                severity = Severity.ERROR if lost >= 1 else Severity.WARNING
                words = f"lost {min(lost, 1.0):.0%} of what it had gained and did not recover"
                yield self._finding(history, int(i), int(i), words, severity)
                return

    @staticmethod
    def _lost(
        steps: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
        values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
        at: int,
    ) -> float:
        """Return the share of the progress until a step that is missing at the end; 0 if within the noise."""
        before, after = values[steps < at], values[steps > at]
        before, after = before[np.isfinite(before)], after[np.isfinite(after)]
        if len(before) < 8 or len(after) < 8:
            return 0.0
        start, level = float(np.median(before[:3])), float(np.median(before[-8:]))
        worse = float(np.median(after[-max(4, len(after) // 4) :])) - level
        if worse <= 5 * noise(before):
            return 0.0
        return worse / (start - level) if start > level else float("inf")

    def _finding(self, history: History, i: int, j: int, then: str, severity: Severity) -> Finding:
        table = history.table("total/gradient_norm")
        norm = table.matrix[:, 0]
        usual = float(np.median(norm[:i][np.isfinite(norm[:i])]))
        peak = float(np.max(norm[i : j + 1]))
        first, last = int(table.steps[i]), int(table.steps[j])
        message = (
            f"The gradient norm rose to {peak:.3g} {between(first, last)}, {peak / usual:.2g} times its median of "
            f"{usual:.3g} until then; the loss {then}. Such a step throws the weights far away from what was learned."
        )
        value, limit = peak / usual, 10.0**self.min_jump_decades
        advice = (_CLIP, _RATE, _NORM, _INIT)
        return Finding(self.code, self.name, severity, "", first, value, limit, message, last, "", advice)

    def _hot_start(self, history: History) -> Iterator[Finding]:
        """Yield the finding of a signal that grows in both directions in the first step of the run."""
        sites, steps, forward, backward = signal_depth(history)
        start = history.series("loss").steps[:1]
        if not len(steps) or steps[0] > start or min(forward[0], -backward[0]) < self.min_start_decades:
            return
        learning, step = is_learning(history), int(steps[0])
        lasting = steps[np.minimum(forward, -backward) >= self.min_start_decades]
        message = (
            f"From {sites[0]} to {sites[-1]} the hidden outputs grow {10 ** forward[0]:.2g} times, and the gradient "
            f"{10 ** -backward[0]:.2g} times on its way back, {between(step, int(lasting[-1]))}"
            + (" (the loss falls all the same). " if learning else ". ")
            + "The weights started too large for this depth: predictions start wildly wrong, and steps are erratic."
        )
        severity = Severity.WARNING if learning else Severity.ERROR
        value, limit, advice = 10.0 ** -backward[0], 10.0**self.min_start_decades, (_INIT, _NORM, _CLIP, _RATE)
        last = int(lasting[-1])
        yield Finding(self.code, self.name, severity, sites[0], step, value, limit, message, last, "", advice)

    def _wild_start(self, history: History) -> Iterator[Finding]:
        """Yield the finding of a first loss that says that predictions are huge, because hidden outputs are.

        Growth over the steps of a recurrent layer has no layers to be seen at.
        """
        loss, trivial = history.series("loss"), trivial_loss(history)
        calls: list[dict[str, object]] = list(history.run.get("losses") or ())
        fresh = not (history.run.get("continues") or history.run.get("frozen"))
        if not fresh or not len(loss) or not trivial > 0 or not _KNOWN & {str(calls[0].get("loss"))}:
            return
        site, growth = start_growth(history, int(loss.steps[0]))
        first = float(loss.values[0])
        if not (growth >= self.min_growth and first >= self.min_start_loss * trivial):
            return
        learning, step = is_learning(history), int(loss.steps[0])
        message = (
            f"The first loss is {first:.3g}, {first / trivial:.2g} times the {trivial:.3g} of a constant prediction: "
            f"the output of {site} is {growth:.2g} times as large as the batch"
            + (" (the loss falls all the same). " if learning else ". ")
            + "The weights started too large for so many layers, or steps of a recurrent layer: what grows on its way "
            "forward makes the gradients grow on their way back."
        )
        severity = Severity.WARNING if learning else Severity.ERROR
        advice = (_INIT, _NORM, _CLIP, _RATE)
        limit = self.min_growth
        yield Finding(self.code, self.name, severity, site, step, growth, limit, message, step, "", advice)

    def _thrown_at_once(self, history: History) -> Iterator[Finding]:
        """Yield the finding of a plain gradient step among the first that is longer than the weights themselves.

        So it is where a gradient grows over the steps of a recurrent layer before anything was learned: afterwards
        units are flat, and gradients small.
        """
        kinds = {str(o.get("type")) for o in history.run.get("optimizers") or ()}
        table, names = history.table("total/gradient_norm"), matrices(history)
        norm = table.matrix[:, 0] if table.matrix.size else np.zeros(0)
        first, later = norm[: self.warm_samples], norm[self.warm_samples :]
        later = later[np.isfinite(later)]
        if kinds != {"SGD"} or not names or len(later) < self.last_samples or already_good(history):
            return
        i = int(np.argmax(np.nan_to_num(first, nan=0.0, posinf=0.0)))
        ratio, weight = (pick(history, s, names, table.steps[i : i + 1])[0] for s in ("update/ratio", "parameter/rms"))
        usual = np.nanmedian(weight) if np.isfinite(weight).any() else 0.0
        ratio = np.where(weight > _SMALL * usual, np.nan_to_num(ratio), 0.0)
        if first[i] < 10**self.min_jump_decades * np.median(later) or ratio.max() < self.min_throw:
            return
        site, step = names[int(ratio.argmax())], int(table.steps[i])
        message = (
            f"The gradient norm was {first[i]:.3g} at step {step}, {first[i] / np.median(later):.2g} times what it is "
            f"later, and that step changed {site} by {ratio.max():.3g} times its own size. Nothing is left of how the "
            "weights started, and where they landed gradients may be small for good."
        )
        severity = Severity.WARNING if is_learning(history) else Severity.ERROR
        advice = (_CLIP, _ORTHOGONAL, _INIT, _RATE)
        value = float(ratio.max())
        yield Finding(self.code, self.name, severity, site, step, value, self.min_throw, message, step, "", advice)

    def _over_depth(self, history: History) -> Iterator[Finding]:
        if not {"gradient/rms", "parameter/rms"} <= set(history.statistics):
            return
        try:
            depth = gradient_depth(history)
        except Unmeasured:  # no depth to speak of; over steps was judged
            return
        rise = depth.early - depth.late
        if is_learning(history) or not depth.lasts(rise, self.min_depth_decades, self.last_samples):
            return
        bad = depth.steps[rise > self.min_depth_decades]
        ratio = float(10 ** np.median(rise[-self.last_samples :]))
        message = (
            f"Relative to its weights the gradient of the early layers ({depth.names[0]}, ...) is {ratio:.2g} times "
            f"that of the late ones (..., {depth.names[-1]}), {between(int(bad[0]), int(bad[-1]))}, and the loss "
            "does not fall. No learning rate suits both ends: what moves the late layers throws the early ones about."
        )
        limit, advice = 10.0**self.min_depth_decades, (_NORM, _INIT, _CLIP, _RATE)
        yield Finding(
            self.code, self.name, Severity.ERROR, depth.names[0], int(bad[0]), ratio, limit, message, int(bad[-1]),
            "", advice,
        )  # fmt: skip
