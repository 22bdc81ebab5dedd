"""Trainings in which the samples of a batch get among each other."""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Fit
from .plumbing_checks import explained, hits, mixed, scored, wired
from .plumbing_parts import both, marked_pairs, waves
from .program import pair
from .verify import every


class MarkReader(L.LightningModule):
    """A transformer over readings; the mean of what it says decides."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 24)
        layer = nn.TransformerEncoderLayer(24, 2, 48, dropout=0.0, batch_first=batch_first, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.encoder(self.embed(x))).mean(1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=4e-3, weight_decay=1e-3)


def marks(seed: int, sick: bool) -> Fit:
    """The encoder takes its input as (time, batch, feature) and gets (batch, time, feature)."""
    return Fit(MarkReader(not sick), **both(marked_pairs(), seed, 64), trainer={"max_epochs": 12})


class Forecaster(L.LightningModule):
    """Convolution, LSTM in its usual layout, one linear map from all its states."""

    def __init__(self, swap: bool) -> None:
        super().__init__()
        self.swap = swap
        self.conv = nn.Conv1d(1, 12, 3, padding=1)
        self.lstm = nn.LSTM(12, 16)
        self.head = nn.Linear(20 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(F.elu(self.conv(x[:, None])).permute(2, 0, 1))
        if self.swap:
            states = states.transpose(0, 1)
        return self.head(states.reshape(len(x), -1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.smooth_l1_loss(self(batch[0]), batch[1])
        self.log("huber", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        prediction = self(batch[0])
        self.log("val_huber", F.smooth_l1_loss(prediction, batch[1]))
        self.log("val_rmse", F.mse_loss(prediction, batch[1]).sqrt())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=6e-3)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)}


def forecast(seed: int, sick: bool) -> Fit:
    """The states come as (time, batch, width) and are flattened per sample without swapping the first two."""
    return Fit(Forecaster(not sick), **both(waves(), seed, 50), trainer={"max_epochs": 20})


def class_score(module: Any, batch: Any) -> float:
    return hits(module(batch[0]), batch[1])


def wave_score(module: Any, batch: Any) -> float:
    return explained(module(batch[0]), batch[1])


PAIRS = [
    *pair(
        "marked-readings", marks, sick=every(mixed(True), scored(class_score, high=0.7)),
        mended=every(scored(class_score, low=0.95), mixed(False), wired), accepted=("O012",), sites=("encoder",),
    ),
    *pair(
        "wave-states", forecast, sick=every(mixed(True), scored(wave_score, high=0.4)),
        mended=every(scored(wave_score, low=0.9), mixed(False), wired), accepted=("O012",),
    ),
]  # fmt: skip
