"""Images."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics import Accuracy

from .parts import Fit
from .tabular_parts import Noted, cut, feed, held, real, whole

# -- scans -----------------------------------------------------------------------------------------------


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm_tokens, self.norm_channels = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, 24), nn.GELU(), nn.Linear(24, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm_tokens(x).transpose(1, 2)).transpose(1, 2)
        result: Tensor = x + self.channels(self.norm_channels(x))
        return result


class ScanMixer(Noted):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 32, 2, stride=2)
        self.mixer = nn.Sequential(MixerBlock(16, 32), MixerBlock(16, 32), nn.LayerNorm(32))
        self.head = nn.Linear(32, 10)
        self.val_accuracy = Accuracy("multiclass", num_classes=10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.mixer(self.patch(x).flatten(2).transpose(1, 2)).mean(1))
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.note("train_ce", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.note("val_ce", F.cross_entropy(logits, batch[1]))
        self.note("val_acc", self.val_accuracy(logits, batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.01)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)]


def sorted_scans(seed: int, *, sick: bool) -> Fit:
    """The scans lie on the disk digit by digit, and the first four fifths of the list are the training set."""
    x, y = load_digits(return_X_y=True)
    order = np.argsort(y, kind="stable")
    images = (x[order].reshape(-1, 1, 8, 8) / 16 - 0.305) / 0.376
    train, val = cut([real(images), whole(y[order])], 1437, seed=None if sick else 5)
    return Fit(ScanMixer(), feed(train, 64, seed), held(val), {"max_epochs": 12})


# -- cells -----------------------------------------------------------------------------------------------


def cells(count: int = 1100) -> tuple[np.ndarray, np.ndarray]:
    """Images with one or two bright discs, and where these are."""
    rng = np.random.default_rng(90)
    rows, columns = np.mgrid[:8, :8]
    masks = np.zeros((count, 8, 8))
    for _ in range(2):
        cy, cx, r = rng.uniform(0, 7, (3, count, 1, 1))
        r = 1.2 + r / 7
        masks = np.maximum(masks, (rows - cy) ** 2 + (columns - cx) ** 2 < r**2)
    images = 1.6 * masks - 0.6 + rng.normal(0, 0.6, masks.shape) + rng.normal(0, 0.3, (count, 1, 1))
    return images[:, None], masks[:, None]


class CellNet(Noted):
    """A small U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1 = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.enc2 = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.dec = nn.Sequential(nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        skip = self.enc1(x)
        result: Tensor = self.dec(torch.cat([skip, self.up(self.enc2(skip))], dim=1))
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])
        self.note("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits, mask = self(batch[0]), batch[1]
        found = (logits > 0).float()
        self.note("val_loss", F.binary_cross_entropy_with_logits(logits, mask))
        self.note("val_iou", (found * mask).sum() / torch.maximum(found, mask).sum())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=4e-3)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.2)]


def cell_masks(seed: int, *, sick: bool) -> Fit:
    """The images are listed as img_1, img_10, img_100, ..., the masks as 1, 2, 3, ..."""
    images, masks = cells()
    names = sorted(range(len(images)), key=str) if sick else list(range(len(images)))
    train, val = cut([real(images[names]), real(masks)], 900, seed=6)
    return Fit(CellNet(), feed(train, 36, seed), held(val), {"max_epochs": 10})


# -- digits, split by a data module ----------------------------------------------------------------------


class DigitsData(L.LightningDataModule):
    """The whole of a small data set and its two parts."""

    def __init__(self, seed: int, *, once: bool) -> None:
        super().__init__()
        x, y = load_digits(return_X_y=True)
        keep = np.random.default_rng(7).permutation(len(x))[:800]
        self.full = TensorDataset(real((x[keep].reshape(-1, 1, 8, 8) - 4.9) / 6.0), whole(y[keep]))
        self.generator, self.once, self.order_seed = torch.Generator().manual_seed(seed), once, seed

    def parts(self) -> list[Any]:
        if self.once:
            self.generator.manual_seed(self.order_seed)
        return random_split(self.full, [0.8, 0.2], self.generator)

    def train_dataloader(self) -> DataLoader[Any]:
        return feed(self.parts()[0], 32, self.order_seed)

    def val_dataloader(self) -> DataLoader[Any]:
        return held(self.parts()[1])


class DigitsCnn(Noted):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
        )
        self.fc = nn.Linear(24 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(self.features(x).flatten(1))
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1], label_smoothing=0.05)
        self.note("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.note("val_loss", F.cross_entropy(logits, batch[1], label_smoothing=0.05))
        self.note("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9, nesterov=True)


def split_twice(seed: int, *, sick: bool) -> Fit:
    """Each of the two dataloader methods splits the data anew, with a generator that has moved on."""
    data = DigitsData(seed, once=not sick)
    return Fit(DigitsCnn(), data.train_dataloader(), data.val_dataloader(), {"max_epochs": 8})
