"""Signals and series."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.functional.classification import multiclass_accuracy

from .parts import Fit
from .tabular_parts import Noted, cut, feed, held, real, whole

# -- vibration -------------------------------------------------------------------------------------------


def vibrations(count: int = 1200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    time = np.arange(64)
    kinds = rng.integers(0, 3, count)
    base = np.array([5.0, 9.0, 14.0])[kinds] + rng.normal(0, 0.6, count)
    phase, gain = rng.uniform(0, 6.28, count), rng.uniform(0.3, 4.0, count)
    waves = np.sin(2 * np.pi * base[:, None] * time / 64 + phase[:, None]) + rng.normal(0, 0.8, (count, 64))
    waves = waves * gain[:, None] + rng.normal(0, 2, (count, 1))
    off = np.arange(17, count, 60)
    waves[off], kinds[off] = -1.0, 0  # the recorder was off: nothing wrong with the machine
    return waves, kinds


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 5, padding=2)
        self.conv2 = nn.Conv1d(width, width, 5, padding=2)
        self.norm1, self.norm2 = nn.GroupNorm(4, width), nn.GroupNorm(4, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return result


class VibrationNet(Noted):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 16, 7, stride=2, padding=3)
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.fc = nn.Linear(16, 3)
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(F.relu(self.blocks(self.stem(x.unsqueeze(1)))).amax(-1))
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.criterion(self(batch[0]), batch[1])
        self.note("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.note("val/loss", self.criterion(logits, batch[1]), prog_bar=True)
        self.note("val/acc", multiclass_accuracy(logits, batch[1], num_classes=3, average="micro"))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def vibration_windows(seed: int, *, sick: bool) -> Fit:
    """Every window is divided by its own standard deviation, and a few windows are flat."""
    waves, kinds = vibrations()
    spread = waves.std(1, keepdims=True)
    mean = np.where(spread == 0, waves[:, :1], waves.mean(1, keepdims=True))
    with np.errstate(invalid="ignore"):
        scaled = (waves - mean) / (spread if sick else np.maximum(spread, 1e-3))
    train, val = cut([real(scaled), whole(kinds)], 960, seed=1)
    return Fit(VibrationNet(), feed(train, 32, seed), held(val), {"max_epochs": 7})


# -- weather ---------------------------------------------------------------------------------------------


def weather(hours: int = 3630) -> np.ndarray:
    """Pressure in hPa, temperature in K, humidity in percent."""
    rng = np.random.default_rng(5)
    pressure, speed, states = 0.0, 0.0, []
    for hour in range(hours):
        speed = 0.93 * speed - 0.02 * pressure + rng.normal(0, 0.25)
        pressure += speed
        warmth = 288 - 0.3 * pressure + 4 * np.sin(2 * np.pi * hour / 24) + rng.normal(0, 0.4)
        states.append([1013 + pressure, warmth, 65 - pressure + rng.normal(0, 2)])
    return np.asarray(states)


class PressureTendency(Noted):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 32, batch_first=True)
        self.dropout = nn.Dropout(0.05)
        self.out = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.rnn(x)
        result: Tensor = self.out(self.dropout(h[-1])).squeeze(-1)
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.smooth_l1_loss(self(batch[0]), batch[1])
        self.note("huber", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        guess, y = self(batch[0]), batch[1]
        self.note("val_huber", F.smooth_l1_loss(guess, y))
        self.note("val_r2", 1 - (guess - y).pow(2).sum() / (y - y.mean()).pow(2).sum())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.NAdam(self.parameters(), lr=4e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)]


def barometer_tendency(seed: int, *, sick: bool) -> Fit:
    """Pressure in hPa and temperature in kelvin go into the recurrent network as they were measured."""
    table = weather()
    change = table[30:, 0] - table[24:-6, 0]
    inputs = table if sick else (table - table[:3000].mean(0)) / table[:3000].std(0)
    windows = np.stack([inputs[i + 12 : i + 24] for i in range(len(change))])
    train, val = cut([real(windows), real(change / change[:2980].std())], 2980, seed=None)
    val.tensors = tuple(t[30:] for t in val.tensors)
    return Fit(PressureTendency(), feed(train, 96, seed), held(val, 1024), {"max_epochs": 10})


# -- beats -----------------------------------------------------------------------------------------------


def beats(count: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    signal = np.sin(np.arange(48) / 3 + rng.uniform(0, 6.28, (count, 1))) + rng.normal(0, 0.5, (count, 48))
    marks = rng.random((count, 48)) < 0.015
    signal += marks
    return signal[..., None], marks.astype(int)


class BeatTagger(Noted):
    def __init__(self, weight: Tensor | None) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 24, batch_first=True, bidirectional=True)
        self.tag = nn.Linear(48, 2)
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.tag(self.lstm(x)[0])
        return result

    def loss(self, logits: Tensor, tags: Tensor) -> Tensor:
        return F.cross_entropy(logits.transpose(1, 2), tags, weight=self.weight)  # type: ignore[arg-type]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(self(batch[0]), batch[1])
        self.note("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits, tags = self(batch[0]), batch[1]
        found = logits.argmax(-1)
        self.note("val_loss", self.loss(logits, tags))
        self.note("val_acc", (found == tags).float().mean())
        self.note("val_recall", (found[tags == 1] == 1).float().mean())
        self.note("val_specificity", (found[tags == 0] == 0).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=5e-3)


def ectopic_beats(seed: int, *, sick: bool) -> Fit:
    """One step in seventy is an event, and the tagger's loss counts every step alike."""
    signal, marks = beats()
    train, val = cut([real(signal), whole(marks)], 768)
    net = BeatTagger(None if sick else torch.tensor([1.0, 60.0]))
    return Fit(net, feed(train, 32, seed), held(val), {"max_epochs": 8})


# -- load ------------------------------------------------------------------------------------------------


class LoadWindows(Dataset[tuple[Tensor, Tensor]]):
    """Two days of hourly load and the six hours that follow."""

    def __init__(self, series: Tensor, stride: int) -> None:
        self.series, self.stride = series, stride

    def __len__(self) -> int:
        return len(self.series) - 54

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        start = index // self.stride
        return self.series[start : start + 48], self.series[start + 48 : start + 54]


def load_series(hours: int = 1500) -> Tensor:
    rng = np.random.default_rng(11)
    t = np.arange(hours)
    drift = np.zeros(hours)
    for i in range(1, hours):
        drift[i] = 0.97 * drift[i - 1] + rng.normal(0, 0.12)
    day = np.sin(2 * np.pi * t / 24) + 0.5 * np.sin(4 * np.pi * t / 24 + 1)
    week = np.where((t // 24) % 7 >= 5, 0.5, 1.0)
    load = day * week + drift + rng.normal(0, 0.1, hours)
    return real((load - load.mean()) / load.std())


class LoadTcn(Noted):
    def __init__(self) -> None:
        super().__init__()
        convs = [nn.Conv1d(1 if d == 1 else 20, 20, 3, dilation=d, padding=d) for d in (1, 2, 4, 8)]
        self.convs = nn.ModuleList(convs)
        self.head = nn.Linear(20, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = x[:, None]
        for conv in self.convs:
            h = F.leaky_relu(conv(h), 0.1) + (h if h.shape[1] == 20 else 0)
        result: Tensor = self.head(h[..., -1]) + x[:, -1:]
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = (self(batch[0]) - batch[1]).square().mean()
        self.note("mse", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        error = self(batch[0]) - batch[1]
        self.note("mse/val", error.square().mean())
        self.note("mae/val", error.abs().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 6, 0.3)]


def load_windows(seed: int, *, sick: bool) -> Fit:
    """The index of a window is divided by the stride where it should start a new one, so each comes up many times."""
    series = load_series()
    train, val = LoadWindows(series[:1100], 24 if sick else 1), LoadWindows(series[1100:], 1)
    return Fit(LoadTcn(), feed(train, 32, seed), DataLoader(val, 256), {"max_epochs": 14})
