"""A rank's message as bytes, without pickles: names are sent once, numbers at every sample.

The *layout* says which numbers follow in which order. A rank sends it only where the ranks have not seen it before;
all of them see every message, so that they all know the same layouts.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lightning_diag.probes.metrics import Point
from lightning_diag.probes.readings import Part, Row, Silence
from lightning_diag.statistics.histogram import BINS
from lightning_diag.statistics.moments import FIELDS

Layouts = MutableMapping[bytes, Mapping[str, Any]]  # hash -> layout

_HEAD = struct.Struct("<16s6I")  # hash of the layout; lengths of layout, numbers, names of series, points, facts, crash
_MOST_COUNT = 0xFFFF


@dataclass
class Message:
    """What one rank tells the others.

    Attributes:
        part: what it read.
        points: its per-step numbers.
        facts: JSON-able facts that are new or changed.
        crash: the traceback of a rank that no longer takes part.
    """

    part: Part = field(default_factory=Part)
    points: list[Point] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    crash: str = ""


def encode(message: Message, known: Layouts) -> bytes:
    """Return a message as bytes; the layout is left out where it is ``known``."""
    layout, numbers = _pack(message.part)
    text = json.dumps(layout, separators=(",", ":")).encode()
    key = hashlib.blake2b(text, digest_size=16).digest()
    names = b"" if key in known else zlib.compress(text)
    series, points = _pack_points(message.points)
    facts = zlib.compress(json.dumps(message.facts).encode()) if message.facts else b""
    pieces = names, numbers, series, points, facts, message.crash.encode(errors="replace")
    return b"".join((_HEAD.pack(key, *map(len, pieces)), *pieces))


def decode(data: bytes, known: Layouts) -> Message:
    """Return the message that :func:`encode` wrote; its layout is ``known`` from then on."""
    key, *lengths = _HEAD.unpack_from(data)
    pieces, at = [], _HEAD.size
    for length in lengths:
        pieces.append(data[at : at + length])
        at += length
    names, numbers, series, points, facts, crash = pieces
    if names:
        known[key] = json.loads(zlib.decompress(names))
    told = json.loads(zlib.decompress(facts)) if facts else {}
    return Message(_unpack(known[key], numbers), _unpack_points(series, points), told, crash.decode())


def _pack(part: Part) -> tuple[dict[str, Any], bytes]:
    bins = np.array(list(part.bins.values())).reshape(-1, BINS + 2)
    narrow = not bins.size or float(bins[:, 2:].max()) <= _MOST_COUNT
    silence = part.silence.items()
    counts = "<u2" if narrow else "<f4"
    layout = {
        "sites": {family: list(sites) for family, sites in part.numel.items()},
        "moments": list(part.moments),
        "bins": list(part.bins),
        "counts": counts,
        "scalars": list(part.scalars),
        "silence": [[site, len(s.silent), s.without_bias is not None] for site, s in silence],
    }
    masks = [m for _, s in silence for m in (s.silent, s.without_bias) if m is not None]
    numel = [n for sites in part.numel.values() for n in sites.values()]
    numbers = (
        np.array([*numel, *(s.examples for _, s in silence)], dtype="<i8"),
        np.array(list(part.moments.values()), dtype="<f4"),
        bins[:, :2].astype("<f4"),
        bins[:, 2:].astype(counts),
        np.array(list(part.scalars.values()), dtype="<f4"),
        np.packbits(np.concatenate(masks)) if masks else np.empty(0, dtype=np.uint8),
    )
    return layout, b"".join(x.tobytes() for x in numbers)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, dtype: str, *shape: int) -> Any:
        count = int(np.prod(shape))
        x = np.frombuffer(self.data, dtype=dtype, count=count, offset=self.at)
        self.at += x.nbytes
        return x.reshape(shape)


def _unpack(layout: Mapping[str, Any], data: bytes) -> Part:
    read = _Reader(data)
    sites, silence = layout["sites"], layout["silence"]
    whole = read.take("<i8", sum(map(len, sites.values())) + len(silence)).tolist()
    numel = iter(whole)
    part = Part({family: {name: next(numel) for name in names} for family, names in sites.items()})
    rows = read.take("<f4", len(layout["moments"]), len(FIELDS)).astype(np.float64)
    part.moments = {(f, s): row for (f, s), row in zip(layout["moments"], rows, strict=True)}
    n = len(layout["bins"])
    bins: Row = np.hstack([read.take("<f4", n, 2), read.take(layout["counts"], n, BINS)]).astype(np.float64)
    part.bins = {(f, s): row for (f, s), row in zip(layout["bins"], bins, strict=True)}
    scalars = read.take("<f4", len(layout["scalars"])).tolist()
    part.scalars = {(f, s): x for (f, s), x in zip(layout["scalars"], scalars, strict=True)}
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8, offset=read.at)).astype(np.bool_)
    at = 0
    for site, units, biased in silence:
        masks = [bits[at + i * units : at + (i + 1) * units] for i in range(2 if biased else 1)]
        at += units * len(masks)
        part.silence[site] = Silence(masks[0], next(numel), masks[1] if biased else None)
    return part


def _pack_points(points: list[Point]) -> tuple[bytes, bytes]:
    columns: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for stage, name, step, value in points:
        columns.setdefault((stage, name), []).append((step, value))
    if not columns:
        return b"", b""
    series = json.dumps([[*key, len(column)] for key, column in columns.items()], separators=(",", ":"))
    steps = np.array([step for column in columns.values() for step, _ in column], dtype="<i8")
    values = np.array([value for column in columns.values() for _, value in column], dtype="<f8")
    return series.encode(), steps.tobytes() + values.tobytes()


def _unpack_points(series: bytes, data: bytes) -> list[Point]:
    steps = np.frombuffer(data, dtype="<i8", count=len(data) // 16)
    values = np.frombuffer(data, dtype="<f8", offset=len(data) // 2)
    pairs = zip(steps.tolist(), values.tolist(), strict=True)
    return [(stage, name, *next(pairs)) for stage, name, n in json.loads(series or b"[]") for _ in range(n)]
