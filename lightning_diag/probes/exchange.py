"""What the ranks tell each other on a sampled step: one collective of bytes, no pickles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from lightning_diag.probes.metrics import Point
from lightning_diag.probes.readings import Part, Silence

_GROWTH = 2


@dataclass
class Message:
    """One rank's part, its per-step points, and whether it can no longer take part."""

    part: Part = field(default_factory=Part)
    points: list[Point] = field(default_factory=list)
    crash: str = ""


def encode(message: Message) -> bytes:
    """Return a message as bytes: a JSON header and the numbers as float32."""
    part = message.part
    numbers = [*part.moments.values(), *part.bins.values(), np.array(list(part.scalars.values()))]
    masks = [m for s in part.silence.values() for m in (s.silent, s.without_bias) if m is not None]
    header = {
        "numel": part.numel,
        "moments": list(part.moments),
        "bins": list(part.bins),
        "scalars": list(part.scalars),
        "silence": {k: [len(s.silent), s.examples, s.without_bias is not None] for k, s in part.silence.items()},
        "points": [[*p[:3], repr(p[3])] for p in message.points],
        "crash": message.crash,
    }
    head = json.dumps(header, separators=(",", ":")).encode()
    body = np.concatenate([np.ravel(x) for x in numbers] or [np.empty(0)]).astype(np.float32).tobytes()
    bits = b"".join(np.packbits(m).tobytes() for m in masks)
    return len(head).to_bytes(4, "little") + len(body).to_bytes(4, "little") + head + body + bits


def decode(data: bytes) -> Message:
    """Return the message that :func:`encode` wrote."""
    n_head, n_body = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + n_head])
    numbers = np.frombuffer(data[8 + n_head : 8 + n_head + n_body], dtype=np.float32).astype(np.float64)
    at = 0

    def take(n: int) -> Any:
        nonlocal at
        at += n
        return numbers[at - n : at]

    part = Part(numel={f: dict(sites) for f, sites in header["numel"].items()})
    part.moments = {(f, s): take(6) for f, s in header["moments"]}
    part.bins = {(f, s): take(66) for f, s in header["bins"]}
    part.scalars = {(f, s): float(take(1)[0]) for f, s in header["scalars"]}
    rest = data[8 + n_head + n_body :]
    for site, (units, examples, biased) in header["silence"].items():
        size = -(-units // 8)
        masks = [np.unpackbits(np.frombuffer(rest[i * size : (i + 1) * size], dtype=np.uint8))[:units] for i in (0, 1)]
        rest = rest[size * (2 if biased else 1) :]
        part.silence[site] = Silence(masks[0].astype(bool), examples, masks[1].astype(bool) if biased else None)
    points = [(stage, name, step, float(value)) for stage, name, step, value in header["points"]]
    return Message(part, points, header["crash"])


class Exchange:
    """Gathers the messages of all ranks, one collective of a size that all ranks know.

    A rank whose message is too long sends its length alone; all then gather again with room for twice the longest.
    That happens at the first sample, and again only where a model grows.

    Args:
        world_size: number of ranks.
        device: where the collective's tensors live (the back end decides: CPU for gloo).
    """

    def __init__(self, world_size: int, device: torch.device) -> None:
        self.world_size = world_size
        self.device = device if dist.get_backend() != "gloo" else torch.device("cpu")
        self.capacity = 0
        self.sent = 0  # bytes of this rank's last message

    def gather(self, message: Message) -> list[Message]:
        """Return the messages of all ranks, in rank order. Every rank must call it."""
        data = encode(message)
        self.sent = len(data)
        while True:
            received = self._all_gather(data if len(data) <= self.capacity else b"", len(data))
            longest = max(n for n, _ in received)
            if longest <= self.capacity:
                return [decode(d) for _, d in received]
            self.capacity = _GROWTH * longest

    def _all_gather(self, data: bytes, length: int) -> list[tuple[int, bytes]]:
        row = np.zeros(8 + self.capacity, dtype=np.uint8)
        row[:8] = np.frombuffer(length.to_bytes(8, "little"), dtype=np.uint8)
        row[8 : 8 + len(data)] = np.frombuffer(data, dtype=np.uint8)
        mine = torch.from_numpy(row).to(self.device)
        rows = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(rows, mine)
        found = []
        for r in rows:
            raw = r.cpu().numpy().tobytes()
            n = int.from_bytes(raw[:8], "little")
            found.append((n, raw[8 : 8 + n]))
        return found


def merged_points(messages: Sequence[Message]) -> list[Point]:
    """Return the points of rank 0, the loss averaged over the ranks (each saw its own share of the batch)."""
    losses: dict[int, list[float]] = {}
    for message in messages:
        for _, name, step, value in message.points:
            if name == "loss":
                losses.setdefault(step, []).append(value)
    return [(a, n, s, float(np.mean(losses[s])) if n == "loss" else v) for a, n, s, v in messages[0].points]
