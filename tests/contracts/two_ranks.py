"""Fits on two processes, by the script launcher: ``python -m tests.contracts.two_ranks DIRECTORY SCENARIO ...``.

Every rank leaves ``rank-N/SCENARIO.jsonl`` (the history), ``.json`` (the report) and ``.facts.json``.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from lightning_diag import Diagnostics
from lightning_diag.callbacks.fit import Fit
from lightning_diag.callbacks.outlets import Outlets
from lightning_diag.probes.readings import Readings
from tests.contracts.setups import QUIET, Small, data

EVEN, SMALL = ((8, 8),) * 4, ((4, 4),) * 8  # examples of each rank in each batch
UNEVEN = ((8, 5), (8, 8), (3, 8))


class Plain(Small):
    """Each rank takes its own examples; ``rank=None`` takes those of both, as one process."""

    def __init__(self, rank: int | None = None, batches: Any = EVEN, lr: float = 0.05) -> None:
        super().__init__(lr=lr)
        self.net[2].p = 0.0
        self.net[0].bias.data[:4] = torch.tensor([-20.0, -2.0, -1.5, -1.0])  # silent on all, or some, examples
        ends = [0]
        for pair in batches:
            ends += [ends[-1] + pair[0], ends[-1] + sum(pair)]
        halves = [list(range(a, b)) for a, b in zip(ends, ends[1:], strict=False)]
        both = [a + b for a, b in zip(halves[::2], halves[1::2], strict=True)]
        self.batches = both if rank is None else halves[rank::2]

    def train_dataloader(self) -> Any:
        return DataLoader(data(), batch_sampler=self.batches)


class Bare(Plain):
    """Calls no module on rank 1."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_rank == 0:
            return super().training_step(batch, batch_idx)
        x = batch[0]
        for layer in self.net:
            x = torch.nn.functional.linear(x, layer.weight, layer.bias) if hasattr(layer, "weight") else x * 0.5
        loss = (x - 1).square().mean()
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss


class Sharded(Plain):
    """Split over the ranks by FSDP2."""

    def configure_model(self) -> None:
        from torch.distributed.fsdp import fully_shard

        for layer in self.net:
            if hasattr(layer, "weight"):
                fully_shard(layer, mesh=self.device_mesh["data_parallel"])
        fully_shard(self, mesh=self.device_mesh["data_parallel"])


class Failing(Plain):
    """Raises on rank 1."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_rank == 1 and self.global_step == 3:
            raise ValueError("the user's fault on one rank")
        return super().training_step(batch, batch_idx)


class Apart(Plain):
    """Rank 1 changes a weight of its own."""

    def on_train_start(self) -> None:
        self.net[0].weight.data.mul_(1 + 0.3 * self.global_rank)


class Collectives(L.Callback):
    """Counts the calls of all_gather of every step."""

    def __init__(self) -> None:
        self.calls: dict[int, int] = {}
        self.step = -1
        self.original = dist.all_gather

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        self.step = trainer.global_step

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[self.step] = self.calls.get(self.step, 0) + 1
            return self.original(*args, **kwargs)

        dist.all_gather = counted

    def on_validation_start(self, *args: Any) -> None:
        dist.all_gather = self.original

    on_train_end = on_validation_start


def broken(original: Any, at: int) -> Any:
    calls = 0

    def method(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= at:
            raise ZeroDivisionError("our own fault on one rank")
        return original(*args, **kwargs)

    return method


def ours(module: L.LightningModule) -> list[str]:
    """Return the hooks that are left and are ours; FSDP2 has its own."""
    places = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return [
        repr(h) for m in module.modules() for p in places for h in getattr(m, p).values() if "lightning_diag" in repr(h)
    ]


def fit(root: Path, name: str, model: Any, **options: Any) -> None:
    """Fit with two ranks and leave what was seen."""
    settings = {
        "strategy": "ddp",
        "devices": 2,
        "max_epochs": 2,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        **options,
    }
    diagnostics = Diagnostics(every_n_steps=3, verbose=False)
    collectives = Collectives()
    histograms: list[Any] = []
    keep, fetch, init = Outlets.sample, Readings.fetch, Fit.__init__
    Outlets.sample = lambda self, step, sample: (  # type: ignore[method-assign]
        histograms.append({f"{f}/{s}": h.counts.tolist() for f, x in sample.histograms.items() for s, h in x.items()}),
        keep(self, step, sample),
    )[1]
    L.seed_everything(1, verbose=False)
    trainer = L.Trainer(
        **{**QUIET, "default_root_dir": str(root / name), **settings}, callbacks=[diagnostics, collectives]
    )
    if trainer.global_rank == 1 and name == "broken probe":
        Readings.fetch = broken(fetch, 3)  # type: ignore[method-assign]
    if trainer.global_rank == 1 and name == "broken start":
        Fit.__init__ = broken(init, 1)  # type: ignore[method-assign]
    module = model(trainer.global_rank)
    trainer.fit(module)
    Outlets.sample, Readings.fetch, Fit.__init__ = keep, fetch, init  # type: ignore[method-assign]
    place = root / f"rank-{trainer.global_rank}"
    place.mkdir(exist_ok=True)
    (place / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in diagnostics.history.lines()))
    (place / f"{name}.json").write_text(diagnostics.report.to_json())
    facts = {
        "steps": trainer.global_step,
        "collectives": collectives.calls,
        "leftovers": ours(module),
        "histograms": histograms[:1],
        "sent": diagnostics.history.run.get("bytes_sent_per_sample"),
        "weights": [float(p.detach().double().sum()) for p in module.parameters() if not hasattr(p, "to_local")],
    }
    (place / f"{name}.facts.json").write_text(json.dumps(facts))


SCENARIOS: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (Plain, {}),
    "accumulation": (partial(Plain, batches=SMALL), {"accumulate_grad_batches": 2}),
    "uneven": (partial(Plain, batches=UNEVEN), {}),
    "sick": (partial(Plain, lr=1e4), {}),
    "nothing on one rank": (Bare, {}),
    "replicas apart": (Apart, {}),
    "broken probe": (Plain, {}),
    "broken start": (Plain, {}),
    "the user's failure": (Failing, {}),
    "sharded": (Sharded, {"strategy": "model parallel"}),
}

if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for scenario in sys.argv[2:]:
        made, given = SCENARIOS[scenario]
        if given.get("strategy") == "model parallel":
            from lightning.pytorch.strategies import ModelParallelStrategy

            given = {"strategy": ModelParallelStrategy(2, 1, process_group_backend="gloo")}
        fit(Path(sys.argv[1]), scenario, made, **given)
    if dist.is_initialized():
        dist.destroy_process_group()
