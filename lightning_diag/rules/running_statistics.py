"""V005 running-statistics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.deficit import Deficit, deficit, jumping, loss_deficit
from lightning_diag.rules.mode import expected_gap, in_wrong_mode, misfit
from lightning_diag.rules.phase import is_running, steps_seen
from lightning_diag.rules.rule import Unmeasured, check_range
from lightning_diag.rules.seen import wiring

_MOMENTUM = Prescription(
    "Use the default momentum: nn.BatchNorm2d(channels, momentum=0.1). In torch it is the weight of the new batch; "
    "0.99 of other libraries is 0.01 here.",
    {"norm_momentum": 0.1},
)
_GROUP = Prescription("Normalize without running statistics: nn.GroupNorm or nn.LayerNorm.", {"norm": "group"})
_RECOMPUTE = Prescription(
    "Recompute the statistics before evaluation: reset_running_stats(), then pass training data in training mode "
    "(torch.optim.swa_utils.update_bn)."
)

_COPY = Prescription(
    "Copy the buffers of a copied model too (AveragedModel(..., use_buffers=True)), or recompute them for it "
    "(torch.optim.swa_utils.update_bn)."
)


class _Off(NamedTuple):
    site: str
    gap: float
    ratio: float
    first: int
    last: int
    size: float  # how many times over the limit


@final
@dataclass(frozen=True, kw_only=True)
class RunningStatistics:
    """The running statistics of a BatchNorm are not those of the data, and evaluation will use them.

    What it finds:
        In the last third of the samples, running mean and batch mean differ by more than ``max_gap`` standard
        deviations (root mean square over channels) beyond the noise of a batch mean, or running and batch variance
        by more than a factor of ``max_factor`` (median over channels). Where validation is far worse than training,
        a third of that suffices. Or a momentum of ``high_momentum`` or more with small batches, so that evaluation
        uses the statistics of the last batch, where validation is far worse or jumps. Or a BatchNorm of the validated
        model was never fed at all, and validation is ``empty_factor`` times worse than training.

    Why it matters:
        Training normalizes with the batch, evaluation with the running statistics. If they differ, evaluation feeds
        each layer inputs that it never saw in training: validation is bad although the network has learned.

    When it is silent:
        The noise of small batches, 1 / sqrt(samples); the start, where statistics follow quickly changing weights;
        fewer than ``min_steps`` steps; a frozen BatchNorm, and one that sees different data in turn (a discriminator).

    What to do:
        Use the default momentum; normalize without running statistics; recompute them before evaluation.

    Source:
        Ioffe and Szegedy, Batch Normalization (2015), 3.1; Wu and Johnson, Rethinking "Batch" in BatchNorm (2021), 3
        and 4; PyTorch documentation, BatchNorm2d, on momentum.
    """

    code: ClassVar[str] = "V005"
    name: ClassVar[str] = "running-statistics"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("norm/mean_gap", "norm/log_variance_ratio")
    max_gap: float = 1.0
    max_factor: float = 4.0
    high_momentum: float = 0.5
    empty_factor: float = 2.0
    min_steps: int = 50

    def __post_init__(self) -> None:
        check_range(self, "max_gap", 0.0, 1e6)
        check_range(self, "max_factor", 1.0, 1e6)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the BatchNorm whose statistics are worst."""
        seen, enough = steps_seen(history), self.min_steps * (2 if is_running(history) else 1)
        if seen < enough:
            raise Unmeasured(f"{seen} steps; {enough} are needed for statistics to settle")
        if empty := self._empty(history):
            yield empty
            return
        try:
            resting, _ = in_wrong_mode(history, "train")
        except Unmeasured:
            resting = {}
        sites = history.table("norm/mean_gap").sites
        shared = {s.split("#")[0] for s in sites if "#" in s}
        worse = deficit(history)
        judged = [s for s in sites if s.split("#")[0] not in resting and (worse or s.split("#")[0] not in shared)]
        found = [self._off(history, s, share=3.0 if worse else 1.0) for s in judged]
        known = [f for f in found if f is not None]
        if not known:
            raise Unmeasured("no BatchNorm was sampled often enough late in training; train for more steps")
        off = [f for f in known if f.size > 1]
        if off:
            yield self._finding(history, max(off, key=lambda f: f.size), len(off), len(known), worse)
            return
        yield from self._of_the_last_batch(history, known, worse)

    def _empty(self, history: History) -> Finding | None:
        """Return the finding of statistics that no batch ever fed, where validation is far worse than training."""
        names = list(history.run.get("unfed_norms") or ())
        worse = (deficit(history, factor=self.empty_factor) or loss_deficit(history)) if names else None
        if worse is None:
            return None
        message = (
            f"The running statistics of {names[0]} ({len(names)} such BatchNorm) are still 0 and 1 after "
            f"{steps_seen(history)} steps: it never ran in training mode{self._harm(worse)}. Evaluation normalizes "
            "with them, as if inputs had mean 0 and variance 1."
        )
        last = steps_seen(history) - 1
        advice = (_COPY, _RECOMPUTE)
        return Finding(self.code, self.name, Severity.ERROR, names[0], 0, 0.0, 1.0, message, last, "", advice)

    def _off(self, history: History, site: str, share: float) -> _Off | None:
        steps, gap, ratio = misfit(history, site)
        settled = steps >= self.min_steps
        steps, gap, ratio = steps[settled], gap[settled], ratio[settled]
        if len(gap) < 3:
            return None
        late = slice(-max(3, len(gap) // 3), None)
        noise = expected_gap(history, site)
        beyond = np.sqrt(np.maximum(gap[late] ** 2 - 1.5 * noise**2, 0.0))
        level, spread = float(np.median(beyond)), float(np.median(ratio[late]))
        tilt = max(0.0, abs(spread) - 1.5 * noise) if np.mean(np.sign(ratio[late]) == np.sign(spread)) > 0.7 else 0.0
        size = share * max(level / self.max_gap, tilt / float(np.log(self.max_factor)))
        return _Off(site, float(np.median(gap[late])), spread, int(steps[late][0]), int(steps[-1]), size)

    def _finding(self, history: History, off: _Off, number: int, of: int, worse: Deficit | None) -> Finding:
        momentum = wiring(history).get("norms", {}).get(off.site.split("#")[0], {}).get("momentum")
        evidence = self._harm(worse)
        message = (
            f"The running mean of {off.site} is {off.gap:.2g} standard deviations off the batches, its running "
            f"variance {np.exp(off.ratio):.2g} times theirs, in steps {off.first} to {off.last} (momentum {momentum}; "
            f"{number} of {of} BatchNorm layers){evidence}. Evaluation uses these statistics and "
            "gives the network inputs that it never saw in training."
        )
        severity = Severity.ERROR if worse else Severity.WARNING
        advice = (_MOMENTUM, _RECOMPUTE, _GROUP)
        value, limit = off.gap, self.max_gap
        return Finding(self.code, self.name, severity, off.site, off.first, value, limit, message, off.last, "", advice)

    @staticmethod
    def _harm(worse: Deficit | None) -> str:
        if worse is None:
            return ""
        return f"; {worse.name} is {worse.validate:.3g}, in training {worse.train:.3g}"

    def _of_the_last_batch(self, history: History, known: list[_Off], worse: Deficit | None) -> Iterator[Finding]:
        """Yield where the momentum is so high that evaluation uses little but the last, small, batch."""
        norms = wiring(history).get("norms", {})
        high = [f for f in known if (norms.get(f.site.split("#")[0], {}).get("momentum") or 0.0) >= self.high_momentum]
        worse = worse or (jumping(history) if high else None)
        if not high or worse is None:
            return
        site, momentum = high[0].site, float(norms[high[0].site.split("#")[0]]["momentum"])
        batch, size = history.run.get("batch_size") or 0, history.run.get("dataset_size") or 0
        last = size % batch if batch and size and not wiring(history).get("train_loader", {}).get("drop_last") else 0
        last = last or batch
        noise = float(np.sqrt(momentum / (2 - momentum) / last)) if last else expected_gap(history, site)
        if noise < 0.1:
            return
        message = (
            f"{site} has momentum {momentum:g} ({len(high)} of {len(known)} BatchNorm layers): its running statistics "
            f"are mostly those of the last batch ({last} samples, in steps {high[0].first} to {high[0].last})"
            f"{self._harm(worse)}. In torch the momentum is the weight of the new batch; what evaluation uses is as "
            "noisy as a single batch."
        )
        advice, limit = (_MOMENTUM, _RECOMPUTE, _GROUP), self.high_momentum
        first, end = high[0].first, high[0].last
        yield Finding(self.code, self.name, Severity.WARNING, site, first, momentum, limit, message, end, "", advice)
