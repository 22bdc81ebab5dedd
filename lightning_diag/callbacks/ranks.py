"""The ranks of one fit kept in step: at a sampled step each sends one message, whatever happened to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lightning_diag.probes.exchange import Exchange, merged_points
from lightning_diag.probes.metrics import Point
from lightning_diag.probes.packing import Message
from lightning_diag.probes.readings import Part
from lightning_diag.probes.samples import completed, fingerprints, merged, replica_differences, shared
from lightning_diag.records import Layer


class Ranks:
    """What this process tells the other ranks, and hears from them; nothing where there is one process.

    A rank whose diagnostics failed says so in place of its next message. Then all stand aside, and none takes part
    in a collective again: so none waits for another.

    Args:
        exchange: how messages are gathered; None for a single process.
    """

    def __init__(self, exchange: Exchange | None = None) -> None:
        self._exchange = exchange
        self._first = exchange is not None and exchange.rank == 0
        self._owed = False
        self._told: dict[str, Any] = {}
        self._facts: dict[str, tuple[int, Any]] = {}  # with the rank that told them
        self.sent = 0  # bytes of the largest message of this rank, padding included

    @property
    def several(self) -> bool:
        """Whether there are other ranks that still listen."""
        return self._exchange is not None

    def expect(self) -> None:
        """The running step is sampled: the others will wait for a message."""
        self._owed = self.several

    def excuse(self) -> None:
        """The running step is not sampled after all, on no rank."""
        self._owed = False

    def together(
        self, part: Part, points: list[Point], facts: Mapping[str, Any]
    ) -> tuple[Part, list[Point], dict[str, Any]]:
        """Return what all ranks read in this step, the points with the mean loss, and what any rank knows.

        Of facts that differ those of the first rank that has them hold, so that all ranks judge alike.

        Raises:
            RuntimeError: the diagnostics of a rank failed.
        """
        if not self.several:
            return part, points, dict(facts)
        given = {**facts, "layers": [*map(asdict, facts.get("layers", ()))]}
        new = {k: v for k, v in given.items() if v and self._told.get(k) != v}
        self._told.update(new)
        mine = points if self._first else [p for p in points if p[1] == "loss"]  # the other series are those of rank 0
        told = shared(part)
        told.scalars |= fingerprints(part)
        messages = self._gather(Message(told, mine, new))
        apart = replica_differences([m.part for m in messages])
        for rank, message in enumerate(messages):
            for key, value in message.facts.items():
                if self._facts.get(key, (rank, None))[0] >= rank:
                    self._facts[key] = rank, value
        union = merged([m.part for m in messages], sharded=True)
        known = {key: value for key, (_, value) in self._facts.items()}
        known["layers"] = [Layer(**{**x, "parameters": tuple(x["parameters"])}) for x in known.get("layers", ())]
        whole = completed(union, part, len(messages))
        whole.scalars |= {("parameter/replica_difference", site): x for site, x in apart.items()}
        return whole, merged_points(messages), known

    def settle(self, crash: str) -> None:
        """At the end of a batch: if the others still wait for a message, tell them that this rank stands aside."""
        if self._owed:
            self.agree(crash=crash or "no sample came of a sampled step")

    def agree(self, facts: Mapping[str, Any] | None = None, *, crash: str = "") -> dict[str, Any]:
        """Ask all ranks, at the start and the end of a fit, whether all is well; return the facts of rank 0.

        Raises:
            RuntimeError: it is not.
        """
        if not self.several:
            return {}
        mine = dict(facts or {}) if self._first else {}
        return self._gather(Message(facts=mine, crash=crash))[0].facts

    def _gather(self, message: Message) -> list[Message]:
        exchange, self._exchange, self._owed = self._exchange, None, False
        assert exchange is not None
        messages = exchange.gather(message)  # if it raises, a rank is gone: no second try
        self.sent = max(self.sent, exchange.sent)
        crash = next((m.crash for m in messages if m.crash), "")
        if crash:
            raise RuntimeError(f"the diagnostics of a rank failed: {crash}")
        self._exchange = exchange
        return messages


def ranks_of(trainer: Any) -> Ranks:
    """Return the ranks of a Trainer."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() < 2:
        return Ranks()
    return Ranks(Exchange(dist.get_world_size(), dist.get_rank(), trainer.strategy.root_device))
