"""What was seen of the data: features, targets, repetitions, and whether validation looks like training.

Rows come over with the numbers of a sampled step; what is kept of them is sums and hashes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from lightning_diag.probes.batch import TARGETS
from lightning_diag.probes.readings import Row
from lightning_diag.records import Ints

_MOST_HASHES = 1 << 15
_MOST_CLASSES: Final = 64
_RECENT = 12  # sampled steps whose predictions are counted
_DIGITS = 5


class Features:
    """Running moments of the features of one tensor, over rows (samples, features)."""

    def __init__(self, path: str, features: int) -> None:
        self.path, self.features = path, features
        self.batches = self.rows = self.nonfinite = self.repeated = 0
        self.total, self.squares = np.zeros(features), np.zeros(features)
        self.low, self.high = np.full(features, np.inf), np.full(features, -np.inf)
        self.whole = True
        self._origin: Row | None = None
        self.hashes: set[int] = set()
        self._epoch, self._in_epoch = -1, set[int]()
        self.epoch_rows = self.epoch_repeats = 0

    def add(self, rows: Row, epoch: int) -> None:
        """Take the rows of one batch."""
        finite = np.isfinite(rows)
        self.nonfinite += int(rows.size - finite.sum())
        self.batches += 1
        good = rows[finite.all(1)]
        self._count(good, epoch)
        if not len(good):
            return
        if self._origin is None:
            self._origin = good.mean(0)
        self.rows += len(good)
        centred = good - self._origin
        self.total += centred.sum(0)
        self.squares += np.square(centred).sum(0)
        self.low, self.high = np.minimum(self.low, good.min(0)), np.maximum(self.high, good.max(0))
        self.whole = self.whole and bool((good == np.round(good)).all())

    def _count(self, rows: Row, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._in_epoch = epoch, set()
        varied = rows[rows.min(1) < rows.max(1)] if rows.shape[1] > 1 else rows[:0]
        keys = [hash(r.tobytes()) for r in np.ascontiguousarray(varied)]
        self.repeated += len(keys) - len(set(keys))
        self.epoch_rows += len(keys)
        fresh = set(keys) - self._in_epoch
        self.epoch_repeats += len(keys) - len(fresh)
        if len(self._in_epoch) < _MOST_HASHES:
            self._in_epoch |= fresh
        if len(self.hashes) < _MOST_HASHES:
            self.hashes.update(keys)

    def facts(self) -> dict[str, Any]:
        """Return what is known, JSON-able; per-feature lists in feature order."""
        out: dict[str, Any] = {"path": self.path, "batches": self.batches, "rows": self.rows}
        out |= {"nonfinite": self.nonfinite, "distinct": len(self.hashes), "repeated_in_batch": self.repeated}
        out |= {"epoch_rows": self.epoch_rows, "epoch_repeats": self.epoch_repeats}
        if self.rows and self._origin is not None:
            mean = self.total / self.rows
            var = np.maximum(self.squares / self.rows - mean**2, 0.0)
            out |= {"integers": self.whole, "mean": _listed(mean + self._origin), "std": _listed(np.sqrt(var))}
            out |= {"min": _listed(self.low), "max": _listed(self.high)}
        return out


class DataSeen:
    """Takes the rows of sampled training batches and of the first batches of every validation."""

    def __init__(self) -> None:
        self.train: dict[str, Features] = {}
        self.validate: dict[str, Features] = {}
        self._classes: Counter[int] = Counter()
        self._purity: list[tuple[float, int]] = []
        self._products: dict[str, Row] = {}
        self._seen = 0
        self._recent: deque[tuple[Row, Row]] = deque(maxlen=_RECENT)
        self._target = self._shifted = ""

    def add(self, rows: Mapping[str, Row], epoch: int) -> None:
        """Take the rows of one training step: of the batch by path, of "prediction" and "target" of the loss call."""
        batch = {path: x for path, x in rows.items() if path not in ("(prediction)", "(target)")}
        self._add(self.train, batch, epoch)
        target = rows.get("(target)")
        if target is None:
            path = next((p for p in batch if p.split(".")[-1].lower() in TARGETS), "")
            target = batch.get(path)
        self._target = self._target or next((p for p, x in batch.items() if target is x or _same(x, target)), "")
        x = next((x for p, x in batch.items() if p != self._target), None)
        self._shifted = self._shifted or next((p for p, y in batch.items() if x is not None and _is_shifted(x, y)), "")
        if target is None or not len(target) or not np.isfinite(target).all():
            return
        self._add_target(x, target)
        if (prediction := rows.get("(prediction)")) is not None and len(prediction) == len(target):
            self._recent.append((prediction, target))

    def add_validation(self, rows: Mapping[str, Row], epoch: int) -> None:
        """Take the rows of one validation batch."""
        self._add(self.validate, rows, epoch)

    @staticmethod
    def _add(known: dict[str, Features], rows: Mapping[str, Row], epoch: int) -> None:
        for path, x in rows.items():
            features = known.get(path) or known.setdefault(path, Features(path, x.shape[1]))
            if features.features == x.shape[1]:
                features.add(x, epoch)

    def _add_target(self, x: Row | None, target: Row) -> None:
        if _are_classes(target):
            counts = Counter(target[:, 0].astype(int).tolist())
            self._classes.update(counts)
            n = len(target)
            if n > 1:
                self._purity.append((sum(c * (c - 1) for c in counts.values()) / (n * (n - 1)), n))
        if x is not None and len(x) == len(target) and np.isfinite(x).all():
            self._correlate(x, target)

    def _correlate(self, x: Row, target: Row) -> None:
        """Sums for the regression of the target (classes: one column each) on the features."""
        y = _columns(target)
        if y is None:
            return
        z = np.hstack([np.ones((len(x), 1)), x, y])
        known = self._products.get("z")
        if known is None:
            self._scale = np.concatenate([[1.0], np.abs(x).max(0) + 1e-12, np.ones(y.shape[1])])
            self._products["z"] = np.zeros((z.shape[1], z.shape[1]))
            self._inputs = x.shape[1]
        elif known.shape[0] != z.shape[1]:
            return
        z = z / self._scale
        self._products["z"] += z.T @ z
        self._seen += len(x)

    def facts(self) -> dict[str, Any]:
        """Return what is known of the data so far, JSON-able; an empty mapping if nothing was seen."""
        if not self.train:
            return {}
        out: dict[str, Any] = {"train": {p: f.facts() for p, f in self.train.items()}}
        if self.validate:
            out["validate"] = {p: f.facts() for p, f in self.validate.items()}
            for path, f in self.validate.items():
                if path in self.train and f.hashes:
                    out["validate"][path]["shared"] = len(f.hashes & self.train[path].hashes)
        out["target"] = {"path": self._target, **self._target_facts()}
        if self._shifted:
            out["target"]["shifted"] = self._shifted
        out["fit"] = self._fit_facts()
        return out

    def _target_facts(self) -> dict[str, Any]:
        if not self._classes:
            return {}
        n = sum(self._classes.values())
        out: dict[str, Any] = {"counts": {str(k): c for k, c in sorted(self._classes.items())}}
        if self._purity and n > 1:
            same = sum(c * (c - 1) for c in self._classes.values()) / (n * (n - 1))
            weights = [w for _, w in self._purity]
            out["same_class_in_batch"] = float(np.average([p for p, _ in self._purity], weights=weights))
            out["same_class"] = same
        return out | self._recall()

    def _recall(self) -> dict[str, Any]:
        """Return how often each class was present, predicted and found in the latest samples."""
        present, predicted, right = Counter[int](), Counter[int](), Counter[int]()
        for prediction, target in self._recent:
            truth, guess = target[:, 0].astype(int), _guess(prediction)
            present.update(truth.tolist())
            predicted.update(guess.tolist())
            right.update(truth[truth == guess].tolist())
        named = {"present": present, "predicted": predicted, "right": right}
        return {"recent": {k: {str(c): n for c, n in sorted(v.items())} for k, v in named.items()}}

    def _fit_facts(self) -> dict[str, Any]:
        """Return how well single features, and all of them linearly, tell the target (share of variance)."""
        if "z" not in self._products:
            return {}
        m, n, d = self._products["z"] / max(self._seen, 1), self._seen, self._inputs
        cov = m - np.outer(m[0], m[0])
        xx, xy, yy = cov[1 : d + 1, 1 : d + 1], cov[1 : d + 1, d + 1 :], np.diag(cov)[d + 1 :]
        var, known = np.diag(xx), yy > 1e-12
        if not known.any():
            return {"rows": n, "features": d}
        with np.errstate(all="ignore"):
            single = np.where(var[:, None] > 1e-12, np.square(xy) / (var[:, None] * yy), 0.0)[:, known]
        best = int(single.max(1).argmax())
        solved = np.linalg.lstsq(xx + 1e-9 * np.trace(xx) / d * np.eye(d), xy[:, known], rcond=None)[0]
        parts = slice(1, None) if len(yy) > _MOST_CLASSES else slice(None)  # of classes the columns for each
        explained = float((solved * xy[:, known])[:, parts].sum() / yy[known][parts].sum())
        out = {"rows": n, "features": d, "best_feature": best}
        found = {"best_r2": single[best].max(), "all_targets_r2": single[best].min(), "linear_r2": explained}
        return out | {k: float(np.clip(v, 0, 1)) for k, v in found.items()}


def _same(x: Row, target: Row | None) -> bool:
    return target is not None and x.size == target.size and bool((x.ravel() == target.ravel()).all())


def _is_shifted(x: Row, y: Row) -> bool:
    """Tell whether whole numbers are those of another tensor one place later: the next symbols of a text."""
    if x.shape != y.shape or x.shape[1] < 3 or not (x == np.round(x)).all() or (x == x[:, :1]).all():
        return False
    return bool((x[:, 1:] == y[:, :-1]).all()) and not bool((x == y).all())


def _are_classes(target: Row) -> bool:
    if target.shape[1] != 1:
        return False
    whole = bool((target == np.round(target)).all())
    return whole and bool(target.min() >= 0 and target.max() < _MOST_CLASSES)


def _columns(target: Row) -> Row | None:
    """Return the target as columns of numbers: of classes their number, and one column for each class."""
    if target.shape[1] != 1:
        return target if target.shape[1] <= _MOST_CLASSES else None
    if _are_classes(target) and target.max() > 1:
        return np.hstack([target, np.eye(_MOST_CLASSES)[target[:, 0].astype(int)]])
    return target


def _guess(prediction: Row) -> Ints:
    """Return the predicted class: the largest output; of a single one whether it is above its threshold."""
    if prediction.shape[1] > 1:
        return np.asarray(prediction.argmax(1))
    probability = bool(prediction.min() >= 0 and prediction.max() <= 1)
    return (prediction[:, 0] > (0.5 if probability else 0.0)).astype(np.int64)


def _listed(x: Row) -> list[float]:
    return [float(f"{v:.{_DIGITS}g}") for v in x]
