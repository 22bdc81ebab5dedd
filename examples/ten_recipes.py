"""Ten recipes for one network on real digits, and one table of what each comes to.

The network is written once; a recipe says how it is trained. Try your own: add a row to RECIPES.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Recipe, RecipeMixin
from lightning_diag.callbacks import loader

RECIPES = {
    "the lectures' defaults": Recipe(),
    "gradient descent, constant": Recipe(optimizer="sgd", momentum=0.0, lr=0.1, schedule="constant"),
    "momentum, steps": Recipe(optimizer="momentum", lr=0.05, schedule="step", schedule_options={"factor": 0.2}),
    "Nesterov, 1/t": Recipe(optimizer="nesterov", lr=0.05, schedule="inverse_time", batch_size=64),
    "RMSprop, exponential": Recipe(optimizer="rmsprop", lr=1e-3, schedule="exponential", init="orthogonal"),
    "AdamW, warmup and cosine": Recipe(optimizer="adamw", lr=3e-3, weight_decay=0.05, schedule="cosine", warmup=0.1),
    "the same, BatchNorm, standardized": Recipe(
        optimizer="adamw", lr=3e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, norm="batch", standardize="mean"
    ),
    "one cycle, EMA": Recipe(optimizer="sgd", lr=0.2, schedule="one_cycle", averaging="ema", gradient_clip_val=1.0),
    "GELU, dropout, L1": Recipe(lr=3e-3, schedule="linear", activation="gelu", dropout=0.1, l1=1e-5),
    "restarts, layer decay, small head": Recipe(
        optimizer="nadam", lr=3e-3, schedule="cosine_restarts", layer_decay=0.7, output_init="small"
    ),
}


class Digits(RecipeMixin, L.LightningModule):
    """A ReLU network for 8x8 digits."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe=recipe)
        hidden = (nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.net = nn.Sequential(*hidden, nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())


def data() -> tuple[TensorDataset, TensorDataset]:
    """Return 1347 digits to train on and 450 others to validate."""
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = torch.as_tensor(x).float()[order] / 16, torch.as_tensor(y)[order]
    return TensorDataset(x[:1347], y[:1347]), TensorDataset(x[1347:], y[1347:])


def train(recipe: Recipe, epochs: int) -> dict[str, Any]:
    """Return the validation metrics of one training."""
    L.seed_everything(0, verbose=False)
    training, validation = data()
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Digits(recipe), loader(training, recipe), DataLoader(validation, 450))
    return trainer.callback_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one epoch each instead of 15")
    epochs = 1 if parser.parse_args().quick else 15
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    print(f"{'recipe':<35}{'val_loss':>9}{'val_acc':>9}")
    for name, recipe in RECIPES.items():
        metrics = train(recipe, epochs)
        print(f"{name:<35}{float(metrics['val_loss']):9.3f}{float(metrics['val_acc']):9.3f}", flush=True)


if __name__ == "__main__":
    main()
