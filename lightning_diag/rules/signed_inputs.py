"""A008 signed-inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.gains import is_affine
from lightning_diag.rules.rule import Unmeasured

_TANH = Prescription("Use nn.Tanh (its outputs are centred) or a rectifier instead of nn.Sigmoid in hidden layers.")
_NORM = Prescription("Normalize behind the sigmoid: nn.BatchNorm1d or nn.LayerNorm.", {"norm": True})


@final
@dataclass(frozen=True, kw_only=True)
class SignedInputs:
    """Hidden sigmoid outputs have one sign: all weights of a unit behind them are pushed the same way.

    What it finds:
        Hidden sigmoid activations whose outputs are never negative and feed a linear or convolution layer directly.
        Always an info.

    Why it matters:
        The gradient of a weight is its input times the error of its unit. Where all inputs are positive, all weights
        of a unit grow together or shrink together in a step, and the path to the minimum zigzags.

    When it is silent:
        Rectifiers, whose zeros and sparsity make up for it; gates, whose output is multiplied and feeds no layer;
        output layers; outputs that are normalized first.

    What to do:
        Use tanh or a rectifier in hidden layers, or normalize.

    Source:
        LeCun, Bottou, Orr, Mueller, Efficient BackProp (1998), 4.3 and 4.4.
    """

    code: ClassVar[str] = "A008"
    name: ClassVar[str] = "signed-inputs"
    severity: ClassVar[Severity] = Severity.INFO
    needs: ClassVar[tuple[str, ...]] = ("activation/min",)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding, at the first such layer."""
        table = history.table("activation/min")
        if not history.layers:
            raise Unmeasured("the order of the layers is not known")
        fed = {x.follows for x in history.layers if is_affine(x)}
        hidden = [x for x in history.layers if x.activation == "sigmoid" and x.role == "hidden" and x.site in fed]
        found: list[tuple[str, int, int, float]] = []
        for layer in hidden:
            if layer.site in table.sites and layer.units > 1:
                low = table.matrix[:, table.sites.index(layer.site)]
                steps = table.steps[np.isfinite(low)]
                if len(steps) and np.nanmin(low) >= 0:
                    found.append((layer.site, int(steps[0]), int(steps[-1]), float(np.nanmin(low))))
        if not found:
            return
        site, first, last, low_ = found[0]
        others = f", as are those of {len(found) - 1} more sigmoid layer(s)" if len(found) > 1 else ""
        message = (
            f"All outputs of {site} in steps {first} to {last} are positive (smallest {low_:.2g}){others}, and a layer "
            "of weights takes them as they are. All weights of a unit behind it then move up or down together in every "
            "step, which slows training down."
        )
        yield Finding(
            self.code, self.name, self.severity, site, first, low_, 0.0, message, last, prescriptions=(_TANH, _NORM)
        )
