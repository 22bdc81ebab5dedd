"""W003 parameter-never-updated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.fitness import Held, column, execution_place, fitness, held, module_of, shapes
from lightning_diag.rules.phase import is_running, rates_rise, steps_seen
from lightning_diag.rules.rule import Unmeasured, between, percent
from lightning_diag.rules.seen import seen_steps

_RATE = Prescription(
    "Look at the learning rate of its parameter group: print([g['lr'] for g in optimizer.param_groups]).", {"lr": 1e-3}
)
_WRITES = Prescription(
    "Look for what writes the weights anew after the step: load_state_dict(), copy_() from an average or a backup, a "
    "callback at the end of a batch. An average copies from the model, never back while it trains."
)
_LONG = 50  # steps in which each of several optimizers is stepped
_STEP = Prescription(
    "Step it: optimizer.step() for each of self.optimizers(); or return it from configure_optimizers no more."
)
_PRECISION = Prescription("Keep the weights in float32: in half precision small steps are rounded away.")


@final
@dataclass(frozen=True, kw_only=True)
class ParameterNeverUpdated:
    """A parameter that gets gradients and that an optimizer holds, and yet stays what it was.

    What it finds:
        Weight matrices with a gradient at every sampled step whose change in those steps is exactly zero: their rate
        is zero, the step is rounded away, or something undoes it. And weights that a step changes, but that are back
        where they were when the next step begins: of two neighbouring sampled steps the mean of the weights must move
        by the mean of the change. And all that an optimizer holds which never stepped, while another one did.

    Why it matters:
        What does not move does not learn; the rest has to do with random features.

    When it is silent:
        A learning rate that is still warmed up; embeddings, biases and norms; parameters without a gradient
        (no-gradient) or not in an optimizer; a group with rate 0 in a run that fits well is an info.

    What to do:
        Check the rate of each parameter group, and what else writes the weights.

    Source:
        PyTorch documentation, torch.optim, Per-parameter options; DeepLocalize (2021): weights that do not change.
    """

    code: ClassVar[str] = "W003"
    name: ClassVar[str] = "parameter-never-updated"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("parameter/rms", "update/rms")
    min_samples: int = 5
    min_pairs: int = 6
    min_undone: float = 0.9
    min_error_share: float = 0.5

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding, at the first such matrix."""
        idle = self._never_steps(history)
        if idle is not None:
            yield idle
            return
        if rates_rise(history):
            raise Unmeasured("the learning rate is still being warmed up")
        embeddings = {p for x in history.layers if "embedding" in x.type.lower() for p in x.parameters}
        needed = self.min_samples * (4 if is_running(history) else 1)
        matrices = [p for p in held(history) if len(p.shape) > 1 and len(p.steps) >= needed]
        known = [p for p in matrices if p.name not in embeddings]  # of which few rows may be asked for
        if not matrices:
            raise Unmeasured(f"no trained weight matrix was seen at {needed} optimizer steps")
        still = [p for p in known if self._rests(history, p)]
        total = sum(p.elements for p in matrices)
        if still:
            yield self._rest(history, still, sum(p.elements for p in still) / total)
            return
        back = [p for p in matrices if self._stays(history, p, 3e-3 if p.name in embeddings else 1e-4)]
        if back:
            yield self._back(history, back, 1.0, len(back[0].steps), (int(back[0].steps[0]), int(back[0].steps[-1])))
            return
        share, pairs, steps = self._undone(history, known)
        if pairs >= self.min_pairs and share >= self.min_undone:
            yield self._back(history, known, share, pairs, steps)

    def _never_steps(self, history: History) -> Finding | None:
        """Return the finding of an optimizer that is not stepped in a whole run, while another one is."""
        stepped = {
            n.partition("/")[2].partition(".")[0] for n in history.series_names("train") if n.startswith("learn")
        }
        known = shapes(history)
        owned = {o for _, trainable, o in known.values() if trainable and o >= 0}
        idle = {o for o in owned if str(o) not in stepped}
        if len(owned) < 2 or not idle or idle == owned or steps_seen(history) < _LONG or is_running(history):
            return None
        names = [n for n, (_, trainable, o) in known.items() if trainable and o in idle]
        size = {n: int(np.prod(s)) if s else 1 for n, (s, trainable, o) in known.items() if trainable and o >= 0}
        share = sum(size[n] for n in names) / sum(size.values())
        first, last = seen_steps(history)
        text = (
            f"Optimizer {min(idle)} never stepped in {steps_seen(history)} steps: its {len(names)} parameters "
            f"({module_of(names[0]) or names[0]} first, {percent(share)} of the elements that optimizers hold) stay as "
            "they were initialized."
        )
        severity = Severity.ERROR if fitness(history) == "poor" else Severity.WARNING
        site = module_of(names[0]) or names[0]
        return Finding(self.code, self.name, severity, site, first, share, 0.0, text, last, "", (_STEP,))

    @staticmethod
    def _rests(history: History, p: Held) -> bool:
        """Tell whether a finite gradient came at every sample and no update ever."""
        if p.absent.any() or p.zero.mean() > 0.5:
            return False
        _, bad = column(history, "gradient/nonfinite", p.name)
        _, update = column(history, "update/rms", p.name)
        return bool(not bad.any() and len(update) and not update.any())

    @staticmethod
    def _stays(history: History, p: Held, least: float) -> bool:
        """Tell whether steps change a weight by a share, and yet it is the same, to six digits, whenever one starts."""
        _, update = column(history, "update/rms", p.name)
        values = [column(history, f"parameter/{s}", p.name)[1] for s in ("mean", "std", "rms")]
        if not all(len(v) and v[-1] for v in values) or not len(update):
            return False
        same = all(float(np.ptp(v)) == 0.0 for v in values)
        return same and float(np.median(update)) > least * float(values[-1][-1])

    def _undone(self, history: History, known: list[Held]) -> tuple[float, int, tuple[int, int]]:
        """Return the share of steps whose change was gone when the next began, of how many, and the first and last."""
        undone: list[bool] = []
        seen: list[int] = []
        for p in known:
            at, mean = column(history, "parameter/mean", p.name)
            value = dict(zip(at.tolist(), mean.tolist(), strict=True))
            for step, change in zip(*column(history, "update/mean", p.name), strict=True):
                s = int(step)
                if s not in value or s + 1 not in value or abs(change) < 1e-4 * abs(value[s]) or not change:
                    continue  # below what six digits can tell
                undone.append(abs(value[s + 1] - value[s]) < 0.1 * abs(float(change)))
                seen.append(s)
        span = (min(seen), max(seen)) if seen else (0, 0)
        return (float(np.mean(undone)) if undone else 0.0), len(undone), span

    def _rest(self, history: History, still: list[Held], share: float) -> Finding:
        place = execution_place(history)
        first = min(still, key=lambda p: place.get(p.name, len(history.layers)))
        start, end = int(first.steps[0]), int(first.steps[-1])
        rate = _rate(history, first.name)
        fit = fitness(history)
        severity = Severity.ERROR if share >= self.min_error_share and fit == "poor" else Severity.WARNING
        severity = Severity.INFO if fit == "good" and share < 1 else severity
        text = (
            f"{first.name} got a gradient at {len(first.steps)} sampled steps and did not change at all "
            f"{between(start, end)}, as {len(still) - 1} other weight matrices ({percent(share)} of the elements)"
        )
        text += f"; the learning rate of its group is {rate:g}. " if np.isfinite(rate) else ". "
        text += "The optimizer holds it, but its steps come to nothing, so it stays as it was initialized."
        advice = (_RATE, _WRITES) if rate == 0 else (_WRITES, _PRECISION, _RATE)
        site = first.module or first.name
        return Finding(self.code, self.name, severity, site, start, 0.0, 0.0, text, end, "", advice)

    def _back(self, history: History, known: list[Held], share: float, pairs: int, steps: tuple[int, int]) -> Finding:
        place = execution_place(history)
        first = min(known, key=lambda p: place.get(p.name, len(history.layers)))
        text = (
            f"After {percent(share)} of {pairs} steps that could be compared {between(*steps)} the weights were back "
            "where they had been before when the next step began. Something other than the optimizer writes them, "
            "and takes back what was learned."
        )
        severity = Severity.WARNING if fitness(history) == "good" else Severity.ERROR
        start, end = steps
        return Finding(
            self.code,
            self.name,
            severity,
            first.module or first.name,
            start,
            share,
            self.min_undone,
            text,
            end,
            "",
            (_WRITES,),
        )


def _rate(history: History, name: str) -> float:
    """Return the learning rate that a parameter's group began with, NaN if it is not known."""
    for optimizer in history.run.get("optimizers") or ():
        for group in optimizer.get("groups") or ():
            if name in (group.get("parameters") or ()):
                return float(group.get("lr", np.nan))
    return float("nan")
