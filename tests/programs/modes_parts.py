"""Modules and data of the programs in modes.py: written the way different people write them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from .parts import Batch, Pair, digits, split


class Kept(L.LightningModule):
    """Keeps the losses and accuracies of its steps for the verification."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.val_losses: list[float] = []
        self.val_accuracies: list[float] = []

    def keep(self, loss: Tensor, accuracy: Any = None) -> None:
        """Remember the values of one step."""
        if self.trainer.training:
            self.losses.append(float(loss.detach()))
        elif not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            if accuracy is not None:
                self.val_accuracies.append(float(accuracy))


class DigitNet(Kept):
    """Eight convolutions with BatchNorm; before every epoch it notes how far its features spread on a probe."""

    def __init__(self, *, restore: bool) -> None:
        super().__init__()
        self.restore, self.spread = restore, 0.0
        self.criterion = nn.CrossEntropyLoss()
        layers: list[nn.Module] = []
        for i in range(8):
            layers += [nn.Conv2d(1 if i == 0 else 12, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if i == 2 else []
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(12 * 16, 10)
        self.register_buffer("probe", digits(image=True)[0].tensors[0][:32], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(images), 1))

    def on_train_epoch_start(self) -> None:
        self.features.eval()
        with torch.no_grad():
            self.spread = float(self.features(self.probe).std())
        if self.restore:
            self.features.train()

    def compute(self, batch: Batch) -> Tensor:
        return self.criterion(self(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        loss = self.compute(batch)
        self.log_dict({"train/loss": loss, "train/spread": self.spread})
        self.keep(loss)
        return {"loss": loss}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        loss, accuracy = self.criterion(logits, labels), (logits.argmax(1) == labels).float().mean()
        self.log_dict({"val/loss": loss, "val/accuracy": accuracy})
        self.keep(loss, accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class DropoutRegressor(Kept):
    """A wide regression network that lives on its dropout; every fifth step it scores its batch without dropout."""

    def __init__(self, *, restore: bool) -> None:
        super().__init__()
        self.restore = restore
        self.fc1, self.fc2, self.out = nn.Linear(10, 256), nn.Linear(256, 256), nn.Linear(256, 1)
        self.drop = nn.Dropout(0.6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(F.relu(self.fc1(x)))
        x = self.drop(F.relu(self.fc2(x)))
        return self.out(x)

    def score(self, batch: Batch) -> Tensor:
        """Return the explained share of the variance."""
        x, y = batch
        self.eval()
        with torch.no_grad():
            error = (self(x) - y).square().mean()
        if self.restore:
            self.train()
        return 1 - error / y.var()

    def compute(self, batch: Batch) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if batch_idx % 5 == 0:
            self.log("train_r2", self.score(batch))
        loss = self.compute(batch)
        self.log("train_mse", loss, on_step=False, on_epoch=True)
        self.keep(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_mse", loss)
        self.keep(loss)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)
        return [optimizer], [schedule]


class RowReader(Kept):
    """A GRU over the rows of a digit with dropout; one helper measures the accuracy of both kinds of step."""

    def __init__(self, *, leave_train: bool) -> None:
        super().__init__()
        self.leave_train = leave_train
        self.rnn = nn.GRU(8, 48, batch_first=True)
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(F.dropout(x.view(-1, 8, 8), 0.2, self.training))
        return self.fc(self.drop(states[:, -1]))

    def accuracy(self, batch: Batch) -> Tensor:
        """Return the accuracy without dropout."""
        was = self.training
        self.eval()
        with torch.no_grad():
            hits = (self(batch[0]).argmax(1) == batch[1]).float().mean()
        self.train(True if self.leave_train else was)
        return hits

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("loss", loss)
        if batch_idx == 0:
            self.log("acc", self.accuracy(batch))
        self.keep(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        accuracy = self.accuracy(batch)
        self.log("val_loss", loss)
        self.log("val_acc", accuracy)
        self.keep(loss, accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class TiedLanguageModel(Kept):
    """Next-token prediction by a GRU whose output matrix is its embedding."""

    def __init__(self, vocabulary: int = 64, width: int = 64, *, std: float | None) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        if std is not None:
            nn.init.normal_(self.embed.weight, std=std)
        self.rnn, self.norm = nn.GRU(width, width, batch_first=True), nn.LayerNorm(width)
        self.decoder = nn.Linear(width, vocabulary, bias=False)
        self.decoder.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.decoder(self.norm(self.rnn(self.embed(ids))[0]))

    def compute(self, batch: dict[str, Tensor]) -> Tensor:
        logits = self(batch["input_ids"])
        return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        loss = self.compute(batch)
        self.log("train_loss", loss, prog_bar=True)
        self.keep(loss)
        return {"loss": loss}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        loss = self.compute(batch)
        accuracy = (self(batch["input_ids"]).argmax(-1) == batch["labels"]).float().mean()
        self.log_dict({"eval_loss": loss, "eval_accuracy": accuracy})
        self.keep(loss, accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Pieces(Dataset[dict[str, Tensor]]):
    """Pieces of a text of a Markov chain as a list of dictionaries."""

    def __init__(self, ids: Tensor) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": self.ids[i, :-1], "labels": self.ids[i, 1:]}


@lru_cache
def chain(rows: int = 640, length: int = 17, vocabulary: int = 64) -> tuple[Pieces, Pieces]:
    """Every token is followed by one of four others, of unequal probability."""
    rng = np.random.default_rng(0)
    successors = np.stack([rng.permutation(vocabulary)[:4] for _ in range(vocabulary)])
    ids = np.zeros((rows, length), dtype=np.int64)
    ids[:, 0] = rng.integers(0, vocabulary, rows)
    for t in range(1, length):
        ids[:, t] = successors[ids[:, t - 1], rng.choice(4, rows, p=[0.85, 0.05, 0.05, 0.05])]
    text = torch.from_numpy(ids)
    return Pieces(text[:512]), Pieces(text[512:])


class Integrator(nn.Module):
    """State of a leaky memory: decay times itself plus the squashed input."""

    def __init__(self, inputs: int, width: int, decay: float) -> None:
        super().__init__()
        self.decay, self.enter = decay, nn.Linear(inputs, width)

    def forward(self, x: Tensor) -> Tensor:
        drive = torch.tanh(self.enter(x))
        state = torch.zeros_like(drive[:, 0])
        for t in range(x.shape[1]):
            state = self.decay * state + (1 - min(self.decay, 0.9)) * drive[:, t]
        return state


class GridLayer(nn.Module):
    """Every pixel takes the sum (or the mean) of its neighbourhood, then a linear map of the channels."""

    def __init__(self, inputs: int, outputs: int, *, mean: bool) -> None:
        super().__init__()
        self.own, self.near = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs, bias=False)
        cells = torch.cartesian_prod(torch.arange(8), torch.arange(8))
        near = ((cells[:, None] - cells[None]).abs().amax(-1) <= 1).float()
        self.register_buffer("adjacency", near / near.sum(1, keepdim=True) if mean else near)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.own(x) + self.near(self.adjacency @ x))


@lru_cache
def first_sign(rows: int = 768, length: int = 40) -> Pair:
    """Noise, and at the first step a mark that is the class."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, rows)
    x = np.concatenate([rng.normal(0, 0.2, (rows, length, 1)), np.zeros((rows, length, 1))], 2)
    x[:, 0, 1] = 2.0 * y - 1
    return split(x, y, train=512)


@lru_cache
def drifts(rows: int = 768, length: int = 32) -> Pair:
    """Three noisy channels, one of which drifts upwards in the later half; the class is which."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, rows)
    x = rng.normal(0, 1, (rows, length, 3))
    x[np.arange(rows), length // 2 :, y] += 0.7
    return split(x, y, train=512)


def grid(data: Pair) -> Pair:
    """Digits as 64 nodes with the pixel and its place."""
    place = torch.cartesian_prod(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8))
    train, val = (
        TensorDataset(torch.cat([d.tensors[0][:, :, None], place.expand(len(d), 64, 2)], 2), d.tensors[1]) for d in data
    )
    return train, val
