"""D004 target-scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History
from lightning_diag.rules.calls import differences, output_layer, seen_at
from lightning_diag.rules.curve import finite_loss
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.seen import loss_calls, seen_steps

_NEAR = 2.0  # times: a loss by hand is the distance, or its square (a half of it is often taken)
_FEW = 8
_USUAL = 10.0  # times 1, or a tenth: targets as they should be
_REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
_STANDARDIZE = Prescription(
    "Standardize the targets with the training set's mean and standard deviation; undo it where predictions are used.",
    {"standardize_target": True},
)
_BIAS = Prescription("Or start the last bias at the mean target and multiply the output by the targets' deviation.")


@final
@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """Regression targets far from what the network puts out at its start.

    What it finds:
        For squared, absolute and Huber losses: the distance between targets and first predictions (root mean square)
        is more than ``max_ratio`` times both 1 and the spread of the predictions; or the targets are smaller than
        the predictions by that factor. A warning where the loss did not come below ``fitted`` of the targets'
        variance (or its square root), info where it did.

    Why it matters:
        The output starts near 0 with a spread of about 1. Targets of 100,000 make first errors and gradients that
        large: the step that suits them is wrong ever after, and with Adam the bias needs 100,000 / lr steps.

    When it is silent:
        Standardized targets; an output whose bias or scale was set to the targets; classification. Losses written by
        hand count where they are as large as the distance, or its square, and are of prediction minus target.

    What to do:
        Train on (y - mean) / std of the training targets and undo it for predictions; or set the last bias to the
        mean target.

    Source:
        LeCun et al., Efficient BackProp (1998), 4.5; Karpathy, A Recipe for Training Neural Networks (2019), "init
        well".
    """

    code: ClassVar[str] = "D004"
    name: ClassVar[str] = "target-scale"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    max_ratio: float = 30.0
    fitted: float = 0.5

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for each regression loss."""
        calls = [
            c for c in loss_calls(history) if c.get("loss") in _REGRESSION and "float" in str(c.get("target_dtype"))
        ]
        if not calls:
            yield from self._by_hand(history)
            return
        for call in calls:
            site = str(call["site"])
            until = None if call.get("target") else 1  # a target that the model computes may run away with it
            mean, rms = (_column(history, f"target/{s}", site)[:until] for s in ("mean", "rms"))
            level, size = (_column(history, f"prediction/{s}", site)[:1] for s in ("mean", "rms"))
            if not len(mean) or not len(level):
                raise Unmeasured("targets or first predictions are not finite")
            centre, power = float(mean.mean()), float(np.mean(rms**2))
            std = float(np.sqrt(max(power - centre**2, 0.0)))
            spread = float(np.sqrt(max(size[0] ** 2 - level[0] ** 2, 0.0)))
            gap = float(np.hypot(centre - level[0], std))
            if 1 / _USUAL < power**0.5 < _USUAL and size[0] > self.max_ratio:
                continue  # it is the outputs that are out of scale
            if gap > self.max_ratio * max(1.0, spread):
                ratio = gap / max(1.0, spread)
            elif 0 < power**0.5 * self.max_ratio < size[0]:
                ratio = float(size[0] / power**0.5)
            else:
                continue
            fits = _fits(history, call, std, self.fitted)
            yield self._finding(history, site, (centre, std, float(level[0]), spread), ratio, fits=fits)

    def _by_hand(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, of a loss made of a difference of the output and a tensor of the batch."""
        fact: Mapping[str, Any] = next(iter(differences(history)), {})
        path, layer = str(fact.get("target") or ""), output_layer(history, str(fact.get("made_by") or ""))
        mean, rms = (seen_at(history, f"batch/{s}", path)[1] for s in ("mean", "rms"))
        size = seen_at(history, "activation/rms", layer.site)[1][:1] if layer is not None else np.zeros(0)
        loss = finite_loss(history)
        if not len(rms) or not len(size) or len(loss) < _FEW:
            raise Unmeasured(
                "no squared, absolute or Huber loss was called, and none was recognized as written by hand"
            )
        centre, power = float(mean.mean()), float(np.mean(rms**2))
        std = float(np.sqrt(max(power - centre**2, 0.0)))
        gap, first = power**0.5, float(np.median(loss[:3]))
        kind = next((k for k in (1, 2) if 1 / _NEAR < first / max(gap**k, 1e-30) < _NEAR), 0)
        if gap > self.max_ratio * max(1.0, float(size[0])) and kind:
            fits = float(np.median(loss[-max(3, len(loss) // 8) :])) < self.fitted * std**kind
            seen = (centre, std, 0.0, float(size[0]))
            yield self._finding(history, path, seen, gap / max(1.0, float(size[0])), fits=fits)

    def _finding(
        self, history: History, what: str, seen: tuple[float, float, float, float], ratio: float, *, fits: bool
    ) -> Finding:
        centre, std, level, spread = seen
        message = (
            f"The targets of {what} are {centre:.4g} +- {std:.3g}, the first predictions {level:.3g} +- "
            f"{spread:.2g}: "
            f"{ratio:.3g} times apart. The output must first travel there"
            + (", which it did." if fits else ", in steps that suit neither the way nor the fit at its end.")
        )
        severity = Severity.INFO if fits else self.severity
        step, last = seen_steps(history)
        limit, advice = self.max_ratio, (_STANDARDIZE, _BIAS)
        return Finding(self.code, self.name, severity, "", step, ratio, limit, message, last, "", advice)


def _column(history: History, statistic: str, site: str) -> Floats:
    table = history.table(statistic)
    values = table.matrix[:, table.sites.index(site)] if site in table.sites else np.zeros(0)
    return np.asarray(values[np.isfinite(values)])


def _fits(history: History, call: Mapping[str, Any], std: float, share: float) -> bool:
    """Tell whether the call's loss ended below a share of what the mean target would lose."""
    values = (
        _column(history, "loss_call/value", str(call["site"]))
        if "loss_call/value" in history.statistics
        else np.zeros(0)
    )
    loss = history.series("loss").values
    if not len(values) or not np.isfinite(loss[-1:]).all() or call.get("reduction") == "sum":
        return False
    end = float(np.median(values[-max(3, len(values) // 8) :]))
    return end < share * (std**2 if call["loss"] == "mse_loss" else std)
