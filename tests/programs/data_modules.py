"""Modules of the programs in data_faults.py, written the way different people write them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .losses_parts import Kept
from .parts import Batch


class SalesNet(Kept):
    """Functional GELU network on dictionaries."""

    def __init__(self, width: int = 48, *, target: str = "target", rate: float = 3e-3, inputs: int = 7) -> None:
        super().__init__()
        self.target, self.rate = target, rate
        self.fc1, self.fc2, self.out = nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(F.gelu(self.fc2(F.gelu(self.fc1(features))))).squeeze(-1)

    def compute(self, batch: dict[str, Tensor]) -> Tensor:
        return F.mse_loss(self(batch["features"]), batch[self.target])

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        loss = self.compute(batch)
        self.log("train/mse", loss, prog_bar=True)
        self.keep(loss)
        return {"loss": loss}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val/mse", loss)
        self.keep(loss)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.AdamW(self.parameters(), lr=self.rate, weight_decay=1e-2))


class Labeller(Kept):
    """Cross entropy of what the subclass's forward makes of x."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion = nn.CrossEntropyLoss()

    def compute(self, batch: Batch) -> Tensor:
        x, y = batch
        return self.criterion(self(x), y)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("loss", loss)
        self.keep(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, y = batch
        scores = self(x)
        loss, accuracy = self.criterion(scores, y), (scores.argmax(dim=1) == y).float().mean()
        self.log_dict({"val_loss": loss, "val_accuracy": accuracy})
        self.keep(loss, accuracy)


class CellTyper(Labeller):
    """A SiLU network with dropout under SGD with momentum."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(24, 64), nn.SiLU(), nn.Dropout(0.3), nn.Linear(64, 32), nn.SiLU())
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-3))


class Forecaster(Kept):
    """A recurrent network and a linear output; the loss is chosen by name."""

    def __init__(self, kind: str, inputs: int, width: int, *, loss: str, rate: float) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(inputs, width, batch_first=True)
        self.fc = nn.Linear(width, 1)
        self.loss_fn, self.rate = getattr(nn, loss)(), rate

    def forward(self, window: Tensor) -> Tensor:
        states, _ = self.rnn(window)
        return self.fc(states[:, -1])

    def compute(self, batch: Batch) -> Tensor:
        return self.loss_fn(self(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        loss = self.compute(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.keep(loss)
        return {"loss": loss, "size": torch.tensor(len(batch[0]))}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_loss", loss)
        self.keep(loss)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.Adam(self.parameters(), lr=self.rate))


class Alarm(Kept):
    """One logit for a rare event; the positive rows may be given a weight."""

    def __init__(self, weight: float | None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
        self.criterion = nn.BCEWithLogitsLoss(pos_weight=None if weight is None else torch.tensor(weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).flatten()

    def compute(self, batch: Batch) -> Tensor:
        return self.criterion(self(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_bce", loss)
        self.keep(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self(batch[0])
        loss, accuracy = self.criterion(logits, batch[1]), ((logits > 0).float() == batch[1]).float().mean()
        self.log("val_bce", loss)
        self.log("val_acc", accuracy)
        self.keep(loss, accuracy)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.Adam(self.parameters(), lr=5e-3))


class BeatNet(Labeller):
    """Convolutions over time, GroupNorm, mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv1d(1, 16, 5, padding=2), nn.GroupNorm(4, 16)
        self.conv2, self.norm2 = nn.Conv1d(16, 24, 5, padding=2), nn.GroupNorm(4, 24)
        self.drop, self.fc = nn.Dropout(0.1), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.relu(self.norm2(self.conv2(x)))
        return self.fc(self.drop(x.amax(dim=-1)))

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.RMSprop(self.parameters(), lr=2e-3))


class RowTransformer(Labeller):
    """Pre-norm attention over the rows of an image."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(0.1 * torch.randn(8, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, 0.1, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.norm(self.encoder(self.embed(rows) + self.position).mean(1)))

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.AdamW(self.parameters(), lr=4e-3, weight_decay=0.05))


class ArrowNet(Labeller):
    """A small convolutional network that shifts its training images at random, and mirrors them if told so."""

    def __init__(self, *, mirror: bool) -> None:
        super().__init__()
        self.mirror = mirror
        self.c1, self.b1 = nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.c2, self.b2 = nn.Conv2d(12, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16 * 9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.leaky_relu(self.b1(self.c1(x)), 0.1), 2)
        x = F.max_pool2d(F.leaky_relu(self.b2(self.c2(x)), 0.1), 2)
        return self.fc(x.flatten(1))

    def augment(self, images: Tensor) -> Tensor:
        """Shift a batch by a pixel at most and flip half of its images along each axis."""
        dx, dy = torch.randint(-1, 2, (2,)).tolist()
        images = torch.roll(images, (dx, dy), (2, 3))
        for axis in (2, 3) if self.mirror else ():
            flip = torch.rand(len(images), 1, 1, 1) < 0.5
            images = torch.where(flip, images.flip(axis), images)
        return images

    def compute(self, batch: Batch) -> Tensor:
        x, y = batch
        return self.criterion(self(self.augment(x) if self.training else x), y)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3))
