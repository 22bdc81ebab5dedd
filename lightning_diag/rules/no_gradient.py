"""G004 no-gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.fitness import Held, column, execution_place, fitness, held
from lightning_diag.rules.phase import is_running
from lightning_diag.rules.rule import Unmeasured, between, percent
from lightning_diag.rules.seen import floats, inputs, loss_calls

_CUT = Prescription(
    "Look for what cuts the graph behind it: .detach(), .data, .item(), .numpy(), torch.tensor(x), torch.no_grad(), "
    "argmax, round or a comparison; or a result that is overwritten before the loss uses it."
)
_UNUSED = Prescription("Call the module in forward(), or remove it; set requires_grad=False where it rests on purpose.")

_HUGE = 10.0  # root mean square of an input, where 1 is usual
# Parts that well-known models run although few programs use what they put out.
_SPARE = {"aux", "aux1", "aux2", "auxlogits", "auxiliary", "aux_head", "aux_classifier", "pooler"}


@final
@dataclass(frozen=True, kw_only=True)
class NoGradient:
    """Trainable parameters that never receive a gradient.

    What it finds:
        Modules of which no parameter had a gradient at any sampled step (none at all, or zeros only), although an
        optimizer holds them. An error where nothing gets one, or the network is cut off from its first layer on; a
        warning where it ran and is the first layer, ``min_share`` of the parameters, or part of a poor fit.

    Why it matters:
        An optimizer leaves a parameter without a gradient where it is: that part of the network stays random.

    When it is silent:
        Frozen parameters; values that change by other means (a codebook kept by averages); experts that were not
        chosen; zeros behind rectifiers that are all dead, saturated units, a softmax over one unit or weights that are
        all zero, which have rules of their own. A small part that did not run, or whose output is not used, as an
        auxiliary head, is an info.

    What to do:
        Find what cuts the graph between this module and the loss; remove what is not used.

    Source:
        PyTorch documentation, Autograd mechanics (locally disabling gradient computation) and
        DistributedDataParallel (find_unused_parameters).
    """

    code: ClassVar[str] = "G004"
    name: ClassVar[str] = "no-gradient"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("parameter/rms",)
    min_samples: int = 3
    min_share: float = 0.1
    min_unused: float = 0.25

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most two findings: for what ran, and for what did not."""
        known = held(history)
        most = max((len(p.steps) for p in known), default=0)
        if most < (3 if is_running(history) else 1) * self.min_samples:
            raise Unmeasured(f"{most} samples of optimizer steps; {self.min_samples} are needed")
        known = [p for p in known if len(p.steps) >= self.min_samples]
        modules: dict[str, list[Held]] = {}
        for p in known:
            modules.setdefault(p.module, []).append(p)
        starved = {m: ps for m, ps in modules.items() if all(p.starved for p in ps) and self._counts(history, m, ps)}
        place = execution_place(history)
        ran = {m: ps for m, ps in starved.items() if any(p.name in place for p in ps) or m == ""}
        rest = {m: ps for m, ps in starved.items() if m not in ran}
        total = sum(p.elements for p in known)
        if ran:
            yield self._cut(history, ran, known, total)
        if rest:
            yield self._unused(history, rest, total)

    @staticmethod
    def _counts(history: History, module: str, parameters: list[Held]) -> bool:
        """Tell whether a module without gradients is not explained by something else."""
        if "expert" in module.lower():
            return False
        if any(p.absent.all() and _moves(history, p.name) for p in parameters):
            return False
        return all(p.absent.all() for p in parameters) or not (
            _flat(history) or _all_zero(history) or _swamped(history)
        )

    def _cut(self, history: History, ran: dict[str, list[Held]], known: list[Held], total: int) -> Finding:
        place = execution_place(history)
        order = {p.name: place.get(p.name, len(history.layers)) for p in known}
        names = [p for ps in ran.values() for p in ps]
        first = min(names, key=lambda p: order[p.name])
        share = sum(p.elements for p in names) / total
        early = order[first.name] <= min(order.values())
        poor = fitness(history)
        if share == 1:
            severity = Severity.ERROR
        elif early:
            severity = Severity.WARNING if poor == "good" else Severity.ERROR
        elif all(_SPARE & set(m.lower().split(".")) for m in ran):
            severity = Severity.INFO
        elif share >= self.min_share:
            severity = Severity.INFO if poor == "good" else Severity.WARNING
        else:
            severity = Severity.WARNING if poor == "poor" and share >= self.min_share / 10 else Severity.INFO
        site = first.module or first.name
        others = len(ran) - 1
        text = f"{site} ran, but no parameter of it got a gradient {between(int(first.steps[0]), int(first.steps[-1]))}"
        text += f", nor did those of {others} other module(s)" if others else ""
        text += f"; in all {percent(share)} of the parameters that the optimizer holds. "
        if share == 1:
            text += "The loss is cut off from all of the network: nothing can be learned."
        elif early:
            text += "The network is cut off from its first layer on: what feeds the rest stays as it was initialized."
        else:
            text += "Its output does not reach the loss in a way that can be differentiated, so it stays as it was."
        return self._finding(severity, site, share, text, names, _CUT)

    def _unused(self, history: History, rest: dict[str, list[Held]], total: int) -> Finding:
        names = [p for ps in rest.values() for p in ps]
        share = sum(p.elements for p in names) / total
        warn = share >= self.min_unused and fitness(history) == "poor"
        site = names[0].module or names[0].name
        text = (
            f"{site} got no gradient {between(int(names[0].steps[0]), int(names[0].steps[-1]))} and was not seen to "
            f"run, as {len(rest) - 1} other module(s); in all {percent(share)} of the parameters that the optimizer "
            "holds. A module that forward() does not call adds nothing to the network."
        )
        return self._finding(Severity.WARNING if warn else Severity.INFO, site, share, text, names, _UNUSED)

    def _finding(
        self, severity: Severity, site: str, share: float, text: str, names: list[Held], advice: Prescription
    ) -> Finding:
        first, last = int(names[0].steps[0]), int(names[0].steps[-1])
        return Finding(self.code, self.name, severity, site, first, share, 0.0, text, last, "", (advice,))


def _moves(history: History, name: str) -> bool:
    """Tell whether a parameter changes by other means than its gradient."""
    for statistic in ("parameter/mean", "parameter/rms"):
        _, values = column(history, statistic, name)
        if len(values) > 1 and float(np.ptp(values)) > 1e-5 * float(np.abs(values).max()):
            return True
    return False


def _flat(history: History) -> bool:
    """Tell whether some activation passes nothing: a rule of its own says so.

    A rectifier or gate that is silent as a whole, or a bounded unit that is all saturated, in half of the samples or
    more; a softmax over one unit, in the model or in the loss.
    """
    calls = [c for c in loss_calls(history) if c.get("loss") == "cross_entropy"]
    if any(list(c.get("prediction_shape") or ())[1:2] == [1] for c in calls):
        return True
    for layer in history.layers:
        if layer.activation in ("softmax", "log_softmax") and layer.units == 1:
            return True
        _, high = column(history, "activation/max", layer.site)
        _, full = column(history, "activation/saturated_fraction", layer.site)
        _, shut = column(history, "activation/silent_fraction", layer.site)
        flat = full if len(full) else shut
        silent = high <= 0 if layer.activation in ("relu", "relu6") else flat >= 1
        if len(silent) and float(silent.mean()) >= 0.5:
            return True
    return False


def _swamped(history: History) -> bool:
    """Tell whether inputs are so large that what saturates on them passes exact zeros: unnormalized-input says so."""
    try:
        seen = inputs(history).values()
    except Unmeasured:
        return False
    return any(np.hypot(floats(f, "mean"), floats(f, "std")).max(initial=0.0) > _HUGE for f in seen)


def _all_zero(history: History) -> bool:
    """Tell whether a trained hidden weight is zero in all samples: symmetric-units says so."""
    for layer in history.layers:
        for name in layer.parameters:
            _, values = column(history, "parameter/rms", name)
            if layer.role == "hidden" and "weight" in name and len(values) and not values.any():
                return True
    return False
