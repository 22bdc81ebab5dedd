from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2
from torch.utils.tensorboard import SummaryWriter

from lightning_diag.records import History
from lightning_diag.sinks.tensorboard import Histogram, TensorBoardSink, buckets, edges
from tests.sinks.reports import EVIL, HOSTILE, SICK

TAGS = ["activations/net.0", "gradients/enc.layers[3].weight", "updates/größe→层", "weights/a b/c#1"]


def quarter(x: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(np.abs(x))
    return (4 * (exponent - 1) + np.floor(8 * mantissa) - 4).astype(int)


def histogram(values: Any) -> Histogram:
    """Count by the definition, one value at a time."""
    x = np.asarray(values, dtype=np.float64)
    counts, top = np.zeros(64), int(quarter(x[x != 0]).max(initial=-508))
    for value in x:
        depth = 31 if value == 0 else min(top - int(quarter(np.array(value))), 31)
        counts[63 - depth if value > 0 else depth] += 1
    extremes = (x.min(), x.max()) if len(x) else (np.nan, np.nan)
    return Histogram(counts, top, *map(float, extremes), len(x), float(x.sum()), float((x * x).sum()))


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"histograms": 0, "images": 0, "tensors": 0}).Reload()


@pytest.mark.parametrize("top", [-508, -13, -1, 0, 1, 2, 3, 7, 511])
def test_edges_ascend_and_those_of_two_tops_lie_on_one_grid(top: int) -> None:
    assert (np.diff(edges(top)) > 0).all()
    assert set(edges(top)[33:]) & set(edges(top + 5)[33:]) == set(edges(top + 5)[33:59])
    assert (edges(top)[:31] == -edges(top)[32:63][::-1]).all()


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False).filter(bool), st.integers(0, 40)
)
def test_every_value_lies_between_the_edges_of_its_bin(value: float, octaves: int) -> None:
    largest = abs(value) * 2.0**octaves
    h = histogram([value, largest])
    h.counts[63] -= 1
    (i,) = np.flatnonzero(h.counts)
    right = edges(h.top)
    assert i == 0 or right[i - 1] <= value
    assert value <= right[i]


@given(st.lists(st.lists(st.floats(-60000, 60000, width=16), min_size=1, max_size=200), min_size=1, max_size=5))
def test_merged_buckets_keep_the_counts_on_a_subset_of_the_edges(many: list[list[float]]) -> None:
    histograms = [histogram(values) for values in many]
    for h, (limits, counts) in zip(histograms, buckets(histograms), strict=True):
        assert sum(counts) == h.total
        assert counts[0] > 0
        assert counts[-1] > 0
        where = np.searchsorted(edges(h.top), limits)
        assert (edges(h.top)[where] == limits).all()
        before = h.counts[: where[0] + 1].sum()
        assert np.array_equal(np.diff(h.counts.cumsum()[where], prepend=0.0)[1:], counts[1:])
        assert counts[0] == before
        widths = np.diff(np.log2(np.abs([x for x in limits if x > 0] or [1.0])))
        kept = np.array(counts[-len(widths) :]) if len(widths) else np.zeros(0)
        assert (widths[kept > 0.1 * h.total] <= np.log2(1.25) + 1e-9).all()


def test_a_histogram_without_values_has_no_buckets_and_is_not_written(tmp_path: Path) -> None:
    empty, full = histogram([]), histogram([1.0, 0.0, -3.0])
    assert [len(limits) for limits, _ in buckets([empty, full, empty])] == [0, 5, 0]
    writer = SummaryWriter(str(tmp_path))
    TensorBoardSink(writer).write_sample(0, {"a": empty, "b": full}, {})
    writer.close()
    assert read(tmp_path).Tags()["histograms"] == ["b"]


@pytest.mark.parametrize("batched", [True, False], ids=["one record", "the writer's own methods"])
def test_a_sample_reads_back(tmp_path: Path, batched: bool) -> None:
    rng = np.random.default_rng(0)
    values = {tag: rng.normal(size=500) * 10.0 ** (3 * i - 6) for i, tag in enumerate(TAGS)}
    values["activations/relu"] = np.maximum(values[TAGS[0]], 0)
    values["activations/dead"] = np.zeros(9)
    writer = SummaryWriter(str(tmp_path))
    sink = TensorBoardSink(writer)
    sink._takes_records = batched
    for step in (0, 5):
        sink.write_sample(step, {k: histogram(v) for k, v in values.items()}, {"gradient_norm": 0.5, "nan": np.nan})
    writer.close()
    events = read(tmp_path)
    assert sorted(events.Tags()["histograms"]) == sorted(values)
    assert sorted(events.Tags()["scalars"]) == ["lightning_diag/gradient_norm", "lightning_diag/nan"]
    assert [(e.step, e.value) for e in events.Scalars("lightning_diag/gradient_norm")] == [(0, 0.5), (5, 0.5)]
    for tag, x in values.items():
        first, second = events.Histograms(tag)
        assert (first.step, second.step) == (0, 5)
        h = first.histogram_value
        assert (h.min, h.max, h.num, sum(h.bucket)) == (x.min(), x.max(), len(x), len(x))
        for limit, below in zip(h.bucket_limit, np.cumsum(h.bucket), strict=True):
            assert below == np.count_nonzero(x <= limit)


def test_a_sample_is_one_record(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    TensorBoardSink(writer).write_sample(3, {tag: histogram([1.0]) for tag in TAGS}, {"a": 1.0, "b": 2.0})
    writer.close()
    (file,) = tmp_path.iterdir()
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    events = [event_pb2.Event.FromString(raw) for raw in RawEventFileLoader(str(file)).Load()]
    assert [len(e.summary.value) for e in events] == [0, 6]


def test_a_histogram_of_many_values_takes_at_most_700_bytes() -> None:
    rng = np.random.default_rng(0)
    shapes = [rng.normal(size=4000), rng.uniform(-1, 1, 4000), rng.standard_cauchy(4000), rng.lognormal(0, 3, 4000)]
    for limits, counts in buckets([histogram(x) for x in shapes]):
        assert 8 * (len(limits) + len(counts)) + 80 <= 700


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_extremes_of_a_tensor_with_non_finite_values_do_not_reach_the_file(tmp_path: Path, wrong: float) -> None:
    h = histogram([1.0, 2.0, -3.0])
    writer = SummaryWriter(str(tmp_path))
    spoilt = Histogram(h.counts, h.top, wrong, wrong, h.total, wrong, wrong)
    TensorBoardSink(writer).write_sample(0, {"a": spoilt}, {})
    writer.close()
    value = read(tmp_path).Histograms("a")[0].histogram_value
    assert np.isfinite([value.min, value.max, value.sum, value.sum_squares]).all()
    assert value.min <= -3.0
    assert value.max >= 2.0


def test_hostile_names_are_written(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    sink = TensorBoardSink(writer)
    sink.write_sample(0, {EVIL: histogram([1.0]), "": histogram([1.0]), "x" * 9999: histogram([1.0])}, {EVIL: 1.0})
    sink.write_report(HOSTILE, 0)
    writer.close()
    tags = read(tmp_path).Tags()
    assert len(tags["histograms"]) == 3
    assert all(tag.isprintable() and len(tag) <= 500 for tag in (*tags["histograms"], *tags["scalars"]))


def run() -> History:
    h = History()
    for family in ("activation", "update", "gradient"):
        h.set_sites(family, ["net.0", "net.1", "net.2"])
    for step in range(5):
        shares = [0.5, 1.0, np.nan]
        values = {
            "activation/zero_fraction": shares,
            "update/ratio": [1e-3, 0.0, 1.0],
            "gradient/rms": [1.0, 1e-9, 0.0],
        }
        h.add_sample(step, 0, values)
    return h


@pytest.mark.parametrize("batched", [True, False], ids=["one record", "the writer's own methods"])
def test_heatmaps_of_what_was_measured_are_images_under_one_prefix(tmp_path: Path, batched: bool) -> None:
    writer = SummaryWriter(str(tmp_path))
    sink = TensorBoardSink(writer)
    sink._takes_records = batched
    sink.write_heatmap(History(), 0)
    sink.write_heatmap(run(), 4)
    writer.close()
    events = read(tmp_path)
    wanted = [f"lightning_diag/{name}" for name in ("gradient_rms", "update_ratio", "zero_fraction")]
    assert sorted(events.Tags()["images"]) == wanted
    image = events.Images(wanted[0])[0]
    assert image.step == 4
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert image.width > 640


def test_the_report_is_a_text(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    TensorBoardSink(writer).write_report(SICK, 9)
    writer.close()
    (event,) = read(tmp_path).Tensors("lightning_diag/report/text_summary")
    assert event.step == 9
    assert b"- **error** **A001 dead-units**, net.5" in event.tensor_proto.string_val[0]


class _Recorder:
    """A writer with the public methods only, as loggers of other libraries have."""

    def __init__(self, file_writer: Any = None) -> None:
        self.calls: list[str] = []
        self.file_writer = file_writer

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.calls.append(f"{tag}={value}@{step}")

    def add_histogram_raw(self, tag: str, *args: Any) -> None:
        self.calls.append(tag)


class _OtherRecords:
    def add_summary(self, record: Any, step: int) -> None:
        raise TypeError("Parameter to MergeFrom() must be instance of same class")


@pytest.mark.parametrize("files", [None, object(), _OtherRecords()])
def test_a_writer_that_takes_no_records_is_written_to_by_its_methods(files: Any) -> None:
    writer = _Recorder(files)
    sink = TensorBoardSink(writer)
    for step in (0, 1):
        sink.write_sample(step, {"a": histogram([1.0])}, {"b": 2.0})
    assert writer.calls == ["lightning_diag/b=2.0@0", "a", "lightning_diag/b=2.0@1", "a"]


def test_a_closed_writer_opens_a_new_file(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    writer.close()
    TensorBoardSink(writer).write_sample(1, {"a": histogram([1.0])}, {})
    writer.close()
    assert sum(b"\x0a\x01a" in p.read_bytes() for p in tmp_path.iterdir()) == 1
