"""What was measured in one training: the waist of the hourglass, numpy only.

A :class:`History` holds *samples* (one row of statistics over all sites, taken on a sampled step) and
*points* (numbers that exist at every step: the loss, learning rates, logged metrics). Rules read nothing
else, so the same judgement runs during a fit, on a file, in pytest and in a dashboard.

In a sample ``NaN`` means *absent*: a statistic of a tensor that was not seen, or that has no value there.
A tensor that holds NaN or Inf is told by its ``.../nonfinite`` count, its moments are those of the finite
part. In points a ``NaN`` is a measured NaN, because an absent point is simply not there.
"""

from __future__ import annotations

from lightning_diag.records.history import History
from lightning_diag.records.parts import STAGES, Floats, HistoryError, Ints, Layer, Series, Stage, Table

__all__ = ["STAGES", "Floats", "History", "HistoryError", "Ints", "Layer", "Series", "Stage", "Table"]
