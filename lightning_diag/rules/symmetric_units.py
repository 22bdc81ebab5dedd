"""W006 symmetric-units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Layer
from lightning_diag.rules.fitness import column, fitness
from lightning_diag.rules.phase import is_running
from lightning_diag.rules.rule import Unmeasured, between, percent

_INIT = Prescription(
    "Initialize the weights at random: nn.init.kaiming_normal_(w) or nn.init.xavier_uniform_(w). Only biases may start "
    "constant, and one factor of a product at zero.",
    {"init": "kaiming"},
)


@final
@dataclass(frozen=True, kw_only=True)
class SymmetricUnits:
    """Units of a hidden layer that are copies of each other, or weights that stay zero.

    What it finds:
        A trained hidden layer of which ``min_share`` of the units have the same weights as another unit, still after
        ``min_steps`` optimizer steps and at every sample since. Or hidden weights that are zero at every sample
        although they get a gradient, of zeros. For weights too large to be compared row by row: constant at the first
        sample, and the outputs vary in one direction only ever since.

    Why it matters:
        Units with the same weights in and out get the same gradient, so they stay the same for ever: the layer is as
        good as one unit.

    When it is silent:
        The copies part (something at random, as dropout, breaks the symmetry); output layers and heads that start at
        zero; embeddings; layers of one unit; parameters that are not trained.

    What to do:
        Initialize at random.

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), 8.4: initial parameters need to break symmetry.
    """

    code: ClassVar[str] = "W006"
    name: ClassVar[str] = "symmetric-units"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("parameter/rms",)
    min_share: float = 0.5
    min_steps: int = 4
    max_rank: float = 1.05

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding, at the first such layer, naming how many others there are."""
        found: list[tuple[Layer, str, float, int, int]] = []
        judged = 0
        frozen = set(history.run.get("frozen") or ())
        for layer in history.layers:
            hidden = layer.role == "hidden" and layer.units != 1 and "embedding" not in layer.type.lower()
            for name in layer.parameters if hidden and "#" not in layer.site else ():
                share = self._share(history, layer, name, frozen)
                judged += share is not None
                if share is not None and share >= self.min_share:
                    steps = column(history, "parameter/rms", name)[0]
                    found.append((layer, name, share, int(steps[0]), int(steps[-1])))
                    break
        if not judged:
            raise Unmeasured(f"no hidden weight matrix was seen at two samples after {self.min_steps} optimizer steps")
        if found:
            yield self._finding(history, found)

    def _share(self, history: History, layer: Layer, name: str, frozen: set[str]) -> float | None:
        """Return the least share of copies since ``min_steps``; 1 for weights that stay zero; None if unknown."""
        steps, size = column(history, "parameter/rms", name)
        late = steps >= self.min_steps
        is_weight = "weight" in name.rsplit(".", 1)[-1] and "norm" not in layer.type.lower()
        if late.sum() < 2 or not is_weight:
            return None
        if not size.any():
            _, pull = column(history, "gradient/rms", name)
            return 1.0 if len(pull) and not pull.any() else 0.0
        if name in frozen:
            return None
        at, clones = column(history, "parameter/clones", name)
        clones = clones[at >= self.min_steps]
        if len(clones) >= 2:
            return max(float(clones.min()), self._filled(history, layer, name))
        return self._large(history, layer, name)

    @staticmethod
    def _filled(history: History, layer: Layer, name: str) -> float:
        """The same for weights that all were one number, not zero, and a run that did not get over it."""
        steps, spread = column(history, "parameter/std", name)
        _, level = column(history, "parameter/rms", name)
        filled = len(spread) > 0 and steps[0] == 0 and level[0] > 0 and spread[0] <= 1e-6 * level[0]
        return float(filled and layer.units >= 4 and fitness(history) == "poor" and not is_running(history))

    def _large(self, history: History, layer: Layer, name: str) -> float | None:
        """The same for weights that are measured on a part: constant at the start, one direction at every sample."""
        _, spread = column(history, "parameter/std", name)
        _, level = column(history, "parameter/rms", name)
        at, rank = column(history, "activation/effective_rank", layer.site)
        rank = rank[at >= self.min_steps]
        if not len(spread) or len(rank) < 2:
            return None
        constant = bool(spread[0] <= 1e-6 * level[0])
        return float(constant and layer.units >= 4 and float(np.max(rank)) <= self.max_rank)

    def _finding(self, history: History, found: list[tuple[Layer, str, float, int, int]]) -> Finding:
        layer, name, share, first, last = found[0]
        zero = not column(history, "parameter/rms", name)[1].any()
        others = f" (as those of {len(found) - 1} other layer(s))" if len(found) > 1 else ""
        if zero:
            text = (
                f"{name} is zero {between(first, last)} and its gradient, too{others}. Where all factors of a product "
                "are zero each waits for the other: the layer never learns anything."
            )
        elif (column(history, "parameter/clones", name)[1][-1:] == 0).any():
            number = column(history, "parameter/rms", name)[1][0]
            text = (
                f"All weights of {layer.site} started as one number, {number:.3g}{others}, and the run fits poorly. "
                "Units that start the same part only as far as what is behind them is random, and slowly."
            )
        else:
            text = (
                f"{percent(share)} of the units of {layer.site} have the same weights as another unit "
                f"{between(first, last)}{others}. Units that are the same get the same gradient and never part: the "
                "layer can tell no more than one of them could."
            )
        severity = Severity.WARNING if fitness(history) == "good" else Severity.ERROR
        return Finding(
            self.code, self.name, severity, layer.site, first, share, self.min_share, text, last, "", (_INIT,)
        )
