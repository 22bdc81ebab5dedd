"""W005 unregistered-parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.fitness import fitness
from lightning_diag.rules.rule import Unmeasured

_LIST = Prescription("Keep layers in nn.ModuleList, parameters in nn.ParameterList.")
_DICT = Prescription("Keep layers in nn.ModuleDict, parameters in nn.ParameterDict.")
_TENSOR = Prescription("Make it a parameter: self.x = nn.Parameter(torch.randn(...)).")
# What holds points at which derivatives are taken or inputs that are optimized, not weights.
_INPUTS = re.compile(
    r"(^|_)(x|y|t|z|xs|ts|xy|xt|points?|colloc\w*|grids?|coords?|inputs?|images?|deltas?|noise|perturb\w*|adv\w*|"
    r"interp\w*|latents?|samples?|boundary|interior|initial|bc|ic|batch\w*)(_|$)"
)


@final
@dataclass(frozen=True, kw_only=True)
class UnregisteredParameters:
    """Layers or parameters in a plain list, dict or attribute, which the model does not know of.

    What it finds:
        Tensors that require gradients and got one from the loss, but are in no ``parameters()`` and no optimizer.
        An error where a container hides them, unless the fit is good.

    Why it matters:
        An optimizer made from ``self.parameters()`` never gets them: they stay random. Checkpoints and moves to a
        device leave them out.

    When it is silent:
        What is registered elsewhere too, what an optimizer holds, and what the loss does not depend on. A bare tensor
        attribute may hold points at which derivatives are taken: a warning only where the fit is known to be poor.

    What to do:
        nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, nn.Parameter.

    Source:
        PyTorch documentation, nn.ModuleList ("modules it contains are properly registered") and nn.Parameter.
    """

    code: ClassVar[str] = "W005"
    name: ClassVar[str] = "unregistered-parameters"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("parameter/rms",)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding, at the largest holder, naming how many others there are."""
        if "wiring" not in history.run:
            raise Unmeasured("how the run is put together was not recorded; record it again with this version")
        found = [x for x in history.run.get("unregistered") or () if int(x.get("with_gradient") or 0) > 0]
        if not found:
            return
        worst = max(found, key=lambda x: (self._is_held(x), int(x.get("elements") or 0)))
        severity = self._severity(history, worst)
        owner, attribute, kind = (str(worst.get(k) or "") for k in ("owner", "attribute", "kind"))
        first, last = int(history.steps[0]), int(history.steps[-1])
        count, elements = int(worst["with_gradient"]), int(worst.get("elements") or 0)
        where = f"{owner}.{attribute}".strip(".")
        text = (
            f"{where}, a plain {kind}, hides {count} tensor(s) of {elements} elements for which the loss has a gradient"
            + (f", as {len(found) - 1} other attribute(s) do" if len(found) > 1 else "")
            + ". parameters() does not list them, so no optimizer changes them and no checkpoint saves them."
        )
        advice = _DICT if "dict" in kind.lower() else _TENSOR if kind == "Tensor" else _LIST
        yield Finding(self.code, self.name, severity, where, first, float(count), 0.0, text, last, "", (advice,))

    @staticmethod
    def _is_held(item: dict[str, Any]) -> bool:
        return item.get("kind") != "Tensor" and not _INPUTS.search(str(item.get("attribute", "")).lower())

    def _severity(self, history: History, item: dict[str, Any]) -> Severity:
        fit = fitness(history)
        if self._is_held(item):
            return Severity.WARNING if fit == "good" else Severity.ERROR
        named = _INPUTS.search(str(item.get("attribute", "")).lower())
        return Severity.WARNING if fit == "poor" and not named else Severity.INFO
