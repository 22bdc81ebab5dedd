"""The loss, learning rates and logged metrics, at every step; which direction of a metric is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.records import History, Stage

Point = tuple[Stage, str, int, float]  # stage, series, step, value


class MetricReader:
    """Keeps numbers of every step until the next transfer: device tensors stay on their device.

    A metric counts as logged when its value is another object than last time, so stale ones are not repeated.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[Stage, str, int, float | Tensor]] = []
        self._seen: dict[str, object] = {}

    def add(self, name: str, step: int, value: Any, *, stage: Stage = "train") -> float | None:
        """Add a number; return it if it is known without waiting for a device."""
        if isinstance(value, Tensor):
            if value.numel() != 1 or value.is_complex():
                return None
            value = value.detach()
            if value.device.type == "cpu":
                value = float(value)
        elif not isinstance(value, (int, float)):
            return None
        self._pending.append((stage, name, step, value))
        return value if isinstance(value, float) else None

    def logged(self, metrics: Mapping[str, Any], step: int, *, stage: Stage = "train") -> None:
        """Add the metrics that were logged anew."""
        for name, value in metrics.items():
            if not _same(self._seen.get(name), value):
                self._seen[name] = value
                self.add(f"metric/{name}", step, value, stage=stage)

    def note(self, metrics: Mapping[str, Any]) -> None:
        """Take the present metrics as known, so that only later ones count as logged."""
        self._seen.update(metrics)

    def waiting(self) -> list[Tensor]:
        """Return the numbers that are still on a device, in order."""
        return [v for *_, v in self._pending if isinstance(v, Tensor)]

    def take(self, brought: Iterable[float] | None = None) -> list[Point]:
        """Return, and forget, all points so far; what waited comes in a transfer, unless one ``brought`` it already."""
        numbers = iter(_fetched(self.waiting()) if brought is None else brought)
        pending, self._pending = self._pending, []
        return [(s, n, at, next(numbers) if isinstance(v, Tensor) else float(v)) for s, n, at, v in pending]


def _same(before: object, now: object) -> bool:
    """Return whether a value is the one seen before: Lightning hands out new views of the same numbers."""
    if isinstance(before, Tensor) and isinstance(now, Tensor):
        return before is now or (before.data_ptr() == now.data_ptr() and before._version == now._version)
    return before is now


def add_points(history: History, points: Iterable[Point]) -> None:
    """Add points to a history, series by series."""
    columns: dict[tuple[Stage, str], tuple[list[int], list[float]]] = {}
    for stage, name, step, value in points:
        steps, values = columns.setdefault((stage, name), ([], []))
        steps.append(step)
        values.append(value)
    for (stage, name), (steps, values) in columns.items():
        history.add_points(name, steps, values, stage=stage)


def _fetched(values: list[Tensor]) -> list[float]:
    if not values:
        return []
    home = values[0].device
    numbers: list[float] = torch.stack([v.float().reshape(()).to(home) for v in values]).cpu().tolist()
    return numbers


def metric_directions(root: nn.Module, logged: Iterable[str]) -> dict[str, str]:
    """Return "higher" or "lower" for the logged names whose torchmetrics object says what is better.

    A metric object belongs to a logged name when its attribute name is part of it, the longest one first.
    """
    known = {
        name.rsplit(".", 1)[-1]: "higher" if module.higher_is_better else "lower"
        for name, module in root.named_modules()
        if name and isinstance(getattr(module, "higher_is_better", None), bool)
    }
    found: dict[str, str] = {}
    for metric in logged:
        match = max((k for k in known if k.lower() in metric.lower()), key=len, default=None)
        if match is not None:
            found[metric] = known[match]
    return found
