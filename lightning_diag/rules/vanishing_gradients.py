"""G001 vanishing-gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Ints
from lightning_diag.rules.depth import LOWEST, gradient_depth, log_ratio, over_time, signal_depth
from lightning_diag.rules.phase import is_learning, loss_breaks, loss_descent
from lightning_diag.rules.rule import Unmeasured, between
from lightning_diag.rules.trivial import trivial_loss

_INIT = Prescription(
    "Initialize with variance 2 / fan_in for ReLU (nn.init.kaiming_normal_), 2 / (fan_in + fan_out) for tanh "
    "(nn.init.xavier_normal_), in place of a fixed small standard deviation.",
    {"init": "kaiming_normal"},
)
_NORM = Prescription("Put nn.BatchNorm or nn.LayerNorm behind every hidden layer.", {"norm": "batch"})
_RELU = Prescription("Replace sigmoid or tanh in hidden layers by nn.ReLU or nn.GELU.", {"activation": "relu"})
_SKIP = Prescription("Add residual connections (x = x + block(x)), or use fewer layers.")

_MEMORY = Prescription(
    "Use nn.LSTM or nn.GRU with a forget gate that starts open (bias 1 or more), or orthogonal recurrent weights "
    "(nn.init.orthogonal_(cell.weight_hh_l0)) in place of small random ones.",
    {"init": "orthogonal"},
)
_NOTHING_LEARNED = 0.97  # of the loss of a predictor that ignores its input
_SHORTER = Prescription("Shorten the way: attention over all outputs, a mean over time, or shorter sequences.")


@final
@dataclass(frozen=True, kw_only=True)
class VanishingGradients:
    """The gradient fades away on its way back to the early layers.

    What it finds:
        Form 1: gradient over weight (RMS over RMS), early third of the weight matrices against the late third,
        falls by more than ``min_decades`` powers of ten in the last samples. Form 2, the start with too small
        weights: there every weight gradient is equally tiny, because what is lost backward in the early layers
        is lost forward in the late ones; so the forward standard deviation falls by more than
        ``min_forward_decades`` and the gradient of the outputs by more than ``min_backward_decades`` over depth,
        in the first sample or the last ones (biases soon hide it), and the loss does not fall.
        An error if the loss does not fall, else a warning if the early layers' steps lag as far behind. Over time: the
        last output of a recurrent layer (or of a cell that a step calls again and again) depends on its first inputs
        less than on its last ones by more than ``min_time_decades``, its weights do move, and the loss stays.

    Why it matters:
        The early layers stay random. What they throw away no later layer can bring back.

    When it is silent:
        The loss falls and the early layers move like the late ones (as with Adam, or with normalization);
        gradients are small everywhere because training converged, or because the loss is scaled: only ratios
        over depth count. The first step (a head initialized to zero sends no gradient then). Fewer than 3
        weight matrices. Parameters other than weight matrices. A recurrent layer that forgets and learns all the same:
        its task needs no long memory.

    What to do:
        Initialize by fan-in, normalize, use ReLU-like activations, add residual connections; in this order. Over time:
        LSTM or GRU with a forget bias of 1 or more, orthogonal recurrent weights, attention, shorter sequences.

    Source:
        Hochreiter (1991) and Bengio, Simard, Frasconi (1994) on long-term dependencies; Glorot and Bengio (2010);
        He et al., Delving Deep into Rectifiers (2015), 2.2.
    """

    code: ClassVar[str] = "G001"
    name: ClassVar[str] = "vanishing-gradients"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("gradient/rms", "parameter/rms")
    min_decades: float = 3.0
    min_forward_decades: float = 2.0
    min_backward_decades: float = 4.0
    min_time_decades: float = 4.0
    first_samples: int = 1
    last_samples: int = 8

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for the whole model, at its first weight matrix, and one for each forgetful layer."""
        forgetful = list(self._over_time(history))
        yield from forgetful
        try:
            depth = gradient_depth(history)
        except Unmeasured:
            if not history.table("activation/gradient_over_time").sites:
                raise
            return
        learning = is_learning(history)
        small = [] if learning else list(self._small_start(history, depth.names))
        yield from small
        fall = depth.late - depth.early
        if not small and depth.lasts(fall, self.min_decades, self.last_samples):
            lags = self._lags(history, depth.steps)
            if not learning or lags:
                bad = depth.steps[fall > self.min_decades]
                yield self._over_depth(depth.names, bad, float(np.median(fall[-self.last_samples :])), learning)

    def _over_time(self, history: History) -> Iterator[Finding]:
        """Yield a finding for each recurrent layer that cannot feel its early inputs, where nothing is learned."""
        loss, trivial = loss_descent(history), trivial_loss(history)
        nothing = loss.kind in ("flat", "rising") or (loss.kind == "slight" and loss.end > _NOTHING_LEARNED * trivial)
        if not nothing or loss_breaks(history):
            return
        for layer in over_time(history):
            if layer.decades < -self.min_time_decades:
                message = (
                    f"The first inputs of a sequence move the last output of {layer.site} 10^{layer.decades:.0f} times "
                    f"as much as its last inputs do, {between(layer.first, layer.last)}, and the loss stays where it "
                    "was. What stands early in a sequence cannot be learned."
                )
                yield Finding(
                    self.code, self.name, Severity.ERROR, layer.site, layer.first, 10.0**layer.decades,
                    10.0**-self.min_time_decades, message, layer.last, "", (_MEMORY, _SHORTER),
                )  # fmt: skip

    def _lags(self, history: History, steps: Ints) -> bool:
        """Tell whether the early matrices also move less than the late ones by as many decades."""
        if not len(history.table("update/rms")):
            return True
        names, ratio = log_ratio(history, "update/rms", steps[-self.last_samples :])
        third = max(1, len(names) // 3)
        moved = np.median(ratio, axis=0) if len(names) else np.zeros(1)
        return float(np.median(moved[-third:]) - np.median(moved[:third])) > self.min_decades

    def _over_depth(self, names: tuple[str, ...], bad: Ints, fall: float, learning: bool) -> Finding:
        first, last = int(bad[0]), int(bad[-1])
        ratio = 0.0 if fall > -LOWEST / 2 else 10.0**-fall
        message = (
            f"Relative to its weights the gradient of the early layers ({names[0]}, ...) is {ratio:.1g} of that of "
            f"the late ones (..., {names[-1]}), {between(first, last)}, over {len(names)} weight matrices. "
            "The signal fades on its way back, so the early layers hardly learn"
            + (" (the loss falls all the same: the late layers do the work)." if learning else ".")
        )
        severity = Severity.WARNING if learning else Severity.ERROR
        limit, advice = 10.0**-self.min_decades, (_INIT, _NORM, _RELU, _SKIP)
        return Finding(self.code, self.name, severity, names[0], first, ratio, limit, message, last, "", advice)

    def _small_start(self, history: History, names: tuple[str, ...]) -> Iterator[Finding]:
        """Yield the finding of a signal that fades in both directions, in the first sample or the last ones."""
        mixing, steps, forward, backward = signal_depth(history)
        bad = (forward < -self.min_forward_decades) & (backward > self.min_backward_decades)
        windows = [w for w in (slice(None, self.first_samples), slice(-self.last_samples, None)) if bad[w].size]
        window = next((w for w in windows if np.mean(bad[w]) >= 0.75), None)
        if window is None:
            return
        gone, back = (float(10 ** -np.median(np.abs(x[window]))) for x in (forward, backward))
        first, last = int(steps[window][bad[window]][0]), int(steps[bad][-1])
        message = (
            f"From {mixing[0]} to {mixing[-1]} the signal shrinks to {gone:.1g} of its size forward, and the gradient "
            f"to {back:.1g} backward, {between(first, last)}; the loss does not fall. All weight gradients are about "
            "zero: the weights started too small for this depth, so that inputs do not reach the output."
        )
        limit, advice = 10.0**-self.min_backward_decades, (_INIT, _NORM, _SKIP)
        yield Finding(self.code, self.name, Severity.ERROR, names[0], first, back, limit, message, last, "", advice)
