"""Which loss a training step wrote out of tensor operations: told by its value.

A step that calls no loss function multiplies, subtracts or indexes its prediction by a target of the batch somewhere.
Each such pair is tried: if one of the usual losses of the two is the training loss, to the last digits, it is that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_diag.probes.lineage import made_by
from lightning_diag.statistics.views import plain, stands_whole

MOST_PAIRS: Final = 8  # of a step, the last ones
_MOST_ELEMENTS = 1 << 24  # of a prediction: copies of larger ones would crowd the memory
_MOST_TRIES = 3  # sampled steps in which a loss is looked for
_SAME = 2e-5  # relative: what sums in another order may differ by
_STILL = 1e-3  # likewise, once it is known
_TINY = 1e-6
_OVERLAP_NEAR, _OVERLAP_FAR = 0.02, 0.2  # of a loss to an overlap: smoothing constants move it a little
_HALF: Final = 0.5


@dataclass(frozen=True)
class Pair:
    """A prediction and a target that an operation put together; ``axis`` is that of classes which the target counts."""

    prediction: Tensor
    target: Tensor
    path: str
    axis: int | None = None


@dataclass(frozen=True)
class Form:
    """A loss: function, what is done first, axis of classes, reduction, sign.

    ``first`` is "log" or "exp" of the prediction, "exp target", or "".
    """

    loss: str
    first: str = ""
    axis: int | None = None
    reduction: str = "mean"
    negative: bool = False


@dataclass(frozen=True)
class Found:
    """A recognized loss of this step: how it is made, of what, and its value without a sign."""

    form: Form
    pair: Pair
    prediction: Tensor
    target: Tensor
    value: Tensor


class HandWritten:
    """Remembers from step to step which form a loss has, and of which of the step's pairs."""

    def __init__(self) -> None:
        self._form: Form | None = None
        self._at = 0
        self._tries = 0
        self.overlaps: list[str] = []  # of the first samples: what is made of an overlap, "less" or "more"

    def find(self, pairs: list[Pair], loss: Tensor) -> Found | None:
        """Return what the loss is made of; None where that is not known. Waits for the device in the first samples."""
        value = plain(loss)
        if self._form is not None:
            found = _made(self._form, pairs[self._at]) if self._at < len(pairs) else None
            if self._tries < _MOST_TRIES and value is not None and value.numel() == 1:
                self._tries += 1
                if found is None or not abs(abs(float(value)) - float(found.value)) <= _STILL * abs(float(value)):
                    self._form, self._tries, found = None, _MOST_TRIES, None  # it was chance
            return found
        if self._tries >= _MOST_TRIES or value is None or value.numel() != 1 or not pairs:
            return None
        self._tries += 1
        number = float(value)
        for i, pair in enumerate(pairs):
            for form in _forms(pair):
                found = _made(form, pair)
                if found is not None and (fitted := _fitted(found, number)) is not None:
                    self._form, self._at = fitted, i
                    return _made(fitted, pair)
        self._note_overlap(pairs, number)
        return None

    @property
    def overlap(self) -> str:
        """What the first samples agree that the loss makes of an overlap: "less" or "more"; "" if it is no such one."""
        kinds = set(self.overlaps)
        return kinds.pop() if len(self.overlaps) == _MOST_TRIES and len(kinds) == 1 else ""

    def _note_overlap(self, pairs: list[Pair], loss: float) -> None:
        for pair in pairs:
            scores = list(_overlaps(pair))
            if any(abs(loss - s) < _OVERLAP_NEAR and abs(loss - 1 + s) > _OVERLAP_FAR for s in scores):
                self.overlaps.append("less")
                return
            if any(abs(loss - 1 + s) < _OVERLAP_NEAR or abs(loss + s) < _OVERLAP_NEAR for s in scores):
                self.overlaps.append("more")
                return


def _forms(pair: Pair) -> Iterator[Form]:
    """Yield the losses that a pair may be of, those of log probabilities first."""
    if pair.axis is not None:
        for loss, first in (("nll_loss", ""), ("cross_entropy", ""), ("nll_loss", "log")):
            yield Form(loss, first, pair.axis)
        return
    for loss in ("mse_loss", "l1_loss", "smooth_l1_loss"):
        yield Form(loss)
    if pair.prediction.shape != pair.target.shape:
        return
    yield Form("binary_cross_entropy_with_logits")
    yield Form("binary_cross_entropy")
    yield Form("binary_cross_entropy", "exp")
    dims = pair.prediction.dim()
    for axis in dict.fromkeys((1, dims - 1)) if dims > 1 else ():
        for loss, first in (("nll_loss", ""), ("kl_div", ""), ("cross_entropy", ""), ("nll_loss", "log")):
            yield Form(loss, first, axis)
        if not pair.path:
            yield Form("kl_div", "exp target", axis)


def _made(form: Form, pair: Pair) -> Found | None:
    """Return the loss of a pair, mean or as its form says; None where it cannot be."""
    z, t = plain(pair.prediction), pair.target.detach()
    if z is None or not stands_whole(z, pair.prediction) or z.numel() > _MOST_ELEMENTS:
        return None
    z = z.float()
    try:
        if form.first:
            z = z.log() if form.first == "log" else z.exp() if form.first == "exp" else z
            t = t.float().exp() if form.first == "exp target" else t
        if form.axis is not None:
            z = z.movedim(form.axis, 1)
            if pair.axis is None:
                t = t.float().movedim(form.axis, 1)
            elif t.dim() == z.dim():
                t = t.movedim(form.axis, 1).squeeze(1)
        else:
            t = t.float()
        each = _elements(form.loss, z, t)
    except (RuntimeError, IndexError, ValueError):
        return None
    if each is None:
        return None
    total, n = each.sum(), each.numel()
    parts = {"mean": n, "sum": 1, "batchmean": each.shape[0] if each.dim() else 1}
    parts["elementwise"] = n * (z.shape[1] if form.axis is not None else 1)
    reduction = form.reduction.removeprefix("half ")
    value = total / parts[reduction] * (_HALF if form.reduction != reduction else 1.0)
    return Found(form, pair, z, t, value)


def _elements(loss: str, z: Tensor, t: Tensor) -> Tensor | None:
    """Return the loss of each element, of each place where there are classes (axis 1)."""
    counts = not t.is_floating_point()
    if loss == "mse_loss":
        return (z - t).square()
    if loss == "l1_loss":
        return (z - t).abs()
    if loss == "smooth_l1_loss":
        if z.shape != t.shape:
            return None
        huber: Tensor = F.smooth_l1_loss(z, t, reduction="none")
        return huber
    if loss == "binary_cross_entropy_with_logits":
        binary: Tensor = F.binary_cross_entropy_with_logits(z, t, reduction="none")
        return binary
    if loss == "binary_cross_entropy":
        return -(t * z.log().clamp(min=-100) + (1 - t) * (-z).log1p().clamp(min=-100))
    if z.shape[1] < 2:
        return None
    logs: Tensor
    if counts:  # places out of range, as those to be ignored are often marked, would end a program on a GPU
        logs = z.log_softmax(1) if loss == "cross_entropy" else z
        return logs.gather(1, t.long().clamp(0, z.shape[1] - 1).unsqueeze(1)).squeeze(1).neg()
    if loss == "kl_div":
        entropy: Tensor = torch.special.xlogy(t, t)
        return (entropy - t * z).sum(1)
    logs = z.log_softmax(1) if loss == "cross_entropy" else z
    return (t * logs).sum(1).neg()


def _fitted(found: Found, loss: float) -> Form | None:
    """Return the form with the reduction and sign by which its value is the loss; None if there is none."""
    form, mean = found.form, float(found.value)
    if not abs(loss) > _TINY or not abs(mean) < float("inf"):
        return None
    for reduction in ("mean", "batchmean", "sum", "elementwise"):
        for half in ("", "half ") if form.loss == "mse_loss" else ("",):
            trial = Form(form.loss, form.first, form.axis, half + reduction)
            made = _made(trial, found.pair)
            value = float("nan") if made is None else float(made.value)
            if abs(value - loss) <= _SAME * abs(loss):
                return trial if _is_plausible(found, negative=False) else None
            if abs(value + loss) <= _SAME * abs(loss):
                negative = Form(form.loss, form.first, form.axis, half + reduction, negative=True)
                return negative if _is_plausible(found, negative=True) else None
    return None


def _is_plausible(found: Found, *, negative: bool) -> bool:
    """Tell whether targets are classes or parts of a whole, and numbers likelihoods: a layer's output at the least."""
    t = found.target
    if found.form.axis is not None and t.is_floating_point():
        if float(t.min()) < 0 or float(t.max()) > 1 or float(t.sum(1).min()) <= 0:
            return False
    if found.form.loss != "nll_loss":
        return True
    normalized = float(found.prediction.logsumexp(1).abs().max()) < 1e-3
    return normalized or (not negative and (bool(found.form.first) or bool(made_by(found.pair.prediction))))


def _overlaps(pair: Pair) -> Iterator[float]:
    """Yield the usual overlaps (Dice) of two masks: of all at once, and the mean over samples."""
    z, t = plain(pair.prediction), pair.target.detach()
    if z is None or z.shape != t.shape or z.dim() < 2 or pair.axis is not None:
        return
    z, t = z.float().flatten(1), t.float().flatten(1)
    if float(z.min()) < 0 or float(z.max()) > 1 or not bool(((t == 0) | (t == 1)).all()):
        return
    both = 2 * (z * t).sum(1)
    for size in (z.sum(1) + t.sum(1), z.square().sum(1) + t.square().sum(1)):
        yield float(both.sum() / size.sum().clamp(min=1e-6))
        yield float((both / size.clamp(min=1e-6)).mean())
        yield float(((both + 1) / (size + 1)).mean())


def facts(found: Found) -> dict[str, Any]:
    """Return what is told of a loss by hand beside what is told of a call."""
    maker = "" if found.form.first in ("log", "exp") else made_by(found.pair.prediction)
    told = {"by_hand": True, "reduction": found.form.reduction, "learns": True, "made_by": maker}
    return told | {"target": found.pair.path}
