"""N002 cancelled-bias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Layer
from lightning_diag.rules.gains import is_affine
from lightning_diag.rules.mode import in_wrong_mode
from lightning_diag.rules.rule import Unmeasured

_WITHOUT = Prescription("Make the layer without a bias: nn.Linear(..., bias=False), nn.Conv2d(..., bias=False).")


@final
@dataclass(frozen=True, kw_only=True)
class CancelledBias:
    """A bias right before BatchNorm has no effect.

    What it finds:
        A linear or convolution layer with a trainable bias whose output goes to a BatchNorm and nowhere else. Where
        gradients were seen, that of the bias must be nothing but rounding: below ``max_share`` of that of the weight.
        Always an info.

    Why it matters:
        BatchNorm subtracts the mean of every channel, and with it the bias. It costs memory and is never trained;
        BatchNorm has a bias of its own.

    When it is silent:
        LayerNorm, GroupNorm, RMSNorm, which subtract no mean per channel; an activation in between; a BatchNorm in
        eval mode; a layer whose output is used elsewhere as well.

    What to do:
        Leave the bias out.

    Source:
        Ioffe and Szegedy, Batch Normalization (2015), 3.2 ("the bias b can be ignored").
    """

    code: ClassVar[str] = "N002"
    name: ClassVar[str] = "cancelled-bias"
    severity: ClassVar[Severity] = Severity.INFO
    needs: ClassVar[tuple[str, ...]] = ("parameter/rms",)
    max_share: float = 1e-3

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding, at the first such bias."""
        if not history.layers:
            raise Unmeasured("the order of the layers is not known")
        table = history.table("parameter/rms")
        try:
            resting, _ = in_wrong_mode(history, "train")
        except Unmeasured:
            resting = {}
        sites = {x.site: x for x in history.layers}
        found: list[tuple[Layer, Layer]] = []
        for norm in history.layers:
            before = sites.get(norm.follows)
            if not norm.type.startswith(("BatchNorm", "SyncBatchNorm", "LazyBatchNorm")) or before is None:
                continue
            alone = sum(x.follows == before.site for x in history.layers) == 1
            if (
                (is_affine(before) or before.type.startswith("ConvTranspose"))
                and alone
                and norm.site not in resting
                and self._cancelled(history, before)
            ):
                found.append((before, norm))
        if not found:
            return
        layer, norm = found[0]
        others = f", and {len(found) - 1} more layer(s) like it" if len(found) > 1 else ""
        message = (
            f"{layer.site} has a bias and feeds nothing but {norm.site} ({norm.type}){others}, from step "
            f"{int(table.steps[0])} to {int(table.steps[-1])}. BatchNorm subtracts the mean of every channel, and "
            "the bias with it: it has no effect."
        )
        count, last = float(len(found)), int(table.steps[-1])
        site, first = f"{layer.site}.bias", int(table.steps[0])
        yield Finding(self.code, self.name, self.severity, site, first, count, 0.0, message, last, "", (_WITHOUT,))

    def _cancelled(self, history: History, layer: Layer) -> bool:
        """Tell whether a layer has a trainable bias whose gradient is nothing but rounding, where it was seen."""
        weight, bias = (next((p for p in layer.parameters if p == f"{layer.site}.{x}"), "") for x in ("weight", "bias"))
        if not bias or bias not in history.table("parameter/rms").sites:
            return False
        table = history.table("gradient/rms")
        if weight not in table.sites or bias not in table.sites:
            return True
        g, b = (table.matrix[:, table.sites.index(x)] for x in (weight, bias))
        known = np.isfinite(g) & np.isfinite(b) & (g > 0)
        return not known.any() or float(np.median(b[known] / g[known])) < self.max_share
