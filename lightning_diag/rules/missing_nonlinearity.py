"""A007 missing-nonlinearity."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Layer
from lightning_diag.rules.fitness import fitness, shapes
from lightning_diag.rules.rule import Unmeasured

_BETWEEN = Prescription("Put an activation between them: nn.ReLU(), nn.GELU(); behind BatchNorm where there is one.")
_MERGE = Prescription("If the product is meant to be affine, one layer does the same with fewer parameters.")
_PROJECTS = re.compile(
    r"attn|attention|proj|query|key|value|qkv|lora|adapter|embed|patch|(^|[._])(to_)?[qkvo](_|[.]|$)"
)


class _Pair(NamedTuple):
    before: Layer
    after: Layer
    plain: bool  # neither a factorization nor a projection
    wide: bool = False  # wider in its middle than at both ends, which serves no end without a nonlinearity


@final
@dataclass(frozen=True, kw_only=True)
class MissingNonlinearity:
    """Affine layers follow each other with nothing nonlinear between.

    What it finds:
        Linear layers and convolutions of which one feeds the next through reshaping, averages, dropout or BatchNorm
        alone, as the graph of the forward pass shows. A warning for three or more in a row, or for pairs at 40 % of
        the network, unless the fit is good, and for linear layers that widen by two or more and narrow back inside of a
        network (a feed-forward block without its activation); an error where all of it is affine and fits poorly.

    Why it matters:
        Affine layers in a row are one affine layer: depth without what depth is for.

    When it is silent:
        Pairs whose middle is narrower than both ends (low rank, bottlenecks), depthwise, one by one and factorized
        kernels, projections in attention. One pair, as an embedding with its head, is an info.

    What to do:
        Put an activation between them.

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), 6.1 (why a linear hidden layer is not enough); Sandler et
        al., MobileNetV2 (2018), on linear bottlenecks.
    """

    code: ClassVar[str] = "A007"
    name: ClassVar[str] = "missing-nonlinearity"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("activation/rms",)
    min_run: int = 2
    min_share: float = 0.4

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the first layer after which something is missing."""
        layers = {x.site: x for x in history.layers}
        owners = [x for x in history.layers if x.parameters]
        if len(owners) < 2:
            raise Unmeasured("fewer than two layers were seen")
        known = shapes(history)
        pairs = [self._pair(layers[x.straight], x, known) for x in history.layers if x.straight in layers]
        if not pairs:
            return
        whole, plain = self._is_affine(owners, pairs), [p for p in pairs if p.plain]
        run = _longest(plain)
        fit = fitness(history)
        severity = self._severity(whole, len(pairs), len(run), self._share(owners, plain), fit)
        if severity == Severity.INFO and any(p.wide for p in plain):
            severity, run = Severity.WARNING, run if any(p.wide for p in run) else [p for p in plain if p.wide]
        if severity == Severity.INFO and not plain and not whole:
            return
        shown = pairs if whole else run or plain
        yield self._finding(history, shown, severity, whole=whole, pairs=len(plain))

    def _severity(self, whole: bool, pairs: int, run: int, share: float, fit: str) -> Severity:
        if fit == "good":
            return Severity.INFO
        if whole and pairs >= self.min_run:
            return Severity.ERROR if fit == "poor" else Severity.WARNING
        if run >= self.min_run:
            return Severity.WARNING
        return Severity.WARNING if fit == "poor" and run and (whole or share >= self.min_share) else Severity.INFO

    @staticmethod
    def _share(owners: list[Layer], plain: list[_Pair]) -> float:
        """Return the share of the steps from layer to layer that are pairs in the midst of the network; 0 for one."""
        hidden = [p for p in plain if p.after.role == "hidden"]
        affine = [x for x in owners if "norm" not in x.type.lower()]
        return len(hidden) / max(1, len(affine) - 2) if len(hidden) > 1 else 0.0

    @staticmethod
    def _is_affine(owners: list[Layer], pairs: list[_Pair]) -> bool:
        """Tell whether every layer with parameters is part of one chain of affine ones, or a BatchNorm in it."""
        fed = {p.after.site for p in pairs}
        layers = [x for x in owners if "batchnorm" not in x.type.lower()]
        return layers[0].site in {p.before.site for p in pairs} and all(x.site in fed for x in layers[1:])

    @staticmethod
    def _pair(before: Layer, after: Layer, known: dict[str, tuple[tuple[int, ...], bool, int]]) -> _Pair:
        first, second = _weight(before, known), _weight(after, known)
        if _PROJECTS.search(before.site.lower()) or _PROJECTS.search(after.site.lower()):
            return _Pair(before, after, plain=False)
        if len(first) < 2 or len(second) < 2:
            return _Pair(before, after, plain=True)
        back = len(first) == len(second) == 2 and after.units == first[1] and after.role == "hidden"
        wide = back and before.units >= 2 * first[1]
        transposed = "transpose" in before.type.lower()
        given = first[0] if transposed else first[1]
        narrow = before.units < given and before.units < after.units
        kernels = first[2:], second[2:]
        factorized = all(kernels) and kernels[0] != kernels[1] and any(1 in k for k in kernels)
        depthwise = bool(kernels[1]) and second[1] < before.units and "transpose" not in after.type.lower()
        return _Pair(before, after, plain=not (narrow or factorized or depthwise), wide=wide)

    def _finding(self, history: History, shown: list[_Pair], severity: Severity, *, whole: bool, pairs: int) -> Finding:
        names = [shown[0].before.site, *(p.after.site for p in shown)]
        chain = " -> ".join(names[:6]) + (" -> ..." if len(names) > 6 else "")
        steps = history.steps
        first, last = int(steps[0]), int(steps[-1])
        if whole:
            text = f"All {len(names)} layers are affine with nothing nonlinear between: {chain}. "
            text += "Together they are one affine map, that of a single layer."
        else:
            text = f"{chain} follow each other with nothing nonlinear between ({pairs} such pair(s) in all). "
            text += "Affine layers in a row are one affine layer; they add parameters, not capacity."
        value = float(len(shown))
        return Finding(
            self.code, self.name, severity, names[0], first, value, float(self.min_run), text, last, "",
            (_BETWEEN, _MERGE),
        )  # fmt: skip


def _weight(layer: Layer, known: dict[str, tuple[tuple[int, ...], bool, int]]) -> tuple[int, ...]:
    """Return the shape of a layer's weight, () if it is not known."""
    found = [known[p][0] for p in layer.parameters if p in known and len(known[p][0]) > 1]
    return max(found, key=lambda s: int(np.prod(s)), default=())


def _longest(pairs: list[_Pair]) -> list[_Pair]:
    """Return the longest chain in which each pair begins where the one before ended."""
    best: list[_Pair] = []
    ending: dict[str, list[_Pair]] = {}
    for p in pairs:  # in order of execution, so that what feeds a pair came before
        chain = [*ending.get(p.before.site, []), p]
        ending[p.after.site] = chain
        best = chain if len(chain) > len(best) else best
    return best
