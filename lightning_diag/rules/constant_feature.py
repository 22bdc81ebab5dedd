"""D003 constant-feature."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import Floats, History, Layer
from lightning_diag.rules.fitness import fitness, shapes
from lightning_diag.rules.metrics import already_good
from lightning_diag.rules.phase import is_running, loss_descent
from lightning_diag.rules.rule import Unmeasured
from lightning_diag.rules.seen import floats, inputs, seen_steps

_LOOK = Prescription(
    "Look at a batch before and after each transform: x.std(0), x.min(), x.max(); mend what wipes it out."
)
_DROP = Prescription("Drop features that are constant in the training set.")


@final
@dataclass(frozen=True, kw_only=True)
class ConstantFeature:
    """Input features that never change.

    What it finds:
        Features of the real-valued inputs with one and the same value in all rows seen. All of them: an error,
        nothing can be learned. Half of them or more in a table (not in an image or sequence), where the run does not
        do well, or a tenth of at most ``max_few``, where it fits poorly: a warning. Some: info. Of images and
        sequences: a channel of several that is one number everywhere, but for a one (a mask), in a run that fits
        poorly, or keeps more than half of its loss.

    Why it matters:
        A feature that never changes tells nothing. Where most do not, the data is probably not what was meant: a wrong
        column, a transform that wipes it out, a failed read that left zeros.

    When it is silent:
        Fewer than ``min_rows`` rows were seen (unmeasured). Border pixels of images, padding of sequences.

    What to do:
        Look at a batch: ``x, y = next(iter(trainer.train_dataloader)); print(x.std(0))``. Mend the loading, or drop
        the features.

    Source:
        TheDeepChecker (Ben Braiek, Khomh, TOSEM 2022), zero-variance features; scikit-learn, VarianceThreshold.
    """

    code: ClassVar[str] = "D003"
    name: ClassVar[str] = "constant-feature"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ()
    max_share: float = 0.5
    min_poor: float = 0.1
    max_few: int = 32
    min_rows: int = 64
    min_samples: int = 8

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for each input of the batch."""
        seen = inputs(history)
        if not seen:
            raise Unmeasured("no real-valued input was found in the batches")
        if max(facts["rows"] for facts in seen.values()) < self.min_rows:
            raise Unmeasured(f"fewer than {self.min_rows} rows were seen; train for more steps")
        if 0 < int(history.run.get("dataset_size") or 0) < self.min_samples:
            raise Unmeasured(f"the data set has {history.run['dataset_size']} sample(s), which repeat by nature")
        for path, facts in seen.items():
            low, high = floats(facts, "min"), floats(facts, "max")
            constant = np.flatnonzero(low == high)
            if not len(constant) or facts["rows"] < self.min_rows:
                continue
            share = len(constant) / len(low)
            table = len((history.run.get("batch") or {}).get(path, {}).get("shape") or ()) == 2
            whole = share == 1.0 and (len(low) > 1 or len(seen) == 1)
            if not whole and not table:
                yield from self._channel(history, path, low, high)
                continue
            bad = share >= self.max_share and not already_good(history)
            few = share >= self.min_poor and len(low) <= self.max_few
            bad |= few and fitness(history) == "poor" and not is_running(history)
            severity = Severity.ERROR if whole else Severity.WARNING if bad else Severity.INFO
            names = ", ".join(map(str, constant[:8])) + (", ..." if len(constant) > 8 else "")
            message = (
                f"{len(constant)} of {len(low)} features of the input {path!r} have the same value in all "
                f"{facts['rows']} rows seen"
                + (
                    f" ({low[0]:.4g} and the like). Samples cannot be told apart, so nothing can be learned."
                    if whole
                    else f" (numbers {names}). They tell nothing; the data may not be what was meant."
                )
            )
            step, last = seen_steps(history)
            advice = (_LOOK, _DROP)
            yield Finding(self.code, self.name, severity, path, step, share, self.max_share, message, last, "", advice)

    def _channel(self, history: History, path: str, low: Floats, high: Floats) -> Iterator[Finding]:
        """Yield a finding where one channel of several is the same number everywhere."""
        shape = history.run["batch"][path]["shape"][1:]
        first = next((x for x in history.layers if x.parameters), None)
        axis = _channels(history, first, shape)
        if axis is None:
            return
        seen = np.linspace(0, math.prod(shape) - 1, len(low)).round().astype(int)  # as rows_of picks them
        channel = np.unravel_index(seen, shape)[axis]
        levels = {c: (low[channel == c].min(), high[channel == c].max()) for c in np.unique(channel).tolist()}
        flat = [c for c, (a, b) in levels.items() if a == b and a != 1]  # ones are a mask, or a bias
        if not flat or shape[axis] < 2:
            return
        others = np.isin(np.array([b for c, (_, b) in levels.items() if c not in flat]), (0.0, 1.0))
        bad = not already_good(history) and not others.all() and _stays_high(history)  # ones and zeros: symbols
        severity = Severity.WARNING if bad else Severity.INFO
        names, level = ", ".join(map(str, flat[:8])), levels[flat[0]][0]
        message = (
            f"Channel {names} of the {shape[axis]} of the input {path!r} is {level:.4g} everywhere, in all "
            "rows seen. It tells nothing: a wrong name, a failed read or a transform that wipes it out."
        )
        step, last = seen_steps(history)
        value, advice = len(flat) / shape[axis], (_LOOK, _DROP)
        yield Finding(self.code, self.name, severity, path, step, value, 0.0, message, last, "", advice)


def _channels(history: History, first: Layer | None, shape: Sequence[int]) -> int | None:
    """Return which axis of a sample the first layer takes for its channels, None where nobody knows."""
    if first is None or len(shape) < 2:
        return None
    if first.type.startswith("Conv"):
        return 0
    known = shapes(history).get(f"{first.site}.weight_ih_l0")
    wide = known is not None and len(shape) == 2 and tuple(known[0][1:]) == (shape[1],) and shape[1] < shape[0]
    return 1 if wide else None  # rows of an image are no channels


def _stays_high(history: History) -> bool:
    """Tell whether a run fits poorly, or, where nobody knows, kept more than half of its loss."""
    fit, loss = fitness(history), loss_descent(history)
    return not is_running(history) and (fit == "poor" or (fit == "unknown" and loss.end > 0.5 * loss.begin))
