"""Inputs and targets in odd units: what standardizing does, without a change to the module.

Run: python examples/standardize.py [--quick]
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Preprocess


class Net(L.LightningModule):
    """A regression that knows nothing of preprocessing."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return nn.functional.mse_loss(self(batch[0]), batch[1])

    def predict_step(self, batch: list[Tensor], _: int) -> Tensor:
        out: Tensor = self(batch[0])
        return out

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 3e-3)


def loaders(batch_size: int = 32) -> tuple[DataLoader[Any], DataLoader[Any]]:
    x, y = load_diabetes(return_X_y=True, scaled=False)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    inputs, targets = torch.tensor(x, dtype=torch.float32)[order], torch.tensor(y, dtype=torch.float32)[order, None]
    parts = [TensorDataset(inputs[s], targets[s]) for s in (slice(0, 342), slice(342, None))]
    return DataLoader(parts[0], batch_size, shuffle=True), DataLoader(parts[1], batch_size)


def unexplained(path: str | None, epochs: int, callbacks: list[L.Callback]) -> float:
    """Return which share of the variance of held-out targets a fit leaves unexplained."""
    L.seed_everything(0, verbose=False)
    train, test = loaders()
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    net, trainer = Net(), L.Trainer(max_epochs=epochs, callbacks=callbacks, default_root_dir=path, accelerator="cpu",
                                    enable_checkpointing=False, **quiet)  # fmt: skip
    trainer.fit(net, train)
    predicted = torch.cat(trainer.predict(net, test))  # type: ignore[arg-type]
    targets = torch.cat([y for _, y in test])
    return float((predicted - targets).square().mean() / targets.var())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a few epochs")
    epochs = 6 if parser.parse_args(argv).quick else 40
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(lightning|torch)\b.*")
    ways = {
        "as they are": [],
        "inputs standardized": [Preprocess("channel")],
        "inputs and targets standardized": [Preprocess("channel", target="standardize")],
    }
    for way, callbacks in ways.items():
        print(f"{way:33} unexplained variance {unexplained(None, epochs, list(callbacks)):.2f}")


if __name__ == "__main__":
    main()
