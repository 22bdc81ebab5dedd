"""O008 accidentally-frozen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.fitness import execution_place, fitness, module_of, shapes
from lightning_diag.rules.phase import is_running
from lightning_diag.rules.rule import Unmeasured, percent

_THAW = Prescription("Train it: module.requires_grad_(True) before configure_optimizers() is called.")
_LOAD = Prescription("If it should rest, load pretrained weights before freezing, and check that they were loaded.")
_PURPOSE = re.compile(r"target|teacher|ema|momentum|reference|ref_|avg|average|anchor|prior|random|fourier|rff|"
                      r"reservoir|projection|fixed|old_|shadow")  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class AccidentallyFrozen:
    """Layers are frozen although their weights were never trained.

    What it finds:
        Frozen weights that ran, with exactly the distribution that torch initializes them with: ``min_share`` of the
        weights in use or more, or the first layer, in a run that fits poorly.

    Why it matters:
        A frozen random layer passes on random features. What was meant to be pretrained was not loaded, or what was
        meant to be trained was frozen with the rest.

    When it is silent:
        Frozen weights that were trained before; copies of trained layers (targets, averages); layers that do not run.
        A run that fits well, or of which nobody knows, with frozen random features gets an info.

    What to do:
        Thaw it, or load the pretrained weights.

    Source:
        Lightning documentation, Transfer learning (freeze after loading); PyTorch, nn.Linear and nn.Conv2d, on how
        weights start.
    """

    code: ClassVar[str] = "O008"
    name: ClassVar[str] = "accidentally-frozen"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()
    min_share: float = 0.25

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the first frozen layer."""
        known, place = shapes(history), execution_place(history)
        fresh = history.run["wiring"].get("fresh_frozen")
        if fresh is None:
            raise Unmeasured("whether frozen weights are fresh was not recorded; record it again with this version")
        if not place:
            raise Unmeasured("no layer was seen to run")
        frozen = sorted((n for n in fresh if n in place and not _is_copy(n, known)), key=lambda n: place[n])
        if not frozen:
            return
        size = {n: int(np.prod(s)) for n, (s, _, _) in known.items() if len(s) > 1 and n in place}
        share = sum(size.get(n, 0) for n in frozen) / max(1, sum(size.values()))
        poor = fitness(history) == "poor" and not is_running(history)
        meant = all(_PURPOSE.search(n.lower()) for n in frozen) or history.run.get("continues")
        first_of_all = place[frozen[0]] == min(place[n] for n in size)
        harm = poor and (share >= self.min_share or first_of_all) and not meant
        severity = Severity.INFO if not harm else Severity.ERROR if share > 0.5 else Severity.WARNING
        steps = history.steps
        first, last = (int(steps[0]), int(steps[-1])) if len(steps) else (0, 0)
        site = module_of(frozen[0])
        text = (
            f"{len(frozen)} frozen weight matrices, {site} first, are {percent(share)} of the weights in use and are "
            "distributed exactly as they are initialized: they were never trained. "
            + ("The run fits poorly; it has random features to learn from." if poor else "They are random features.")
        )
        yield Finding(
            self.code, self.name, severity, site, first, share, self.min_share, text, last, "", (_THAW, _LOAD)
        )


def _is_copy(name: str, known: dict[str, tuple[tuple[int, ...], bool, int]]) -> bool:
    """Tell whether a trainable parameter of the same shape has the same name under a module named otherwise."""
    parts, shape = name.split("."), known[name][0] if name in known else ()
    for other, (s, trainable, _) in known.items():
        theirs = other.split(".")
        if trainable and s == shape and len(theirs) == len(parts):
            differ = [a for a, b in zip(parts, theirs, strict=True) if a != b]
            if len(differ) == 1 and not differ[0].isdigit():
                return True
    return False
