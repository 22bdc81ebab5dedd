"""A small classifier of real digits, trained as its recipe says; and what was seen while it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Recipe, RecipeMixin

BARE = {"init": None, "bias_init": None}  # leave the weights as torch draws them


# What Lightning tells anybody: few workers, no validation loader, and a use of torch that is about to go.
FAMILIAR = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore:.*does not have many workers",
    "ignore:You defined a `validation_step` but have no `val_dataloader`",
    "ignore:The number of training batches",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    "ignore:.*weights_only.*",
    "ignore:The dirpath has changed",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:.*GPU available",
)


class Digits(RecipeMixin, L.LightningModule):
    """64 pixels, one hidden layer with a norm and a PReLU, 10 classes."""

    def __init__(self, width: int = 12, recipe: Recipe | Mapping[str, Any] | None = None) -> None:
        super().__init__(recipe=recipe)
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(64, width), nn.LayerNorm(width), nn.PReLU(), nn.Linear(width, 10))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())


class Seen(L.Callback):
    """Writes down the rates of every optimizer step, and the gradient's norm before and after clipping."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.by_group: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
            self.by_group.append({g.get("name", ""): g["lr"] for g in trainer.optimizers[0].param_groups})


@cache
def rows() -> tuple[Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    return torch.as_tensor(x, dtype=torch.float32) / 16, torch.as_tensor(y)


def loader(n: int = 96, batch_size: int = 16) -> DataLoader[Any]:
    x, y = rows()
    return DataLoader(TensorDataset(x[:n], y[:n]), batch_size)


def trainer(*callbacks: L.Callback, family: Any = L, **options: Any) -> Any:
    quiet = {
        "max_epochs": 2, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accelerator": "cpu", "devices": 1, "callbacks": list(callbacks),
    }  # fmt: skip
    return family.Trainer(**{**quiet, **options})


def takes_callbacks_of_lightning(family: Any) -> bool:
    """Return whether the Trainer of a family does: older ones of pytorch_lightning look for their own base class."""
    try:
        trainer(L.Callback(), family=family)
    except (TypeError, ValueError):
        return False
    return True


def fit(
    recipe: Recipe, *callbacks: L.Callback, val: bool = True, n: int = 96, **options: Any
) -> tuple[Digits, Seen, Any]:
    """Train on ``n`` digits in batches of 16; return the module, what was seen, and the Trainer."""
    torch.manual_seed(0)
    module, seen = Digits(recipe=recipe), Seen()
    made = trainer(seen, *callbacks, **options)
    made.fit(module, loader(n), loader(64, 64) if val else None)
    return module, seen, made
