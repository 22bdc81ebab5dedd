"""I001 poor-initialization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.first_loss import first_loss
from lightning_diag.rules.gains import fan_in, gains, is_affine, resets_scale
from lightning_diag.rules.phase import is_learning, is_running, loss_breaks, pick, steps_seen
from lightning_diag.rules.rule import Unmeasured, check_range
from lightning_diag.rules.trivial import trivial_loss

_INIT = Prescription(
    "Initialize so that layers keep the scale: nn.init.kaiming_normal_(weight, nonlinearity='relu') for rectifiers, "
    "nn.init.xavier_normal_ for tanh and sigmoid, biases zero; or leave torch's own.",
    {"init": "kaiming"},
)
_HEAD = Prescription("Start the output layer small: divide its weights by ten, bias zero.", {"output_init": "small"})
_NORM = Prescription(
    "Normalize inside the network (nn.BatchNorm, nn.LayerNorm): the scale of weights has no effect then.",
    {"norm": True},
)


@final
@dataclass(frozen=True, kw_only=True)
class PoorInitialization:
    """Weights start so large, or so small, that the signal explodes or dies on its way.

    What it finds:
        The gain of each weight at step 0 (RMS times the square root of the inputs of a unit: LeCun's initialization
        has 1, He's 1.4, torch's own 0.6). Large: gains above ``high_gain`` whose outputs, too, are that much larger
        than their inputs, with a product above ``max_gain``; of a layer that runs again and again one is enough.
        Small: most gains of the hidden layers below ``min_gain``, and what differs between samples shrinks by
        ``max_decay`` through depth. Or an output bias beyond 3 in classification. Each only with harm: a first loss
        ``max_loss`` times that of equal probabilities, most units saturated at the start, or a loss that stays.

    Why it matters:
        Large weights saturate units, make the first predictions sure and wrong, and gradients huge; small ones leave
        nothing of the signal, and of the gradient, after a few layers.

    When it is silent:
        A normalization behind the layer, which brings any scale back; weights that are zero on purpose; large inputs;
        networks that were trained before; without harm.

    What to do:
        Initialize for the activation in use; start the output layer small; normalize.

    Source:
        Glorot and Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks (2010), 4.2; He
        et al., Delving Deep into Rectifiers (2015), 2.2; Karpathy, A Recipe for Training Neural Networks (2019).
    """

    code: ClassVar[str] = "I001"
    name: ClassVar[str] = "poor-initialization"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("parameter/rms", "activation/rms")
    high_gain: float = 2.5
    max_gain: float = 4.0
    min_gain: float = 0.3
    max_decay: float = 1e3
    max_loss: float = 4.0
    min_steps: int = 20

    def __post_init__(self) -> None:
        check_range(self, "high_gain", 1.5, 1e9)
        check_range(self, "max_gain", self.high_gain, 1e9)
        check_range(self, "min_gain", 0.0, 1.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the first layer that starts so."""
        steps = history.table("parameter/rms").steps
        if not len(steps) or steps[0] != 0 or history.run.get("continues"):
            raise Unmeasured("the first step was not sampled: the weights are no longer as they were initialized")
        if not history.layers:
            raise Unmeasured("the order of the layers is not known")
        if steps_seen(history) < self.min_steps and not loss_breaks(history):
            raise Unmeasured(f"whether the start does harm shows after {self.min_steps} steps")
        found = gains(history, 0)
        free = [s for s in found if not resets_scale(history, s)]
        if len(free) < 0.25 * len(found):
            return  # normalization sets the scale nearly everywhere
        harm = self._harm(history)
        again = self._recurrent(history)
        large = [s for s in free if found[s] > self.high_gain and self._grows(history, s)]
        large = large if np.prod([found[s] for s in large]) > self.max_gain else []
        large = [s for s, gain in again.items() if gain > self.high_gain and s not in large] + large
        found = again | found
        if large:
            if harm or self._saturated(history):
                why = harm or "most units of a layer start saturated"
                yield self._finding(history, large, found, why, large=True)
            return
        hidden = [s for s in free if (x := history.layer(s)) is not None and x.role == "hidden"]
        small = [s for s in hidden if found[s] < self.min_gain]
        if len(small) >= max(2, len(hidden) / 2) and (decay := self._decay(history, hidden)) > self.max_decay:
            if why := self._stays(history):
                end = f"what differs between samples shrinks {decay:.2g} times through depth, {why}"
                yield self._finding(history, small, found, end, large=False)
            return
        yield from self._sure(history, harm)

    @staticmethod
    def _recurrent(history: History) -> dict[str, float]:
        """Return site -> largest gain of the weights of a recurrent layer from one time step to the next."""
        table, found = history.table("parameter/rms"), dict[str, float]()
        for layer in history.layers:
            for p in layer.parameters:
                if "weight_hh" in p.rsplit(".", 1)[-1] and p in table.sites and "#" not in layer.site:
                    gain = float(table.matrix[0, table.sites.index(p)]) * float(np.sqrt(fan_in(history, p)))
                    found[layer.site] = max(gain, found.get(layer.site, 0.0))
        return found

    def _grows(self, history: History, site: str) -> bool:
        """Tell whether the outputs of a layer are as much larger than its inputs as its gain says."""
        layer = history.layer(site)
        at = np.array([0], dtype=np.int64)
        out = float(pick(history, "activation/rms", (site,), at)[0, 0])
        before = float(pick(history, "activation/rms", (layer.follows if layer else "",), at)[0, 0])
        if not np.isfinite(before):
            known = pick(history, "batch/rms", tuple(history.table("batch/rms").sites), at)[0]
            before = float(known[0]) if len(known) and np.isfinite(known[0]) else 1.0
        return out > max(1.0, 0.5 * self.high_gain * before)

    def _harm(self, history: History) -> str:
        """Return what shows that the start does harm, "" where nothing does."""
        first = first_loss(history)
        if first is not None and first.ratio > self.max_loss:
            return f"the first loss is {first.value:.3g}, {first.meaning} is {first.expected:.3g}"
        return self._stays(history, late=False)

    def _stays(self, history: History, *, late: bool = True) -> str:
        """Return how the loss failed to fall, or (``late``) needed a quarter of the run to, "" where it did fall."""
        if is_running(history) or steps_seen(history) < self.min_steps:
            return ""
        if loss_breaks(history):
            return "and the loss breaks"
        if not is_learning(history):
            return "and the loss does not fall"
        if not late:
            return ""
        values, trivial = history.series("loss").values, trivial_loss(history)
        part = values[: len(values) // 4]
        slow = len(part) >= self.min_steps and float(np.median(part[len(part) // 2 :])) > 0.98 * trivial
        return f"and a quarter of the run passes before the loss falls below {trivial:.3g}" if slow else ""

    @staticmethod
    def _saturated(history: History) -> bool:
        table = history.table("activation/saturated_units_fraction")
        hidden = [x.site for x in history.layers if x.role == "hidden" and x.site in table.sites]
        row = pick(history, "activation/saturated_units_fraction", tuple(hidden), np.array([0], dtype=np.int64))[0]
        return bool((np.nan_to_num(row) > 0.5).any())

    @staticmethod
    def _decay(history: History, hidden: list[str]) -> float:
        """Return how many times smaller the spread across samples is at the last hidden layer than at the input."""
        at = np.array([0], dtype=np.int64)
        spread = pick(history, "activation/sample_std", tuple(hidden), at)[0]
        came = pick(history, "batch/std", tuple(history.table("batch/std").sites), at)[0]
        start = max([float(x) for x in came[:1] if np.isfinite(x)] + [float(spread[0])])
        with np.errstate(all="ignore"):
            return float(start / spread[-1]) if np.isfinite(spread[-1]) else float("nan")

    def _sure(self, history: History, harm: str) -> Iterator[Finding]:
        """Yield an output bias that makes the first predictions sure."""
        first = first_loss(history)
        if first is None or first.ratio <= self.max_loss or first.loss == "mse_loss":
            return
        heads = [x for x in history.layers if x.role == "output" and is_affine(x)]
        bias = tuple(f"{x.site}.bias" for x in heads)
        rms = pick(history, "parameter/rms", bias, np.array([0], dtype=np.int64))[0]
        for layer, size in zip(heads, rms, strict=True):
            if size > 3:
                message = (
                    f"The bias of the output layer {layer.site} starts with an RMS of {size:.3g} at step 0: {harm}. "
                    "The network is sure of classes before it has seen any."
                )
                name, code = self.name, self.code
                yield Finding(
                    code, name, self.severity, layer.site, 0, float(size), 3.0, message, 0, "", (_HEAD, _INIT)
                )
                return

    def _finding(
        self, history: History, sites: list[str], found: dict[str, float], why: str, *, large: bool
    ) -> Finding:
        site = sites[0]
        limit = self.high_gain if large else self.min_gain
        others = f", and {len(sites) - 1} more of {len(found)} layers like it" if len(sites) > 1 else ""
        layer = history.layer(site)
        size = "large" if large else "small"
        message = (
            f"The weights of {site} start with a gain of {found[site]:.3g} at step 0 (RMS times the square root of the "
            f"inputs of a unit; 1 to 1.4 keeps the scale){others}: {why}. They are too "
            f"{size} for a signal to come through as it went in."
        )
        head = layer is not None and layer.role == "output" and large
        advice = (_HEAD, _INIT) if head else (_INIT, _NORM)
        return Finding(self.code, self.name, self.severity, site, 0, found[site], limit, message, 0, "", advice)
