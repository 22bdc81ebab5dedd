"""O010 decay-on-norm-and-bias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.fitness import shapes
from lightning_diag.rules.rule import Unmeasured

_GROUPS = Prescription(
    "Use two parameter groups: weight_decay for parameters with p.ndim > 1, weight_decay=0 for all others."
)
_DECOUPLE = Prescription("Use AdamW, whose decay does not pass through the adaptive scale.", {"optimizer": "adamw"})
_COUPLED = {"Adam", "RAdam", "NAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta"}


@final
@dataclass(frozen=True, kw_only=True)
class DecayOnNormAndBias:
    """Weight decay pulls on biases and on the scales of normalization, or passes through Adam's scale.

    What it finds:
        Parameter groups with a weight decay that hold vectors (biases, norm scales); and a weight decay in Adam,
        RMSprop and their like, where it is added to the gradient and then divided by its size.

    Why it matters:
        A bias or a scale pulled to zero is no simpler model, only one that is shifted. Coupled decay weakens where
        gradients are large, so that it regularizes other than it says.

    When it is silent:
        No weight decay, or decay on matrices alone. Always an info: many recipes live with it.

    What to do:
        Two parameter groups; AdamW.

    Source:
        Loshchilov, Hutter, Decoupled Weight Decay Regularization (2019); He et al., Bag of Tricks for Image
        Classification (2019), 3.1: no bias decay.
    """

    code: ClassVar[str] = "O010"
    name: ClassVar[str] = "decay-on-norm-and-bias"
    severity: ClassVar[Severity] = Severity.INFO
    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the whole run."""
        known = shapes(history)
        optimizers = history.run.get("optimizers") or ()
        if not optimizers:
            raise Unmeasured("no optimizer is known; return it from configure_optimizers()")
        vectors: list[str] = []
        coupled: list[str] = []
        decay = 0.0
        for optimizer in optimizers:
            kind = str(optimizer.get("type", ""))
            for group in optimizer.get("groups") or ():
                strength = float(group.get("weight_decay") or 0.0)
                if strength <= 0:
                    continue
                decay = max(decay, strength)
                vectors += [n for n in group.get("parameters") or () if n in known and len(known[n][0]) < 2]
                if kind in _COUPLED and not group.get("decoupled_weight_decay"):
                    coupled.append(kind)
        if not vectors and not coupled:
            return
        text = f"A weight decay of {decay:g} "
        text += f"also pulls on {len(vectors)} biases, norm scales or the like ({vectors[0]} first)" if vectors else ""
        text += " and " if vectors and coupled else ""
        text += f"is added to the gradient of {coupled[0]}, which then divides it by its size" if coupled else ""
        text += ". Neither does much harm; both make the decay something other than a pull on the weights."
        advice = ((_GROUPS,) if vectors else ()) + ((_DECOUPLE,) if coupled else ())
        steps = history.steps
        first, last = (int(steps[0]), int(steps[-1])) if len(steps) else (0, 0)
        yield Finding(self.code, self.name, Severity.INFO, "", first, decay, 0.0, text, last, "", advice)
