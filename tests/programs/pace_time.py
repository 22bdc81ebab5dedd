"""Trainings on signals and series."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .pace_parts import Remembering, Rows, cut, outlines, tones, whole
from .parts import Fit


class ToneFinder(Remembering):
    """Names the frequencies in a signal: several labels, batches as dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(1, 16, 15, padding=7), nn.ReLU(), nn.Conv1d(16, 16, 5), nn.ReLU())
        self.labels = nn.Linear(16, 5)
        self.criterion = nn.BCEWithLogitsLoss()

    def forward(self, signal: Tensor) -> Tensor:
        return self.labels(self.features(signal).mean(-1))  # type: ignore[no-any-return]

    def compute(self, batch: dict[str, Tensor]) -> Tensor:
        return self.criterion(self(batch["signal"]), batch["labels"])  # type: ignore[no-any-return]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("bce", loss)
        return self.keep(loss)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        logits, loss = self(batch["signal"]), self.compute(batch)
        right = ((logits > 0) == (batch["labels"] > 0.5)).float().mean()
        self.log_dict({"val_bce": loss, "val_hamming_acc": right})
        self.judge(loss, right)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def tone_labels(seed: int, *, sick: bool) -> Fit:
    """The author gathers the gradients of a whole epoch for one step."""
    x, y = tones(1024, 0)
    x = x / x.std()
    train, val = Rows(signal=x[:768], labels=y[:768]), Rows(signal=x[768:], labels=y[768:])
    options = {"max_epochs": 60, "accumulate_grad_batches": 8 if sick else 1}
    return Fit(ToneFinder(), DataLoader(train, 96, shuffle=True), whole(val), options)


class ValueNet(Remembering):
    """Learns the value of states from transitions; no gradient goes through the target."""

    def __init__(self, inverted: bool, gamma: float = 0.8) -> None:
        super().__init__()
        self.discount = 1 / gamma if inverted else gamma
        self.v = nn.Sequential(nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 1))

    def compute(self, batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            target = batch["reward"] + self.discount * self.v(batch["next"]).squeeze(1)
        return F.mse_loss(self.v(batch["state"]).squeeze(1), target)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("td_loss", loss)
        return self.keep(loss)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        loss, value = self.compute(batch), self.v(batch["state"]).abs().mean()
        self.log_dict({"val_td_loss": loss, "mean_value": value})
        self.judge(loss, value)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def pendulum(count: int) -> Rows:
    """Return transitions of a damped pendulum; the reward is for being upright."""
    rng = np.random.default_rng(0)
    angle, speed = rng.uniform(-1.5, 1.5, count), rng.uniform(-1.5, 1.5, count)
    faster = 0.9 * speed - 0.3 * np.sin(angle) + rng.normal(0, 0.05, count)
    after = np.stack([angle + 0.3 * faster, faster], 1)
    columns = {"state": np.stack([angle, speed], 1), "next": after, "reward": np.cos(angle) - 0.1 * speed**2}
    return Rows(**{name: torch.tensor(c).float() for name, c in columns.items()})


def pendulum_value(seed: int, *, sick: bool) -> Fit:
    """The author divides the next value by the discount instead of multiplying."""
    data = pendulum(2560)
    train = Rows(**{n: c[:2048] for n, c in data.columns.items()})
    val = Rows(**{n: c[2048:] for n, c in data.columns.items()})
    return Fit(ValueNet(sick), DataLoader(train, 64, shuffle=True), whole(val), {"max_epochs": 20})


class Forecaster(Remembering):
    """Dilated causal convolutions over a series; the learning rate goes up and down."""

    def __init__(self, peak: float, width: int = 16) -> None:
        super().__init__()
        self.peak = peak
        self.layers = nn.ModuleList(nn.Conv1d(1 if i == 0 else width, width, 3, dilation=2**i) for i in range(3))
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x.unsqueeze(1)
        for i, conv in enumerate(self.layers):
            h = torch.tanh(conv(F.pad(h, (2 * 2**i, 0))))
        return self.head(h[:, :, -1])  # type: ignore[no-any-return]

    def compute(self, batch: list[Tensor]) -> Tensor:
        return F.smooth_l1_loss(self(batch[0]), batch[1])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_huber", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, mae = self.compute(batch), F.l1_loss(self(batch[0]), batch[1])
        self.log_dict({"val_huber": loss, "val_mae": mae})
        self.judge(loss, mae)

    def configure_optimizers(self) -> Any:
        opt = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
        sch = torch.optim.lr_scheduler.CyclicLR(opt, base_lr=0.01, max_lr=self.peak, step_size_up=30)
        return [opt], [{"scheduler": sch, "interval": "step"}]


def load_series(window: int = 24) -> tuple[Tensor, Tensor]:
    """Return windows of an hourly load with daily and weekly rhythm, and the value after each."""
    t = np.arange(1800)
    rng = np.random.default_rng(0)
    series = np.sin(2 * np.pi * t / 24) + 0.5 * np.sin(4 * np.pi * t / 24 + 1) + 0.5 * np.sin(2 * np.pi * t / 168)
    series = series + rng.normal(0, 0.1, len(t))
    series = (series - series.mean()) / series.std()
    x = np.lib.stride_tricks.sliding_window_view(series, window)[:-1]
    return torch.tensor(x.copy()).float(), torch.tensor(series[window:, None].copy()).float()


def load_forecast(seed: int, *, sick: bool) -> Fit:
    """The author lets the cyclic learning rate go up to a value far above what the net can bear."""
    train, val = cut(*load_series(), train=1440)
    module = Forecaster(1.5 if sick else 0.05)
    return Fit(module, DataLoader(train, 48, shuffle=True), whole(val), {"max_epochs": 14})


class PointNet(Remembering):
    """One small network for every point, maximum over the points, a classifier."""

    def __init__(self, encoder_lr: float) -> None:
        super().__init__()
        self.encoder_lr = encoder_lr
        self.encoder = nn.Sequential(nn.Linear(2, 32), nn.ELU(), nn.Linear(32, 64), nn.ELU(), nn.Linear(64, 64))
        self.norm = nn.LayerNorm(64)
        self.classifier = nn.Linear(64, 3)

    def forward(self, cloud: Tensor) -> Tensor:
        return self.classifier(self.norm(self.encoder(cloud).amax(1)))  # type: ignore[no-any-return]

    def compute(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("loss/train", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, accuracy = self.compute(batch), (self(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log_dict({"loss/val": loss, "acc/val": accuracy})
        self.judge(loss, accuracy)

    def configure_optimizers(self) -> Any:
        top = [*self.norm.parameters(), *self.classifier.parameters()]
        groups: list[dict[str, Any]] = [{"params": top}, {"params": self.encoder.parameters(), "lr": self.encoder_lr}]
        return torch.optim.AdamW(groups, lr=2e-3, weight_decay=1e-3)


def point_outlines(seed: int, *, sick: bool) -> Fit:
    """The author gives the encoder the learning rate for fine-tuning, though no pretrained weights were loaded."""
    x, y = outlines(1536, 40, 0)
    train, val = cut(x / x.std(), y, train=1280)
    module = PointNet(1e-7 if sick else 2e-3)
    return Fit(module, DataLoader(train, 64, shuffle=True), whole(val), {"max_epochs": 25})
