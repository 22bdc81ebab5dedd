"""Histograms, scalars, a report and heatmaps in TensorBoard's stock tabs, written through the logger's own writer.

Tags: ``activations/<site>``, ``activation_gradients/<site>``, ``gradients/<parameter>``, ``weights/<parameter>`` and
``updates/<parameter>`` are histograms; all else is under the one prefix ``lightning_diag/``.

The event file's checksum costs time for every byte, in a thread that holds the interpreter, so a whole sample is one
record and a histogram keeps only the edges that a reader can see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.summary_pb2 import Summary

from lightning_diag.findings import Report
from lightning_diag.records import Floats, History
from lightning_diag.sinks.heatmap import HEATMAPS, Pixels, draw, encode
from lightning_diag.sinks.markdown import markdown
from lightning_diag.sinks.wording import printable

PREFIX = "lightning_diag"
BINS = 64
_PER_SIGN = BINS // 2
_FINE_SHARE = 1 / 10  # an octave that holds less of all values is written as one bucket
_LONGEST_TAG = 400


@dataclass(frozen=True)
class Histogram:
    """How often values of each size occurred, on edges that are the same for every tensor with the same ``top``.

    Quarter octave ``k`` holds magnitudes from ``2**(k // 4) * (1 + k % 4 / 4)`` up to that of ``k + 1``; k is the
    exponent and the upper two mantissa bits of a float. Bin 63 is quarter octave ``top`` of the positive values, bins
    62 to 33 the 30 quarter octaves below it, bin 32 the positive values nearer to zero; bins 0 to 31 mirror them for
    negative values, and bin 31 also counts exact zeros.

    Attributes:
        counts: values per bin, ascending, shape (64,).
        top: quarter octave of the largest magnitude.
        minimum: smallest value.
        maximum: largest value.
        total: number of values counted.
        sum: their sum.
        sum_squares: the sum of their squares.
    """

    counts: npt.NDArray[Any]
    top: int
    minimum: float
    maximum: float
    total: float
    sum: float
    sum_squares: float


def edges(top: int) -> Floats:
    """Return the right edges of the 64 bins, ascending.

    Example:
        >>> edges(0)[[0, 30, 31, 32, 62, 63]].tolist()  # 2**-7.5 is 0.0055; the edge beside it is 2**-8 * 1.5
        [-1.0, -0.005859375, 0.0, 0.005859375, 1.0, 1.25]
    """
    return np.concatenate([-_magnitude(top - np.arange(_PER_SIGN - 1)), [0.0], _magnitude(top - 30 + np.arange(32))])


def _magnitude(quarter: npt.NDArray[np.int64]) -> Floats:
    return np.ldexp(1.0 + (quarter % 4) / 4, quarter // 4)


def _octaves(phase: int) -> npt.NDArray[np.int64]:
    """Return a number per bin that bins of the same sign and octave share, ascending, for ``top % 4 == phase``."""
    depth = (np.arange(_PER_SIGN - 1) + 3 - phase) // 4  # octaves below the highest one
    inner = int(depth[-1]) + 1
    negative = np.append(depth, inner)
    return np.concatenate([negative, 2 * inner + 1 - negative[::-1]])


_GROUPS = np.stack([_octaves(phase) for phase in range(4)])
_EDGES = np.stack([edges(top) for top in range(4)])  # those of top + 4 are twice as large
_LAST_OF_GROUP = np.concatenate([_GROUPS[:, 1:] != _GROUPS[:, :-1], np.ones((4, 1), dtype=np.bool_)], axis=1)


def buckets(histograms: Sequence[Histogram]) -> list[tuple[list[float], list[float]]]:
    """Return (right edges, counts) of every histogram, without the buckets that no reader could tell apart.

    Octaves with less than a tenth of the values become one bucket, runs of empty buckets become one, empty outer
    ones go. The edges that are left are a subset of :func:`edges`; a histogram without values has none.
    """
    if not histograms:
        return []
    n, counts = len(histograms), np.array([h.counts for h in histograms], dtype=np.float64)
    phases, octaves = np.divmod(np.array([int(h.top) for h in histograms]), 4)[::-1]
    groups = _GROUPS[phases] + 20 * np.arange(n)[:, None]
    in_octave = np.bincount(groups.ravel(), counts.ravel(), minlength=20 * n)
    fine = in_octave[groups] > _FINE_SHARE * counts.sum(1, keepdims=True)
    ends = np.flatnonzero(fine | _LAST_OF_GROUP[phases])
    sums = np.add.reduceat(counts.ravel(), np.append(0, ends[:-1] + 1))
    kept = (sums > 0) | (np.append(sums[1:], 1.0) > 0) | (ends % BINS == BINS - 1)
    ends, sums = ends[kept], sums[kept]
    rows = ends // BINS
    outer = np.append(True, rows[1:] != rows[:-1]) | (ends % BINS == BINS - 1)
    ends, sums, rows = (x[(sums > 0) | ~outer] for x in (ends, sums, rows))
    limits = np.ldexp(_EDGES[phases[rows], ends % BINS], octaves[rows]).tolist()
    filled, stops = sums.tolist(), np.searchsorted(rows, np.arange(n), side="right").tolist()
    starts = [0, *stops[:-1]]
    return [(limits[i:j], filled[i:j]) for i, j in zip(starts, stops, strict=True)]


class TensorBoardSink:
    """Writes to TensorBoard through a writer it is handed.

    Args:
        writer: what a logger gives as ``experiment``: torch's ``SummaryWriter`` or one with its methods. Where it
            lets records be added whole, a sample is one record; else its own methods are called.

    Raises:
        OSError: nothing can be written; every method may raise it.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._takes_records = True

    def write_sample(self, step: int, histograms: Mapping[str, Histogram], scalars: Mapping[str, float]) -> None:
        """Write one sampled step; histograms of no values are left out, scalars get the prefix."""
        numbers = {_scalar_tag(k): float(v) for k, v in scalars.items()}
        record = Summary(value=[Summary.Value(tag=tag, simple_value=x) for tag, x in numbers.items()])
        for (tag, h), (limits, counts) in zip(histograms.items(), buckets(list(histograms.values())), strict=True):
            if limits:
                _fill(record.value.add(tag=_tag(tag)).histo, h, limits, counts)
        if not record.value or self._added(record, step):
            return
        for value in record.value:
            p = value.histo
            if value.WhichOneof("value") == "simple_value":
                self._writer.add_scalar(value.tag, numbers[value.tag], step)
            else:
                edge, count = list(p.bucket_limit), list(p.bucket)
                self._writer.add_histogram_raw(value.tag, p.min, p.max, p.num, p.sum, p.sum_squares, edge, count, step)

    def write_report(self, report: Report, step: int) -> None:
        """Write the report to the text tab."""
        self._writer.add_text(f"{PREFIX}/report", markdown(report), step)

    def write_heatmap(self, history: History, step: int) -> None:
        """Draw the whole run so far, a row per site and a column per sampled step, into one image per statistic."""
        record, images = Summary(), dict[str, Pixels]()
        for statistic, heatmap in HEATMAPS.items():
            image = draw(history.table(statistic), heatmap)
            if image is not None:
                images[f"{PREFIX}/{heatmap.tag}"] = image
                png, (height, width) = encode(image), image.shape[:2]
                shape = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
                record.value.add(tag=f"{PREFIX}/{heatmap.tag}", image=shape)
        if not record.value or self._added(record, step):
            return
        for tag, image in images.items():
            self._writer.add_image(tag, image, step, dataformats="HWC")

    def _added(self, record: Any, step: int) -> bool:
        """Add a whole record; False if the writer takes none."""
        if not self._takes_records:
            return False
        files: Any = getattr(self._writer, "file_writer", None)
        if files is None and hasattr(self._writer, "_get_file_writer"):
            files = self._writer._get_file_writer()  # a writer that was closed opens a new file
        try:
            files.add_summary(record, step)
        except (AttributeError, TypeError):  # no such method, or made for records of another library
            self._takes_records = False
        return self._takes_records


def _fill(proto: Any, h: Histogram, limits: list[float], counts: list[float]) -> None:
    """Fill a histogram's record; its extremes, which may come from more values, stay outside its inner edges."""
    inner = limits[:-1] or [math.inf, -math.inf]
    proto.min = min(h.minimum if math.isfinite(h.minimum) else limits[0], inner[0])
    proto.max = max(h.maximum if math.isfinite(h.maximum) else limits[-1], inner[-1])
    proto.num = h.total
    proto.sum = h.sum if math.isfinite(h.sum) else 0.0
    proto.sum_squares = h.sum_squares if math.isfinite(h.sum_squares) else 0.0
    proto.bucket_limit.extend(limits)
    proto.bucket.extend(counts)


def _tag(name: str) -> str:
    return printable(name, limit=_LONGEST_TAG) or PREFIX


def _scalar_tag(name: str) -> str:
    tag = _tag(name)
    return tag if tag.startswith(f"{PREFIX}/") else f"{PREFIX}/{tag}"
