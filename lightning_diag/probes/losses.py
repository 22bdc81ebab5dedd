"""What a loss was called with and what it gave; differences of prediction and batch, where it is written by hand."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_diag.probes.handwritten import MOST_PAIRS, HandWritten, Pair, facts
from lightning_diag.probes.lineage import made_by
from lightning_diag.probes.readings import Readings
from lightning_diag.statistics.rows import rows_of
from lightning_diag.statistics.views import plain, stands_whole, storage

_MOST_CLASSES = 64
_MOST_KEPT = 32
_MOST_DIFFERENCES = 8
_MOST_COPIES, _MOST_COPIED = 8, 1 << 16  # copies of the batch's tensors that are followed; elements of one


class LossCalls:
    """Collects the loss calls of one step; statistics of predictions and targets go to ``readings``."""

    def __init__(self, readings: Readings) -> None:
        self.readings = readings
        self.calls: list[dict[str, Any]] = []
        self.differences: list[dict[str, Any]] = []
        self.products: list[dict[str, Any]] = []
        self.batch: dict[int, str] = {}  # storage of the batch's tensors -> path
        self.written: HandWritten | None = None  # what is known of a loss by hand
        self._pairs: deque[Pair] = deque(maxlen=MOST_PAIRS)
        self._derived: set[int] = set()  # storage of what was computed of the batch's tensors, and does not learn
        self._kept: list[Tensor] = []  # likewise
        self._copies: list[Tensor] = []  # kept for the step, so that nothing else takes their memory

    def copy(self, args: tuple[Any, ...], out: Any) -> None:
        """Note that a tensor of the batch was cast or copied; large ones are no targets, and not kept."""
        path = self.batch.get(storage(args[0]), "") if args and isinstance(args[0], Tensor) else ""
        if path and isinstance(out, Tensor) and out.numel() <= _MOST_COPIED and len(self._copies) < _MOST_COPIES:
            self._copies.append(out)
            self.batch.setdefault(storage(out), path)
        elif not path:
            self.derive(args[:1], out)

    def derive(self, args: tuple[Any, ...], out: Any) -> None:
        """Note what is computed of a tensor of the batch alone: a one-hot code, a scaled target."""
        if not isinstance(out, Tensor) or out.requires_grad or out.numel() > _MOST_COPIED:
            return
        known = any(isinstance(a, Tensor) and self._of_batch(a) for a in _flat(args))
        if known and len(self._kept) < _MOST_KEPT and storage(out) and storage(out) not in self.batch:
            self._kept.append(out)
            self._derived.add(storage(out))

    def _of_batch(self, x: Tensor) -> bool:
        return storage(x) in self.batch or storage(x) in self._derived

    def pair(self, a: Any, b: Any) -> None:
        """Note a prediction and a target that are multiplied or subtracted."""
        for z, t in ((a, b), (b, a)):
            if isinstance(z, Tensor) and isinstance(t, Tensor) and z.requires_grad and not t.requires_grad:
                if z.is_floating_point() and z.numel() > 1 and self._of_batch(t):
                    self._pairs.append(Pair(z, t, self.batch.get(storage(t), "")))

    def pick(self, z: Any, axis: Any, index: Any) -> None:
        """Note where classes that the batch has are picked of a prediction."""
        if not isinstance(z, Tensor) or not isinstance(index, Tensor) or not z.requires_grad or not z.dim() > 1:
            return
        if index.dtype in (torch.int64, torch.int32) and isinstance(axis, int) and self._of_batch(index):
            self._pairs.append(Pair(z, index, self.batch.get(storage(index), ""), axis % z.dim()))

    def settle(self, loss: Any) -> Tensor | None:
        """The loss is there: see whether a step that called none wrote a known one out; return its prediction."""
        pairs, self._pairs = list(self._pairs), deque(maxlen=MOST_PAIRS)
        written, self.written = self.written, None  # of several backward passes in a step the first one counts
        if written is None or any(c["learns"] for c in self.calls) or not isinstance(loss, Tensor):
            return None
        found = written.find(pairs, loss)
        if found is None:
            return None
        name = found.form.loss
        self.call(f"{name} by hand", name, "", (found.prediction, found.target), {}, found.value)
        self.calls[-1] |= facts(found)
        return found.pair.prediction

    def product(self, args: tuple[Any, ...]) -> None:
        """Note where a prediction times a tensor of the batch has more numbers than either."""
        if len(args) < 2 or not all(isinstance(a, Tensor) for a in args[:2]) or len(self.products) == _MOST_DIFFERENCES:
            return
        if args[0].dim() == args[1].dim():
            return
        for fact in self._against_batch(args):
            made = math.prod(torch.broadcast_shapes(args[0].shape, args[1].shape))  # type: ignore[no-untyped-call]
            if made > max(args[0].numel(), args[1].numel()):
                self.products.append(fact)

    def difference(self, args: tuple[Any, ...]) -> None:
        """Note where a prediction and a tensor of the batch are subtracted: the heart of a squared error."""
        if (
            len(args) < 2
            or not all(isinstance(a, Tensor) for a in args[:2])
            or len(self.differences) == _MOST_DIFFERENCES
        ):
            return
        self.differences += self._against_batch(args)

    def _against_batch(self, args: tuple[Any, ...]) -> list[dict[str, Any]]:
        """Return what two tensors are, if one is of the batch and the other one learns; else nothing."""
        for prediction, target in (args[:2], args[1::-1]):
            path = self.batch.get(storage(target), "")
            if path and prediction.requires_grad and not target.requires_grad:
                fact = {"target": path, "prediction_shape": list(prediction.shape), "target_shape": list(target.shape)}
                return [fact | {"made_by": made_by(prediction)}]
        return []

    def call(
        self, site: str, name: str, scope: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any
    ) -> bool:
        """Take a loss call; False where there is no prediction to look at."""
        given = dict(zip(("input", "target"), args, strict=False)) | dict(kwargs)
        prediction, target = given.get("input"), given.get("target")
        if not isinstance(prediction, Tensor):
            return False
        fact: dict[str, Any] = {"site": site, "loss": name, "scope": scope}
        fact["reduction"] = str(kwargs.get("reduction", "mean"))
        fact["weighted"] = any(isinstance(kwargs.get(k), Tensor) for k in ("weight", "pos_weight"))
        fact["label_smoothing"] = float(kwargs.get("label_smoothing", 0.0))
        fact["made_by"] = made_by(prediction)
        fact["learns"] = prediction.requires_grad
        fact["log_target"] = bool(kwargs.get("log_target", False))
        fact["target"] = self.batch.get(storage(target), "") if isinstance(target, Tensor) else ""
        for family, tensor in (("prediction", prediction), ("target", target)):
            if isinstance(tensor, Tensor):
                fact[f"{family}_shape"], fact[f"{family}_dtype"] = list(tensor.shape), str(tensor.dtype)
                self.readings.tensor(family, site, tensor)
        self._row_sums(site, prediction)
        self._spread(site, prediction)
        self._value(site, out)
        if not self.calls and isinstance(target, Tensor):
            self._rows(prediction, target)
        self.calls.append(fact)
        return True

    def _value(self, site: str, out: Any) -> None:
        """What the loss call gave, before anything was added to it or multiplied."""
        x = plain(out) if isinstance(out, Tensor) else None
        if x is not None:
            self.readings.site("loss_call", site)
            self.readings.scalar("loss_call/value", site, x.float().mean())

    def _spread(self, site: str, prediction: Tensor) -> None:
        """How much the predictions of different samples differ."""
        x = plain(prediction)
        if x is not None and stands_whole(x, prediction) and x.dim() and x.shape[0] > 1:
            centred = rows_of(x).float()
            self.readings.scalar("prediction/sample_std", site, (centred - centred.mean(0)).square().mean().sqrt())

    def _rows(self, prediction: Tensor, target: Tensor) -> None:
        """Some predictions and targets as they are, of classes and of single numbers."""
        x, y = plain(prediction), plain(target)
        few = x is not None and y is not None and 1 <= x.dim() <= 2 and x[:1].numel() <= _MOST_CLASSES
        if few and x is not None and y is not None and 1 <= y.dim() <= 2 and x.shape[0] == y.shape[0]:
            self.readings.rows("(prediction)", rows_of(x))
            self.readings.rows("(target)", rows_of(y))

    def _row_sums(self, site: str, prediction: Tensor) -> None:
        """Smallest and largest sum over the class axis: both 1 for probabilities."""
        x = plain(prediction)
        if x is None or x.dim() < 2 or x.is_complex():
            return
        sums = x.float().sum(1)
        self.readings.scalar("prediction/row_sum_min", site, sums.amin())
        self.readings.scalar("prediction/row_sum_max", site, sums.amax())


def _flat(args: Any) -> Iterator[Any]:
    """Yield arguments, and what is in those that are tuples (of an index)."""
    for a in args:
        if isinstance(a, (tuple, list)):
            yield from a
        else:
            yield a
