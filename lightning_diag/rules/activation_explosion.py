"""A004 activation-explosion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History, Ints
from lightning_diag.rules.gains import is_affine, resets_scale
from lightning_diag.rules.phase import first_break, is_learning, is_matrix, loss_breaks, pick
from lightning_diag.rules.rule import Unmeasured, between, check_range

_NORM = Prescription(
    "Normalize inside the network: nn.LayerNorm or nn.BatchNorm behind the layers that grow.", {"norm": True}
)
_INIT = Prescription("Initialize so that layers keep the scale: nn.init.kaiming_normal_(weight).", {"init": "kaiming"})
_RATE = Prescription("Lower the learning rate by a factor of 10, and clip gradients by norm.", {"lr": "x0.1"})
_BF16 = Prescription(
    'Train in bfloat16, which has the range of float32: Trainer(precision="bf16-mixed").', {"precision": "bf16"}
)
_HALF_LARGEST = 65504.0


@final
@dataclass(frozen=True, kw_only=True)
class ActivationExplosion:
    """Activations grow by orders of magnitude, from layer to layer or from step to step.

    What it finds:
        RMS of the outputs of hidden layers with weights. Over depth: in one step it grows by more than
        ``max_growth`` from the first such layer to a later one. Over time: in the last samples it is more than
        ``max_growth`` times what it was at first (1 at least). Both only where the loss does not fall, or breaks.
        In half precision (16): magnitudes above ``max_half`` of the largest number, 65504.

    Why it matters:
        What grows by a factor in every layer, or every step, overflows in the end; long before, the activations
        behind it saturate and gradients become as uneven.

    When it is silent:
        Outputs (a regression may have to reach large numbers); layers that a normalization brings back to scale;
        growth while the loss falls; large inputs, which make all layers large alike.

    What to do:
        Normalize inside the network, initialize for the activation in use, lower the learning rate; use bfloat16.

    Source:
        He et al., Delving Deep into Rectifiers (2015), 2.2; Zhang, Dauphin, Ma, Fixup Initialization (2019), 2, on
        residual networks; Micikevicius et al., Mixed Precision Training (2018), on the range of half precision.
    """

    code: ClassVar[str] = "A004"
    name: ClassVar[str] = "activation-explosion"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("activation/rms",)
    max_growth: float = 1000.0
    max_half: float = 0.5
    last_samples: int = 4

    def __post_init__(self) -> None:
        check_range(self, "max_growth", 2.0, 1e30)
        check_range(self, "max_half", 0.0, 1.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the first layer where it shows."""
        sites = tuple(
            x.site
            for x in history.layers
            if x.role == "hidden" and "#" not in x.site and (is_affine(x) or any(is_matrix(x, p) for p in x.parameters))
            and not resets_scale(history, x.site)
        )  # fmt: skip
        steps = history.table("activation/rms").steps
        rms = pick(history, "activation/rms", sites, steps)
        if loss_breaks(history):
            good = steps < first_break(history)
            steps, rms = steps[good], rms[good]
        if not sites or len(steps) < 2:
            raise Unmeasured("fewer than 2 samples of hidden layers with weights; train for more steps")
        if (half := self._half(history, sites, steps)) is not None:
            yield half
            return
        if is_learning(history):
            return
        last = 2 if loss_breaks(history) else self.last_samples
        found = self._over_depth(sites, steps, rms) or self._over_time(sites, steps, rms, last)
        if found is not None:
            yield found

    def _half(self, history: History, sites: tuple[str, ...], steps: Ints) -> Finding | None:
        """Return where numbers in half precision come near to their largest."""
        if not str(history.run.get("precision", "")).startswith("16"):
            return None
        high, low = (pick(history, f"activation/{x}", sites, steps) for x in ("max", "min"))
        top = np.nan_to_num(np.maximum(high, -low))
        bad = top > self.max_half * _HALF_LARGEST
        often = bad.sum(axis=0) >= 2
        if not often.any():
            return None
        j = int(np.flatnonzero(often)[0])
        where, value = steps[bad[:, j]], float(top[:, j].max())
        message = (
            f"Outputs of {sites[j]} reach {value:.3g} {between(int(where[0]), int(where[-1]))}, in half precision, "
            "whose largest number is 65504. The next little growth is an overflow to infinity."
        )
        limit, advice = self.max_half * _HALF_LARGEST, (_BF16, _NORM)
        first, last = int(where[0]), int(where[-1])
        return Finding(self.code, self.name, Severity.WARNING, sites[j], first, value, limit, message, last, "", advice)

    def _over_depth(self, sites: tuple[str, ...], steps: Ints, rms: Floats) -> Finding | None:
        with np.errstate(all="ignore"):
            growth = rms / rms[:, :1]
        bad = np.nan_to_num(growth) > self.max_growth
        if len(sites) < 3 or bad.any(axis=1).sum() < min(2, len(steps)) or not bad.any():
            return None
        i, j = (int(k[0]) for k in np.nonzero(bad))
        where, value = steps[bad.any(axis=1)], float(np.nanmax(growth))
        per_layer = float(growth[i, j]) ** (1 / j)
        message = (
            f"From {sites[0]} to {sites[j]} ({j} layers with weights further) the activations grow {growth[i, j]:.3g} "
            f"times at step {int(steps[i])}, {per_layer:.2g} times a layer, and the loss does not fall. Every layer "
            "multiplies the signal; the last ones work on numbers far from where they can learn."
        )
        last, advice = int(where[-1]), (_INIT, _NORM, _RATE)
        limit, first = self.max_growth, int(steps[i])
        return Finding(self.code, self.name, Severity.ERROR, sites[j], first, value, limit, message, last, "", advice)

    def _over_time(self, sites: tuple[str, ...], steps: Ints, rms: Floats, samples: int) -> Finding | None:
        growth = rms / np.maximum(np.nan_to_num(rms[0]), 1.0)  # what grows to a usual size does not explode
        late = growth[-samples:]
        bad = np.nan_to_num(np.vstack([late, np.zeros((1, len(sites)))])[:-1]) > self.max_growth
        lasting = bad.mean(axis=0) >= 0.75
        if len(steps) <= samples or not lasting.any():
            return None
        j = int(np.flatnonzero(lasting)[0])
        first = int(steps[np.flatnonzero(np.nan_to_num(growth[:, j]) > self.max_growth)[0]])
        value, last = float(np.nanmedian(late[:, j])), int(steps[-1])
        message = (
            f"Outputs of {sites[j]} grew from an RMS of {rms[0, j]:.3g} at step {int(steps[0])} to {rms[-1, j]:.3g} at "
            f"step {last}, {value:.3g} times, as in {int(lasting.sum())} of {len(sites)} hidden layers, and the loss "
            "does not fall. What grows without bound overflows in the end."
        )
        advice, limit = (_RATE, _NORM), self.max_growth
        return Finding(self.code, self.name, Severity.ERROR, sites[j], first, value, limit, message, last, "", advice)
