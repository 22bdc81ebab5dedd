"""O006 module-in-eval-mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.mode import at_rest, fits, in_wrong_mode, is_norm
from lightning_diag.rules.rule import Unmeasured, check_range

_TRAIN = Prescription(
    "Call self.train() in on_train_epoch_start (or once before trainer.fit), and remove the stray .eval(); since "
    "Lightning 2.2 fit keeps the mode in which it finds the modules."
)
_PURPOSE = Prescription("If it rests on purpose, freeze its parameters too: requires_grad_(False).")


@final
@dataclass(frozen=True, kw_only=True)
class ModuleInEvalMode:
    """Dropout or normalization by batch is in eval mode while the network is trained.

    What it finds:
        Modules with dropout above 0, or with running statistics and something trainable, that are in eval mode in
        more than ``max_share`` of the sampled training steps. A warning; an info where only BatchNorm layers rest and
        their running statistics are those of the data, as people do on purpose when they fine-tune.

    Why it matters:
        In eval mode dropout does nothing, and BatchNorm normalizes with running statistics that are no longer
        updated: those of another data set or of none (mean 0, variance 1), so that it does not normalize at all.

    When it is silent:
        A frozen part, a teacher or a target network rests on purpose, with all that is in it; several optimizers,
        where one network may rest while the other learns.

    What to do:
        Put the module back into training mode; Lightning does so around validation only with what was so before.

    Source:
        Ioffe and Szegedy, Batch Normalization (2015), 3.1; PyTorch documentation, Module.eval; Lightning 2.2 release
        notes on the mode of modules in fit.
    """

    code: ClassVar[str] = "O006"
    name: ClassVar[str] = "module-in-eval-mode"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    max_share: float = 0.2
    min_samples: int = 2

    def __post_init__(self) -> None:
        check_range(self, "max_share", 0.0, 1.0)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the first such module."""
        wrong, samples = in_wrong_mode(history, "train")
        if samples < self.min_samples:
            raise Unmeasured(f"{samples} training step(s) sampled; {self.min_samples} are needed")
        often = [n for n, c in wrong.items() if c > self.max_share * samples and c >= self.min_samples]
        names = [n for n in often if not at_rest(history, n)]
        whole = self._whole(history)
        if not names or (len(history.run.get("optimizers") or ()) > 1 and not whole):
            return
        norms = [n for n in names if is_norm(history, n)]
        misfits = [n for n in norms if not fits(history, n)]
        harmless = len(norms) == len(names) and not misfits
        yield self._finding(history, names, misfits, wrong, samples, whole=whole, harmless=harmless)

    @staticmethod
    def _eval_modules(history: History) -> tuple[list[int], list[float]]:
        table = history.table("total/eval_modules")
        values = table.matrix[:, 0] if table.matrix.size else np.zeros(0)
        return [int(s) for s in table.steps], [float(v) for v in values]

    def _whole(self, history: History) -> bool:
        """Tell whether at least as many modules rest as layers were seen: then it is the network as a whole."""
        _, counts = self._eval_modules(history)
        layers = {x.site.split("#")[0] for x in history.layers if ":" not in x.site}
        return bool(counts) and bool(layers) and float(np.median(counts)) >= len(layers)

    def _finding(
        self,
        history: History,
        names: list[str],
        misfits: list[str],
        wrong: dict[str, int],
        samples: int,
        *,
        whole: bool,
        harmless: bool,
    ) -> Finding:
        steps, counts = self._eval_modules(history)
        resting = [s for s, c in zip(steps, counts, strict=True) if c > 0] or steps or [0]
        site = names[0]
        what = "The whole network" if whole else site if len(names) == 1 else f"{site} and {len(names) - 1} more"
        kinds = {"normalization by batch" if is_norm(history, n) else "dropout" for n in names}
        effect = {
            (True, False): "Dropout, which was asked for, does nothing.",
            (False, True): "BatchNorm uses running statistics that training no longer updates.",
            (True, True): "Dropout does nothing, and BatchNorm uses statistics that training no longer updates.",
        }["dropout" in kinds, len(kinds - {"dropout"}) > 0]
        if misfits:
            effect += f" Those of {misfits[0]} are not those of its batches: what it puts out is not normalized."
        elif harmless:
            effect += " They are those of the data, so this does little harm."
        message = (
            f"{what} was in eval mode in {wrong[names[0]]} of {samples} sampled training steps (from step "
            f"{resting[0]} to {resting[-1]}): {' and '.join(sorted(kinds))}, {len(names)} module(s). {effect}"
        )
        severity = Severity.INFO if harmless else Severity.WARNING
        share, limit = wrong[names[0]] / samples, self.max_share
        advice = (_TRAIN, _PURPOSE)
        last = resting[-1]
        return Finding(self.code, self.name, severity, site, resting[0], share, limit, message, last, "", advice)
