"""A006 representation-collapse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History, Layer
from lightning_diag.rules.gains import is_affine
from lightning_diag.rules.phase import first_break, is_learning, is_matrix, is_running, pick, steps_seen
from lightning_diag.rules.rule import Unmeasured, check_range

_CHECK = Prescription(
    "Without labels, check what keeps outputs apart: a stopped gradient, negatives, or a variance term in the loss."
)
_NORM = Prescription(
    "Normalize inside the network (nn.LayerNorm, nn.BatchNorm) or add residual connections.", {"norm": True}
)
_RATE = Prescription(
    "Lower the learning rate by a factor of 10; the features may have been thrown away.", {"lr": "x0.1"}
)

_SOME = 4  # effective rank of features that are not on a line


@final
@dataclass(frozen=True, kw_only=True)
class RepresentationCollapse:
    """A layer gives nearly the same features for all samples.

    What it finds:
        In the median of the last samples, the features of a layer with ``min_units`` units or more differ across the
        batch by less than ``max_spread`` of their size, while those of the first layer differ by ten times that; or
        they lie on one line (effective rank below ``max_rank``), although the first layer has a rank of 4 or more
        and 4 or more outputs are to be told apart. While the loss falls, only in a layer of outputs that no target is
        given for: they differ by less than ``max_embedding`` of their size, or lie on one line, and did not at first.

    Why it matters:
        What is the same for all samples tells nothing about them: the layers behind can give one answer only.

    When it is silent:
        Classes that converged: features of C classes then lie in C - 1 directions, a line for two, by nature; one or
        a few outputs; narrow layers; inputs that are of low rank themselves; batches below 16.

    What to do:
        Look for a finding that explains it (dead or saturated units, initialization). In self-supervised learning
        restore what keeps the outputs apart.

    Source:
        Jing, Vincent, LeCun, Tian, Understanding Dimensional Collapse (2022); Roy and Vetterli, The Effective Rank
        (2007); Papyan, Han, Donoho, Prevalence of Neural Collapse (2020), on collapse that is right.
    """

    code: ClassVar[str] = "A006"
    name: ClassVar[str] = "representation-collapse"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("activation/effective_rank", "activation/sample_std", "activation/rms")
    max_spread: float = 1e-3
    max_embedding: float = 0.03
    max_rank: float = 1.2
    min_units: int = 8
    min_batch: int = 16
    min_steps: int = 50
    last_samples: int = 3

    def __post_init__(self) -> None:
        check_range(self, "max_spread", 0.0, 1.0)
        check_range(self, "max_rank", 1.0, 1e6)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the first layer that collapsed."""
        batch = int(history.run.get("batch_size") or 0)
        if 0 < batch < self.min_batch:
            raise Unmeasured(f"{batch} samples in a batch; {self.min_batch} are needed to tell features apart")
        layers = [x for x in history.layers if x.units >= self.min_units and "#" not in x.site and self._counts(x)]
        if len(layers) < 2:
            raise Unmeasured(f"{len(layers)} layers of {self.min_units} units or more")
        names = tuple(x.site for x in layers)
        steps = history.table("activation/sample_std").steps
        spread, rms, rank = (
            pick(history, f"activation/{s}", names, steps) for s in ("sample_std", "rms", "effective_rank")
        )
        rows = np.isfinite(spread).any(axis=1) & (steps >= self.min_steps) & (steps < first_break(history))
        enough = self.min_steps * (3 if is_running(history) else 1)
        if rows.sum() < self.last_samples or steps_seen(history) < enough:
            raise Unmeasured(f"{int(rows.sum())} samples after step {self.min_steps}; {self.last_samples} are needed")
        last = np.flatnonzero(rows)[-self.last_samples :]
        with np.errstate(all="ignore"):
            share = _highest(spread[last] / rms[last])
        ranks = _highest(rank[last])
        same = (share < self.max_spread) & (share < 0.1 * share[0]) & np.isfinite(share[0])
        line = (ranks < self.max_rank) & (ranks[0] >= _SOME) & (self._outputs(history) >= 4)
        ends = {x.site.split("#")[0] for x in history.layers if x.role == "output"}
        output = np.array([x.site in ends for x in layers])
        if is_learning(history):  # then only outputs without targets may have collapsed
            first = np.flatnonzero(np.isfinite(spread[:, -1]))[0]
            shrunk = (share < self.max_embedding) & (share < 0.2 * spread[first] / np.maximum(rms[first], 1e-30))
            free = output & (not self._has_targets(history))
            same, line = (same | shrunk) & free, (ranks < self.max_rank) & (rank[first] >= _SOME) & free
        else:
            same, line = same & ~output, line & ~output
        if not (same | line).any():
            return
        j = int(np.flatnonzero(same | line)[0])
        part = 0.0 if is_learning(history) else 0.5  # what a loss asks for begins with the first step
        since = _onset(spread[:, j] / rms[:, j], share[j], part) if same[j] else last[0]
        yield self._finding(
            layers[j], int(steps[since]), int(steps[last[-1]]), share[[0, j]], ranks[[0, j]], bool(same[j])
        )

    @staticmethod
    def _counts(layer: Layer) -> bool:
        """Tell whether a layer makes features of its own: it has weights, and is no embedding or gate."""
        return is_affine(layer) or any(is_matrix(layer, p) for p in layer.parameters)

    @staticmethod
    def _has_targets(history: History) -> bool:
        """Tell whether a loss compares outputs with something of the batch: a constant one is collapsed-output's."""
        seen = [*(history.run.get("losses") or ()), *(history.run.get("differences") or ())]
        return any(c.get("target") or "int" in str(c.get("target_dtype")) for c in seen)

    @staticmethod
    def _outputs(history: History) -> int:
        """Return how many numbers are to be told apart: the units of the widest output."""
        found = [x.units for x in history.layers if x.role == "output"]
        for call in history.run.get("losses") or ():
            shape = list(call.get("prediction_shape") or ())
            found.append(int(shape[1]) if len(shape) > 1 else 1)
            return min(found[-1], max(found))
        return max(found, default=0)

    def _finding(self, layer: Layer, first: int, last: int, share: Floats, rank: Floats, same: bool) -> Finding:
        if same:
            value, limit = float(share[1]), self.max_spread
            what = (
                f"The {layer.units} features of {layer.site} differ between samples by {share[1]:.2g} of their size "
                f"(those of the first layer by {share[0]:.2g})"
            )
        else:
            value, limit = float(rank[1]), self.max_rank
            what = (
                f"The {layer.units} features of {layer.site} have an effective rank of {rank[1]:.2g} across samples "
                f"(those of the first layer {rank[0]:.2g})"
            )
        message = (
            f"{what} in steps {first} to {last}. The layers behind it cannot tell the samples apart, and can give "
            "about one answer only."
        )
        advice = (_CHECK, _NORM, _RATE)
        return Finding(self.code, self.name, self.severity, layer.site, first, value, limit, message, last, "", advice)


def _onset(shares: Floats, end: float, part: float) -> int:
    """Return the sample from which on a share is past a part of its way down, by its logarithm; NaN are left out."""
    known = np.flatnonzero(np.isfinite(shares) & (shares > 0))
    if not len(known):
        return 0
    top = known[int(np.argmax(shares[known]))]
    limit = float(shares[top] ** (1 - part) * max(end, 1e-30) ** part)
    later = known[(known > known[shares[known] > limit].max(initial=-1)) & (known >= top)]
    return int(later[0]) if len(later) else int(known[-1])


def _highest(rows: Floats) -> Floats:
    """Return the largest of each column (a fault must hold in every sample), infinity where all are absent."""
    known = np.isfinite(rows)
    top = np.max(np.where(known, rows, -np.inf), axis=0)
    return np.asarray(np.where(known.any(axis=0), top, np.inf), dtype=np.float64)
