"""What the ranks tell each other on a sampled step: one collective of bytes."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from lightning_diag.probes.metrics import Point
from lightning_diag.probes.packing import Message, decode, encode

_GROWTH = 1.25
_MOST_LAYOUTS = 32


class Exchange:
    """Gathers the messages of all ranks, one collective of a size that all ranks know.

    A rank whose message is too long sends its length alone; all then gather again with room for the longest. That
    happens at the first samples, and later only where a model grows.

    Args:
        world_size: number of ranks.
        rank: number of this one.
        device: where the collective's tensors live (the back end decides: CPU for gloo).
    """

    def __init__(self, world_size: int, rank: int, device: torch.device) -> None:
        self.world_size, self.rank = world_size, rank
        self.device = device if dist.get_backend() != "gloo" else torch.device("cpu")
        self.capacity = 0
        self.sent = 0  # bytes of this rank in the last collective, padding included
        self._known: dict[bytes, Mapping[str, Any]] = {}

    def gather(self, message: Message) -> list[Message]:
        """Return the messages of all ranks, in rank order. Every rank must call it."""
        try:
            data = encode(message, self._known)
        except Exception as error:  # the others wait for a message
            data = encode(Message(crash="".join(traceback.format_exception(error))), self._known)
        while True:
            received = self._all_gather(data if len(data) <= self.capacity else b"", len(data))
            longest = max(n for n, _ in received)
            if longest <= self.capacity:
                break
            self.capacity = int(_GROWTH * longest)
        if _GROWTH**3 * longest < self.capacity:  # the names of the first message are not sent again
            self.capacity = int(_GROWTH * longest)
        messages = [decode(d, self._known) for _, d in received]
        if len(self._known) > _MOST_LAYOUTS:
            self._known.clear()
        return messages

    def _all_gather(self, data: bytes, length: int) -> list[tuple[int, bytes]]:
        row = np.zeros(8 + self.capacity, dtype=np.uint8)
        self.sent = len(row)
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
