"""S001 replicas-differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.rule import Unmeasured, check_range, percent

_ONE_PATH = Prescription(
    "Change parameters in the same way on every rank: no step, no initialization and no copy that depends on "
    "global_rank, and no update outside the optimizer (where one is meant, broadcast its result with "
    "self.trainer.strategy.broadcast)."
)
_SYNCHRONIZE = Prescription(
    "Let every backward pass that a step uses go through the wrapped module (self.manual_backward, no no_sync() round "
    "the last micro-batch), so that gradients are averaged over the ranks."
)


@final
@dataclass(frozen=True, kw_only=True)
class ReplicasDiffer:
    """Ranks that should hold the same parameters hold different ones.

    What it finds:
        Under data parallelism (DDP) every rank holds all parameters and makes the same step with the averaged gradient,
        so that they stay the same. Mean and standard deviation of each parameter before the step are compared between
        the ranks; a parameter is named where two ranks are further apart than ``max_difference`` of its root mean
        square, at the last ``confirmed`` sampled steps or more. An error where it is more than ``grave`` of it.

    Why it matters:
        The averaged gradient fits none of the models any more. What is validated and saved is the model of rank 0,
        which the other ranks pull away from what it needs.

    When it is silent:
        One process; parameters that are split over the ranks (FSDP, tensor parallel) on purpose; strategies that are
        not DDP. Identical replicas give exactly 0, on whatever hardware: the averaged gradient is the same on all.

    What to do:
        Look for what is done on one rank alone: an initialization or a changed weight that depends on the rank, a step
        whose gradients were not averaged, a checkpoint that only rank 0 has loaded.

    Source:
        Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training (VLDB 2020), section 3; Jiang
        et al., Training with Confidence: Catching Silent Errors (OSDI 2025): drifting replicas of BLOOM-176B.
    """

    code: ClassVar[str] = "S001"
    name: ClassVar[str] = "replicas-differ"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()
    max_difference: float = 1e-5
    grave: float = 1e-2
    confirmed: int = 2

    def __post_init__(self) -> None:
        check_range(self, "max_difference", 0.0, 1.0)
        check_range(self, "grave", 0.0, 1.0)
        check_range(self, "confirmed", 1, 100)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield a finding for each parameter that differs, the one that did so first, first."""
        if int(history.run.get("world_size") or 1) < 2:
            raise Unmeasured("one process has no replicas; train with devices=2 or more")
        if "DDP" not in str(history.run.get("strategy")):
            raise Unmeasured(
                f"the strategy {history.run.get('strategy')} need not keep the same parameters on all ranks"
            )
        table = history.table("parameter/replica_difference")
        if len(table) < self.confirmed:
            raise Unmeasured(f"{len(table)} samples hold parameters of all ranks; {self.confirmed} are needed")
        apart = np.nan_to_num(table.matrix) > self.max_difference
        first = np.where(apart.any(0), apart.argmax(0), len(table))
        for j in np.argsort(first, kind="stable"):
            if not apart[-self.confirmed :, j].all():
                continue
            value, step = float(table.matrix[-1, j]), int(table.steps[first[j]])
            severity = Severity.ERROR if value > self.grave else Severity.WARNING
            message = (
                f"Between the {history.run['world_size']} ranks this parameter differs by {percent(value)} of its "
                f"size, seen first at step {step}. The averaged gradient is that of none of the models."
            )
            yield Finding(
                self.code, self.name, severity, table.sites[j], step, value, self.max_difference, message,
                int(table.steps[-1]), "", (_ONE_PATH, _SYNCHRONIZE),
            )  # fmt: skip
