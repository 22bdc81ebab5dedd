"""What `lightning-diag check` costs above the interpreter's start, on stored histories of two sizes.

A real fit of a ReLU network with so many observed layers gives a few samples of every statistic; the history is made of
them, each repeated with 1 % of noise, its series as long as such a run makes them, written in the pieces in which a run
writes them. Then the command runs on it in a process of its own, alternating with an interpreter that does nothing.
Printed is the least of the wall times, and of the processor times, which a shared machine stretches less. Bytecode is
cached, as it is after the first call of any installation.
Usage: python benchmarks/check.py [--quick] [--repeat 7]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from torch import nn, randint, randn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics, History
from lightning_diag.testing import fit

SIZES = ((20, 500, 0.5), (100, 1000, 1.5))  # layers, samples, seconds allowed
EVERY = 16  # optimizer steps between samples
CALL = "import sys; from lightning_diag.cli import main; sys.exit(main(sys.argv[1:]))"


def template(layers: int) -> History:
    """Return the history of a short fit with so many observed layers."""
    import lightning as L
    import torch

    class Net(L.LightningModule):
        """Linear layers and ReLUs, in turn."""

        def __init__(self) -> None:
            super().__init__()
            made = [m for _ in range(layers // 2) for m in (nn.Linear(16, 16), nn.ReLU())]
            self.net = nn.Sequential(*made[: layers - 1], nn.Linear(16, 3))
            for m in self.net:
                if isinstance(m, nn.Linear):
                    nn.init.kaiming_normal_(m.weight, nonlinearity="relu")

        def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-4)

    torch.manual_seed(0)
    loader, held = (DataLoader(TensorDataset(randn(64, 16), randint(0, 3, (64,))), batch_size=16) for _ in range(2))
    diagnostics = Diagnostics(every_n_steps=1, verbose=False, config=False)
    fit(Net(), loader, held, steps=16, diagnostics=diagnostics)
    return diagnostics.history


def write(history: History, samples: int, path: Path) -> None:
    """Write a history of so many samples like those of ``history``, in the pieces in which a run writes it."""
    steps = samples * EVERY
    facts = {**history.run, "steps": steps, "last_step": steps - 1, "samples": samples, "status": "finished"}
    long = History(max_samples=10 * samples, max_points=10 * steps)
    long.set_layers(history.layers)
    for family, lists in history._sites.items():
        long.set_sites(family, lists[-1])
    rng = np.random.default_rng(0)
    known = [s for s in history._samples if s.stage == "train"]
    curve = 0.3 + np.exp(-np.arange(steps) / (steps / 5)) + 0.02 * rng.standard_normal(steps)
    with path.open("w", encoding="utf-8") as file:
        print(next(iter(History(facts).lines())), file=file)
        for i in range(samples):
            counts = ("nonfinite", "nan", "clones", "examples")
            values = {
                k: v if k.endswith(counts) else v * (1 + 0.01 * rng.standard_normal(len(v)))
                for k, v in known[i % len(known)].values.items()
            }
            long.add_sample(i * EVERY, i // 20, values)
            at = np.arange(i * EVERY, (i + 1) * EVERY)
            for stage, name in history._points:
                some = at if stage == "train" else at[-1:]
                constant = name.startswith("learning_rate")
                long.add_points(name, some.tolist(), np.full(len(some), 1e-4) if constant else curve[some], stage=stage)
            file.writelines(f"{line}\n" for line in long.new_lines())


def cost(argv: list[str], cache: Path) -> tuple[float, float]:
    """Return (wall, processor) seconds of one process that finds bytecode in ``cache``."""
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environ["PYTHONPYCACHEPREFIX"] = str(cache)
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environ)
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{argv} ended with {done.returncode}: {done.stderr}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples, three repetitions")
    parser.add_argument("--repeat", type=int, default=7, help="processes of each kind")
    options = parser.parse_args()
    repeat = 3 if options.quick else options.repeat
    print("| layers | samples | MB | statistics | wall s | processor s | allowed s |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as directory:
        for layers, samples, allowed in SIZES:
            history, path = template(layers), Path(directory, f"history-{layers}.jsonl")
            count = samples // 10 if options.quick else samples
            write(history, count, path)
            check = [sys.executable, "-c", CALL, "check", str(path), "--no-config"]
            nothing, cache = [sys.executable, "-c", "pass"], Path(directory, "bytecode")
            cost(check, cache)
            pairs = [(cost(nothing, cache), cost(check, cache)) for _ in range(repeat)]
            wall, used = (min(b[k] for _, b in pairs) - min(a[k] for a, _ in pairs) for k in (0, 1))
            size = path.stat().st_size / 1e6
            sites = f"{len(history.layers)} | {count} | {size:.1f} | {len(history.statistics)}"
            print(f"| {sites} | {wall:.2f} | {used:.2f} | {allowed} |", flush=True)


if __name__ == "__main__":
    main()
