"""The demo: one network on real digits, twice; only the scale of its first weights differs.

The sick one is a deep ReLU network that starts with weights far too small (or, with ``--start hot``, far too large);
its healthy twin starts with He's initialization. Both are watched by :class:`~lightning_diag.Diagnostics`.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag.callbacks.diagnostics import Diagnostics

if TYPE_CHECKING:
    from lightning_diag.findings import Report

WIDTH, DEPTH, EPOCHS = 64, 6, 12
STARTS = {"tiny": 0.01, "hot": 0.6}
NO_SKLEARN = 'The demo needs scikit-learn for its data. Install it with: pip install "lightning-diag[examples]"'


@dataclass(frozen=True)
class Result:
    """How one of the two trainings went."""

    name: str
    accuracy: float
    report: Report
    log_dir: Path


class Digits(L.LightningModule):
    """A deep ReLU network for 8x8 digits; ``std`` of its first weights, None for He's."""

    def __init__(self, std: float | None, lr: float = 0.05) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(DEPTH):
            layers += [nn.Linear(64 if i == 0 else WIDTH, WIDTH), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
        self.lr = lr
        for layer in self.net.modules():
            if isinstance(layer, nn.Linear):
                if std is None:
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                else:
                    nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, shape (batch, 10)."""
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the cross entropy of one batch."""
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Log loss and accuracy on rows never trained on."""
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Progress(L.Callback):
    """One line an epoch."""

    def __init__(self, name: str) -> None:
        self.name, self.start = name, time.perf_counter()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print where the training stands."""
        seen = trainer.callback_metrics
        if not trainer.sanity_checking and "train_loss" in seen:
            print(
                f"  {self.name}: epoch {trainer.current_epoch + 1:2}/{trainer.max_epochs}"
                f"  train_loss {float(seen['train_loss']):6.3f}  val_acc {float(seen['val_acc']):.3f}"
                f"  {time.perf_counter() - self.start:4.1f} s",
                flush=True,
            )


def loaders(seed: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return training (1347 rows) and validation (450 rows) loaders of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    data = TensorDataset(torch.as_tensor(x).float()[order] / 16, torch.as_tensor(y)[order])
    train, val = torch.utils.data.Subset(data, range(1347)), torch.utils.data.Subset(data, range(1347, len(data)))
    return DataLoader(train, 64, shuffle=True, drop_last=True, generator=generator), DataLoader(val, 450)


def train(name: str, std: float | None, args: argparse.Namespace) -> Result:
    """Train one of the two networks, watched."""
    L.seed_everything(args.seed, verbose=False)
    module, (train_data, val_data) = Digits(std), loaders(args.seed)
    diagnostics = Diagnostics()
    logger = TensorBoardLogger(args.log_dir, name=name)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=max(EPOCHS // 3, 1) if args.quick else EPOCHS,
        logger=logger,
        callbacks=[Progress(name), diagnostics],
        log_every_n_steps=5,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train_data, val_data)
    return Result(name, float(trainer.callback_metrics["val_acc"]), diagnostics.report, Path(logger.log_dir))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="lightning-diag demo", description=__doc__)
    parser.add_argument("--start", choices=sorted(STARTS), default="tiny", help="how the sick network starts")
    parser.add_argument("--quick", action="store_true", help="a third of the epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-dir", default="lightning_logs", help="where TensorBoard will look")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 if the sick network was judged sick and its twin healthy, else 1, 2 where data are missing."""
    args = parse(argv)
    try:
        import sklearn  # noqa: F401 - asked before anything is trained
    except ImportError:
        print(NO_SKLEARN, file=sys.stderr)
        return 2
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)  # a network this small is slower on more
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        std = STARTS[args.start]
        print(f"1. Sick: {DEPTH} hidden ReLU layers, weights drawn from N(0, {std})", flush=True)
        sick = train("sick", std, args)
        print("\n2. Its twin: the same network and data, weights drawn with He's initialization", flush=True)
        twin = train("twin", None, args)
    print()
    for result in (sick, twin):
        primary = result.report.primary
        print(f"{result.name}: accuracy {result.accuracy:.3f}; {result.report.summary()}")
        print(f"      {primary}" if primary else "      nothing wrong was found", f"\n      {result.log_dir}")
    print(f"\nLook at both:  tensorboard --logdir {shlex.quote(str(args.log_dir))}")
    return 0 if not sick.report.ok and sick.report.primary and twin.report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
