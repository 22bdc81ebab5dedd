"""Modules and data of the programs in schedules.py: written the way different people write them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from .parts import Pair, Task, split

Named = dict[str, Tensor]


class Rated(Task):
    """Remembers the rate of every step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rates: list[float] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])


class Notebook(L.LightningModule):
    """Writes down losses, accuracies and rates."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.val_losses: list[float] = []
        self.val_accuracies: list[float] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    def jot(self, loss: Tensor, accuracy: Any = None) -> None:
        """Write down one step."""
        if self.trainer.training:
            self.losses.append(float(loss.detach()))
        elif not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            if accuracy is not None:
                self.val_accuracies.append(float(accuracy))


class LeNet(Notebook):
    """Two convolutions and two linear layers, functional in between."""

    def __init__(self, lr: float, classes: int = 10, milestones: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc1 = nn.Linear(64 if classes == 10 else 144, 48)
        self.fc2 = nn.Linear(48, classes)
        for layer in (self.conv1, self.conv2, self.fc1):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(x)

    def compute(self, batch: Any) -> Tensor:
        x, y = batch
        return self.criterion(self(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.jot(loss)
        self.log("loss/train", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        loss = self.criterion(logits, y)
        accuracy = (logits.argmax(1) == y).float().mean()
        self.jot(loss, accuracy)
        self.log_dict({"loss/val": loss, "acc/val": accuracy})

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=0.9)
        if self.hparams["milestones"]:
            return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, self.hparams["milestones"])]
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


class TopicTransformer(Notebook):
    """Two encoder layers over tokens; steps return dicts."""

    def __init__(self, lr: float, warmup: int = 15) -> None:
        super().__init__()
        self.lr, self.warmup = lr, warmup
        self.tok = nn.Embedding(32, 32)
        self.pos = nn.Embedding(12, 32)
        block = nn.TransformerEncoderLayer(32, 4, 48, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.cls = nn.Linear(32, 4)
        nn.init.normal_(self.tok.weight, std=0.3)
        nn.init.normal_(self.pos.weight, std=0.1)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.cls(self.blocks(self.tok(ids) + self.pos(places)).mean(dim=1))

    def compute(self, batch: Named) -> Tensor:
        return F.cross_entropy(self(batch["ids"]), batch["label"])

    def training_step(self, batch: Named, batch_idx: int) -> Any:
        loss = self.compute(batch)
        self.jot(loss)
        self.log("train/loss", loss, prog_bar=True)
        return {"loss": loss}

    def validation_step(self, batch: Named, batch_idx: int) -> Any:
        logits = self(batch["ids"])
        loss = F.cross_entropy(logits, batch["label"])
        hits = (logits.argmax(-1) == batch["label"]).float().mean()
        self.jot(loss, hits)
        self.log("val/loss", loss, prog_bar=True)
        self.log("val/acc", hits, prog_bar=True)
        return {"val_loss": loss}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=0.01)
        steps = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / self.warmup) * (1 - 0.95 * step / steps)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Waves(Notebook):
    """A recurrent network over a signal: which frequency it has, or (``forecast``) its next value."""

    def __init__(self, cell: type[nn.RNNBase], lr: float, *, forecast: bool = False, milestones: Any = ()) -> None:
        super().__init__()
        self.lr, self.forecast, self.milestones = lr, forecast, milestones
        self.rnn = cell(1, 32, batch_first=True)  # type: ignore[arg-type]
        self.out = nn.Linear(32, 1 if forecast else 4)

    def forward(self, signal: Tensor) -> Tensor:
        states, _ = self.rnn(signal)
        return self.out(states[:, -1])

    def compute(self, batch: Any) -> Tensor:
        signal, target = batch
        prediction = self(signal)
        return F.mse_loss(prediction, target) if self.forecast else F.cross_entropy(prediction, target)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.jot(loss)
        self.log("train", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.compute(batch)
        accuracy = None if self.forecast else (self(batch[0]).argmax(1) == batch[1]).float().mean()
        self.jot(loss, accuracy)
        self.log("valid", loss)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        if self.milestones:
            return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, self.milestones, gamma=0.2)]
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Compressor(Notebook):
    """An autoencoder that is optimized by hand."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, code))
        self.decoder = nn.Sequential(nn.Linear(code, 64), nn.GELU(), nn.Linear(64, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))

    def compute(self, batch: Any) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[0])

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        loss = self.compute(batch)
        optimizer.zero_grad()  # type: ignore[union-attr]
        self.manual_backward(loss)
        optimizer.step()  # type: ignore[union-attr]
        schedule.step()  # type: ignore[union-attr]
        self.jot(loss)
        self.log("reconstruction", loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.jot(loss)
        self.log("val_reconstruction", loss)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=4e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)]


class Rows(Dataset[Named]):
    """Rows as dicts."""

    def __init__(self, ids: Tensor, label: Tensor) -> None:
        self.ids, self.label = ids, label

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, i: int) -> Named:
        return {"ids": self.ids[i], "label": self.label[i]}


@lru_cache
def topics() -> tuple[Rows, Rows]:
    """Twelve tokens, a third to two thirds of them of one of four topics (eight tokens each)."""
    rng = np.random.default_rng(0)
    label = rng.integers(4, size=1408)
    own = rng.random((1408, 12)) < 0.55
    ids = np.where(own, label[:, None] * 8 + rng.integers(8, size=(1408, 12)), rng.integers(32, size=(1408, 12)))
    x, y = torch.from_numpy(ids), torch.from_numpy(label)
    return Rows(x[:1152], y[:1152]), Rows(x[1152:], y[1152:])


@lru_cache
def waves(*, forecast: bool = False) -> Pair:
    """Noisy sinusoids of four frequencies: the frequency, or the next value."""
    rng = np.random.default_rng(1)
    kind, phase = rng.integers(4, size=(1536, 1)), rng.random((1536, 1)) * 2 * np.pi
    signal = np.sin((0.4 + 0.35 * kind) * np.arange(15) + phase) + 0.1 * rng.standard_normal((1536, 15))
    if forecast:
        return split(signal[:, :14, None], signal[:, 14:], train=1152, kind=torch.float32)
    return split(signal[:, :14, None], kind[:, 0], train=1152)


@lru_cache
def bars() -> Pair:
    """12x12 images with noise and one bar: upright, lying, or one of the two diagonals."""
    rng = np.random.default_rng(2)
    kind, x = rng.integers(4, size=1536), 0.3 * rng.standard_normal((1536, 1, 12, 12))
    for i, k in enumerate(kind):
        a, b, t = rng.integers(2, 10), rng.integers(2, 6), np.arange(6)
        rows, columns = ((t + b, a + 0 * t), (a + 0 * t, t + b), (t + b, t + a // 2), (t + b, 10 - a // 2 - t))[k]
        x[i, 0, rows, columns] += 1.0
    return split(x, kind, train=1152)


@lru_cache
def friedman(train: int = 1024, *, squares: bool = False, noise: float = 0.5) -> Pair:
    """Friedman's first function, standardized; ``squares``: with all products of two features."""
    x, y = datasets.make_friedman1(1536, n_features=6, noise=noise, random_state=0)
    if squares:
        a, b = np.triu_indices(6)
        x = np.concatenate([x - 0.25, (x[:, a] - 0.25) * (x[:, b] - 0.25)], 1)
    x = (x - x.mean(0)) / x.std(0)
    return split(x, ((y - y.mean()) / y.std())[:, None], train=train, kind=torch.float32)


@lru_cache
def rings(noise: float = 0.12) -> Pair:
    """Three rings round one centre."""
    rng = np.random.default_rng(3)
    kind = rng.integers(3, size=1280)
    radius, angle = 0.5 + kind * 0.7 + noise * rng.standard_normal(1280), rng.random(1280) * 2 * np.pi
    return split(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), kind, train=1024)


def few(data: Pair, rows: int) -> Pair:
    """Keep the first training rows only."""
    x, y = data[0].tensors
    return TensorDataset(x[:rows], y[:rows]), data[1]
