"""What Diagnostics costs: step time with against without, interleaved in one run, medians of the ratio.

Three workloads, one thread: an MLP (8 x 512, batch 256), a ResNet-18 on 32 x 32 images (batch 64) and a pre-norm
transformer (4 x 256, 128 tokens, batch 16, vocabulary 1000), Adam. One process trains each workload in blocks that
alternate between a Trainer without and one with Diagnostics; a ratio is formed within each pair of neighbouring
blocks, so that drift of a shared machine cancels. Usage: python benchmarks/overhead.py [--quick] [--every 50]
"""

from __future__ import annotations

import argparse
import logging
import platform
import statistics
import tempfile
import time
import warnings

import lightning as L
import torch
from torch import Tensor, nn

from lightning_diag import Diagnostics


class Timed(L.LightningModule):
    """A network and random data; remembers the wall time between the ends of its batches."""

    def __init__(self, net: nn.Module, batch: tuple[Tensor, Tensor], sequence: bool) -> None:
        super().__init__()
        self.net, self.batch, self.sequence = net, batch, sequence

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        x, y = self.batch
        out = self.net(x)
        loss = nn.functional.cross_entropy(out.flatten(0, 1) if self.sequence else out, y.flatten())
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-4)


class Clock(L.Callback):
    """Wall time of every step, from batch start to batch start."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.marks: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, *args: object) -> None:
        self.marks.append(time.perf_counter())
        trainer.should_stop = len(self.marks) >= self.steps


def mlp() -> Timed:
    layers: list[nn.Module] = []
    for _ in range(8):
        layers += [nn.Linear(512, 512), nn.ReLU()]
    return Timed(nn.Sequential(*layers, nn.Linear(512, 10)), (torch.randn(256, 512), torch.randint(10, (256,))), False)


def resnet() -> Timed:
    import torchvision

    net = torchvision.models.resnet18(num_classes=10)
    return Timed(net, (torch.randn(64, 3, 32, 32), torch.randint(10, (64,))), False)


def transformer() -> Timed:
    layer = nn.TransformerEncoderLayer(256, 4, 1024, 0.0, batch_first=True, norm_first=True)
    net = nn.Sequential(
        nn.Embedding(1000, 256), nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(256, 1000)
    )
    return Timed(net, (torch.randint(1000, (16, 128)), torch.randint(1000, (16, 128))), True)


_PLANNED = 100_000  # of so long a run every ``every``-th step is sampled; we train its beginning
WORKLOADS = {"MLP 8x512": mlp, "ResNet-18": resnet, "Transformer 4x256": transformer}


def fit(module: Timed, steps: int, every: int | None, root: str) -> tuple[list[float], set[int]]:
    """Train; return the seconds of each step and which of them were sampled."""
    clock = Clock(steps)
    callbacks: list[L.Callback] = [clock]
    diag = None
    if every is not None:
        diag = Diagnostics(every, verbose=False)
        callbacks.append(diag)
    trainer = L.Trainer(
        max_steps=_PLANNED, max_epochs=-1, callbacks=callbacks, default_root_dir=root, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=50,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(torch.zeros(_PLANNED, 1)))
    clock.marks.append(time.perf_counter())
    marks = clock.marks
    sampled = set(diag.history.steps.tolist()) if diag is not None else set()
    return [b - a for a, b in zip(marks, marks[1:], strict=False)], sampled


def measure(name: str, steps: int, cadence: int, every: int, rounds: int, root: str) -> None:
    module = WORKLOADS[name]()
    fit(module, 3, None, root)
    sampled_extra, idle, base = [], [], []
    for _ in range(rounds):
        plain, _ = fit(module, steps, None, root)
        with_diag, sampled = fit(module, steps, cadence, root)
        again, _ = fit(module, steps, None, root)
        reference = statistics.median(plain[2:-1] + again[2:-1])
        base.append(reference)
        took = {i: t / reference for i, t in enumerate(with_diag[:-1])}
        late = [i for i in sampled if 2 < i < steps - 1]
        # the writer thread may still work in the step after a sample: count both
        for step in (i for i in late if i + 1 not in sampled):
            sampled_extra.append(took[step] + took.get(step + 1, 1.0) - 2)
        quiet = [t for i, t in took.items() if i > 2 and i not in sampled and i - 1 not in sampled]
        idle.append(statistics.median(quiet))
    extra = statistics.median(sampled_extra)
    whole = statistics.mean(sampled_extra)
    print(
        f"{name:18s} step {1000 * statistics.median(base):7.1f} ms | one sampled step costs {extra:5.2f} steps extra "
        f"(mean {whole:.2f}) | unsampled steps x{statistics.median(idle):.3f} | every {every}: x{1 + extra / every:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of few steps")
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, lightning {L.__version__}, one thread")
    with tempfile.TemporaryDirectory() as root:
        for name in WORKLOADS:
            if options.only.lower() in name.lower():
                steps = 16 if options.quick else 64
                measure(name, steps, 10, options.every, 1 if options.quick else options.rounds, root)


if __name__ == "__main__":
    main()
