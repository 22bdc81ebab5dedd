"""Which loss a training step wrote out of tensor operations: told by its value.

A step that calls no loss function multiplies, subtracts or indexes its prediction by a target of the batch somewhere.
Each such pair is tried: if one of the usual losses of the two is the training loss, to the last digits, it is that one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_diag.probes.lineage import made_by
from lightning_diag.statistics.views import plain, stands_whole

MOST_PAIRS: Final = 8  # of a step, the last ones
_MOST_ELEMENTS = 1 << 22  # of a prediction: to try all forms on larger ones would take too long
_MOST_TRIES = 3  # sampled steps in which a loss is looked for
_MOST_SECONDS = 0.25  # of one such step
_SAME = 2e-5  # relative: what sums in another order may differ by
_STILL = 1e-3  # likewise, once it is known
_TINY = 1e-6
_OVERLAP = 1e-4  # of an overlap: what it may differ by for the constants that keep it from dividing by zero
_REDUCTIONS: Final = ("mean", "batchmean", "sum", "elementwise")


@dataclass(frozen=True)
class Pair:
    """A prediction and a target that an operation put together; ``axis`` is that of classes which the target counts."""

    prediction: Tensor
    target: Tensor
    path: str
    axis: int | None = None

    @property
    def kind(self) -> tuple[Any, ...]:
        """What is the same in every step: shapes but for the number of samples, path and axis."""
        return self.prediction.shape[1:], self.target.shape[1:], self.path, self.axis


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
        self._kind: tuple[Any, ...] = ()
        self._at = 0  # from the last pair on
        self._tries = 0
        self.refuted = False  # whether what was found first turned out to be chance
        self.overlaps: list[str] = []  # of the first samples: what is made of an overlap, "less" or "more"

    def find(self, pairs: list[Pair], loss: Tensor) -> Found | None:
        """Return what the loss is made of; None where that is not known. Waits for the device in the first samples."""
        try:
            return self._find(pairs, loss)
        except (RuntimeError, TypeError, ValueError, IndexError):  # tensors of an unusual kind: not one of these losses
            self._tries = _MOST_TRIES
            return None

    def _find(self, pairs: list[Pair], loss: Tensor) -> Found | None:
        value = plain(loss)
        if value is None or value.numel() != 1:
            return None
        pairs = [p for p in pairs if _is_usual(p)]
        if self._form is not None:
            return self._again(self._form, pairs, value)
        if self._tries >= _MOST_TRIES or not pairs:
            return None
        self._tries += 1
        number, until = float(value), time.perf_counter() + _MOST_SECONDS
        for i, pair in enumerate(pairs):
            z = pair.prediction.detach()
            if float(z.min()) == float(z.max()):
                continue  # of a constant prediction several losses may be equal
            for form in _forms(pair):
                if time.perf_counter() < until and (found := _fitted(form, pair, number)) is not None:
                    self._form, self._kind, self._at = found.form, pair.kind, len(pairs) - i
                    return found
        self._note_overlap(pairs, number)
        return None

    def _again(self, form: Form, pairs: list[Pair], value: Tensor) -> Found | None:
        """Return the loss of the pair of the same kind; in the first steps see whether it still is the training's."""
        same = [p for p in pairs[-self._at :][:1] if p.kind == self._kind] or [p for p in pairs if p.kind == self._kind]
        found = _made(form, same[0]) if same else None
        if self._tries < _MOST_TRIES:
            self._tries += 1
            should = float("nan") if found is None else float(found.value) * (-1 if form.negative else 1)
            if not abs(float(value) - should) <= _STILL * abs(float(value)):
                self._form, self._tries, self.refuted = None, _MOST_TRIES, True
                return None
        return found

    @property
    def overlap(self) -> str:
        """What the first samples agree that the loss makes of an overlap: "less" or "more"; "" if it is no such one."""
        kinds = set(self.overlaps)
        return kinds.pop() if len(self.overlaps) == _MOST_TRIES and len(kinds) == 1 else ""

    def _note_overlap(self, pairs: list[Pair], loss: float) -> None:
        for pair in pairs:
            for score in _overlaps(pair):
                if min(abs(loss - score), abs(loss - 1 + score), abs(loss + score)) < _OVERLAP:
                    self.overlaps.append("less" if abs(loss - score) < _OVERLAP else "more")
                    return


def _is_usual(pair: Pair) -> bool:
    """Tell whether both tensors are dense and real."""
    return all(x.numel() and not x.is_complex() and stands_whole(plain(x), x) for x in (pair.prediction, pair.target))


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
    dims = pair.prediction.dim()
    for axis in dict.fromkeys((1, dims - 1)) if dims > 1 else ():
        for loss, first in (("nll_loss", ""), ("kl_div", ""), ("cross_entropy", ""), ("nll_loss", "log")):
            yield Form(loss, first, axis)
        if not pair.path:
            yield Form("kl_div", "exp target", axis)
    yield Form("binary_cross_entropy_with_logits")
    yield Form("binary_cross_entropy")
    yield Form("binary_cross_entropy", "exp")


def _each(form: Form, pair: Pair) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return (prediction, target, loss of each element) as the function has them; None where they cannot be had."""
    z, t = plain(pair.prediction), pair.target.detach()
    if z is None or z.numel() > _MOST_ELEMENTS:
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
    return None if each is None else (z, t, each)


def _parts(form: Form, each: Tensor, z: Tensor) -> dict[str, int]:
    """Return by how much each reduction divides the sum of all elements."""
    n = each.numel()
    parts = {"mean": n, "sum": 1, "batchmean": each.shape[0] if each.dim() else 1}
    return parts | {"elementwise": n * (z.shape[1] if form.axis is not None else 1)}


def _made(form: Form, pair: Pair) -> Found | None:
    """Return the loss of a pair as its form says; None where it cannot be."""
    made = _each(form, pair)
    if made is None:
        return None
    z, t, each = made
    reduction = form.reduction.removeprefix("half ")
    value = each.sum() / _parts(form, each, z)[reduction]
    return Found(form, pair, z, t, value / 2 if reduction != form.reduction else value)


def _fitted(form: Form, pair: Pair, loss: float) -> Found | None:
    """Return the loss of a pair, with the reduction and sign by which its value is the loss; None if there is none."""
    made = _each(form, pair) if abs(loss) > _TINY else None
    if made is None:
        return None
    z, t, each = made
    total, parts = float(each.sum()), _parts(form, each, z)
    for reduction in _REDUCTIONS:
        for half in ("", "half ") if form.loss == "mse_loss" else ("",):
            value = total / parts[reduction] / (2 if half else 1)
            for negative in (False, True):
                if abs((-value if negative else value) - loss) <= _SAME * abs(loss):
                    trial = Form(form.loss, form.first, form.axis, half + reduction, negative)
                    found = Found(trial, pair, z, t, each.sum() / parts[reduction] / (2 if half else 1))
                    return found if _is_plausible(found) else None
    return None


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


def _is_plausible(found: Found) -> bool:
    """Tell whether targets are classes or parts of a whole, and numbers likelihoods: a layer's output at the least.

    Of probabilities or raw outputs the targets are to be distributions: other numbers may be rewards.
    """
    z, t, form = found.prediction, found.target, found.form
    if form.axis is None:
        return True
    whole = True
    if t.is_floating_point():
        sums = t.sum(1)
        if float(t.min()) < 0 or float(t.max()) > 1 or float(sums.max()) <= 0:
            return False
        whole = float((sums - 1).abs().max()) < _STILL
    if form.loss != "nll_loss":
        return True
    normalized = float(z.logsumexp(1).abs().max()) < _STILL
    return normalized or (whole and not form.negative and bool(form.first or made_by(found.pair.prediction)))


def _overlaps(pair: Pair) -> Iterator[float]:
    """Yield the usual overlaps of two masks: of all at once, and the mean over samples."""
    z, t = plain(pair.prediction), pair.target.detach()
    if z is None or z.shape != t.shape or z.dim() < 2 or pair.axis is not None:
        return
    z, t = z.float().flatten(1), t.float().flatten(1)
    if float(z.min()) < 0 or float(z.max()) > 1 or not bool(((t == 0) | (t == 1)).all()):
        return
    both = (z * t).sum(1)
    sizes = z.sum(1) + t.sum(1), z.square().sum(1) + t.square().sum(1)
    shares = [(2 * both, size) for size in sizes] + [(both, sizes[0] - both)]  # Dice, and intersection over union
    for part, size in shares:
        for constant in (0.0, 1.0):
            yield float((part.sum() + constant) / (size.sum() + constant).clamp(min=_TINY))
            yield float(((part + constant) / (size + constant).clamp(min=_TINY)).mean())


def facts(found: Found) -> dict[str, Any]:
    """Return what is told of a loss by hand beside what is told of a call."""
    maker = "" if found.form.first in ("log", "exp") else made_by(found.pair.prediction)
    told = {"by_hand": True, "reduction": found.form.reduction, "learns": True, "made_by": maker}
    return told | {"target": found.pair.path}
