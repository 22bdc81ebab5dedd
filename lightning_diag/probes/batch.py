"""The batch as it was handed to the training step: every tensor in it, by its path."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from lightning_diag.probes.readings import Readings, measuring
from lightning_diag.statistics.rows import rows_of
from lightning_diag.statistics.views import plain, stands_whole

_MOST_TENSORS, _MAX_DEPTH = 16, 3
_MOST_WITH_ROWS = 4  # tensors of a batch whose rows are looked at
TARGETS: Final = frozenset({"y", "label", "labels", "target", "targets", "1", "output", "class"})


def batch_tensors(batch: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield (path, tensor) of a batch: ``0`` and ``1`` of a pair, ``image`` of a mapping or dataclass, ``batch`` alone.

    Example:
        >>> import torch
        >>> [path for path, _ in batch_tensors({"image": torch.ones(2), "labels": [torch.ones(1), torch.ones(1)]})]
        ['image', 'labels.0', 'labels.1']
    """
    if isinstance(batch, Tensor):
        if not (batch.is_nested and batch.layout == torch.strided):  # which has no shape
            yield path or "batch", batch
    elif depth < _MAX_DEPTH:
        for key, value in _items(batch):
            yield from batch_tensors(value, f"{path}.{key}" if path else key, depth + 1)


def _items(batch: Any) -> list[tuple[str, Any]]:
    if isinstance(batch, Mapping):
        return [(str(k), v) for k, v in batch.items()]
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return [(f.name, getattr(batch, f.name, None)) for f in dataclasses.fields(batch)]
    if isinstance(batch, (tuple, list)):
        return [(str(i), v) for i, v in enumerate(batch)]
    return []


def take_batch(batch: Any, readings: Readings) -> dict[str, dict[str, Any]]:
    """Take the statistics ``batch/*`` of a batch and some of its rows; return path -> shape, dtype of its tensors."""
    facts: dict[str, dict[str, Any]] = {}
    with measuring():
        for path, tensor in batch_tensors(batch):
            if len(facts) == _MOST_TENSORS:
                break
            readings.tensor("batch", path, tensor)
            facts[path] = {"shape": list(tensor.shape), "dtype": str(tensor.dtype)}
        for path, values in batch_rows(batch):
            readings.rows(path, values)
    return facts


def batch_rows(batch: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield (path, up to 128 rows of up to 128 features each) of the first tensors of a batch."""
    with measuring():
        for taken, (path, tensor) in enumerate(batch_tensors(batch)):
            if taken == _MOST_WITH_ROWS:
                return
            x = plain(tensor) if tensor.dim() and not tensor.is_complex() else None
            if x is not None and stands_whole(x, tensor):
                yield path, rows_of(x)
