"""A small regression problem, and a module that knows nothing of preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


def data(n: int = 96) -> TensorDataset:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=rng) * torch.tensor([1.0, 50.0, 0.01, 3.0]) + torch.tensor([0.0, 1000.0, -2.0, 7.0])
    return TensorDataset(x, x[:, 1:2] * 20 + x[:, :1] * 100 - 5000)


class Net(L.LightningModule):
    """A plain module: forward, loss, and notes of what came by."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 1))
        self.seen: list[Tensor] = []
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: Any, _: int) -> Tensor:
        loss = nn.functional.mse_loss(self(batch[0]), batch[1])
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self(batch[0]), batch[1]))

    test_step = validation_step

    def predict_step(self, batch: Any, _: int) -> Tensor:
        out: Tensor = self(batch[0])
        return out

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.05)


def loader(shuffle: bool = False, **kwargs: Any) -> DataLoader[Any]:
    return DataLoader(data(), batch_size=16, shuffle=shuffle, **kwargs)


def trainer(path: Path, *callbacks: Any, **kwargs: Any) -> L.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    kwargs = {"max_epochs": 1, "enable_checkpointing": False, "accelerator": "cpu", **quiet, **kwargs}
    return L.Trainer(default_root_dir=path, callbacks=list(callbacks), **kwargs)
