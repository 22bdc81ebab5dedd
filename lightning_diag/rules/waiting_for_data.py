"""S002 waiting-for-data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.phase import steps_seen
from lightning_diag.rules.rule import Unmeasured, check_range, percent
from lightning_diag.rules.seen import wiring

_WORKERS = Prescription(
    "Load in parallel: DataLoader(..., num_workers=4, persistent_workers=True, pin_memory=True).", {"num_workers": 4}
)
_CACHE = Prescription("Do costly, fixed preprocessing once, before training, and keep its result.")


@final
@dataclass(frozen=True, kw_only=True)
class WaitingForData:
    """Most of the time is spent waiting for batches.

    What it finds:
        The time between the end of a training batch and the start of the next one, within epochs, is more than
        ``max_fraction`` of the whole fit. Always an info: it costs time, not quality.

    Why it matters:
        While the loader works the network rests; the same run could be over in a fraction of the time.

    When it is silent:
        Fits shorter than ``min_seconds`` or ``min_steps``, where start-up is all there is.

    What to do:
        Load in worker processes, keep preprocessed data, read larger pieces.

    Source:
        PyTorch documentation, Performance Tuning Guide (asynchronous data loading); Mohan et al., Analyzing and
        Mitigating Data Stalls in DNN Training (2021).
    """

    code: ClassVar[str] = "S002"
    name: ClassVar[str] = "waiting-for-data"
    severity: ClassVar[Severity] = Severity.INFO
    needs: ClassVar[tuple[str, ...]] = ()
    max_fraction: float = 0.5
    min_seconds: float = 5.0
    min_steps: int = 20

    def __post_init__(self) -> None:
        check_range(self, "max_fraction", 0.0, 1.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, for the whole run."""
        waiting, seconds = history.run.get("waiting_fraction"), history.run.get("seconds")
        if waiting is None or seconds is None:
            raise Unmeasured("the time between batches was not recorded; record the run with this version")
        steps = steps_seen(history)
        if seconds < self.min_seconds or steps < self.min_steps:
            raise Unmeasured(
                f"{steps} steps in {seconds:.1f} s; {self.min_steps} and {self.min_seconds:g} s are needed"
            )
        if waiting <= self.max_fraction:
            return
        try:
            workers = wiring(history).get("train_loader", {}).get("workers")
        except Unmeasured:
            workers = None
        how = f" The loader has {workers} worker processes." if workers is not None else ""
        message = (
            f"{percent(waiting)} of {seconds:.0f} s ({steps} steps) passed between the end of a batch and the start of "
            f"the next.{how} The network waits for its data most of the time."
        )
        advice = (_WORKERS, _CACHE)
        limit = self.max_fraction
        yield Finding(self.code, self.name, self.severity, "", 0, waiting, limit, message, steps - 1, "", advice)
