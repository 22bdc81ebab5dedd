"""Healthy trainings of unusual looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from .parts import Fit
from .tabular_parts import Noted, cut, feed, held, real, whole


class DefectNet(Noted):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 32), nn.SELU(), nn.Linear(32, 16), nn.SELU(), nn.Linear(16, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(self.layers(batch[0])[:, 0], batch[1])
        self.note("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        z, y = self.layers(batch[0])[:, 0], batch[1]
        self.note("val_loss", F.binary_cross_entropy_with_logits(z, y))
        self.note("val_recall", (z[y == 1] > 0).float().mean())
        self.note("val_specificity", (z[y == 0] < 0).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9)


def rare_defects(seed: int) -> Fit:
    """One part in twenty is defective, and a sampler draws the defective ones as often as the others."""
    rng = np.random.default_rng(111)
    y = (rng.random(5000) < 0.05).astype(int)
    x = rng.normal(0, 1, (5000, 12))
    x[:, 4:8] += 1.5 * y[:, None]
    train, val = cut([real((x - x.mean(0)) / x.std(0)), real(y)], 4000)
    weights = torch.where(train.tensors[1] == 1, 1 / 0.05, 1 / 0.95)
    sampler = WeightedRandomSampler(weights.tolist(), 4000, generator=torch.Generator().manual_seed(seed))
    return Fit(DefectNet(), DataLoader(train, 64, sampler=sampler), held(val, 1024), {"max_epochs": 5})


class TagNet(Noted):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.norm, self.tags = nn.Linear(150, 40), nn.LayerNorm(40), nn.Linear(40, 6)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.tags(F.silu(self.norm(self.hidden(x))))
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])
        self.note("bce", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        z = self(batch[0])
        self.note("val_bce", F.binary_cross_entropy_with_logits(z, batch[1]))
        right, found, real_ones = ((z > 0) & (batch[1] > 0)).sum(), (z > 0).sum(), batch[1].sum()
        self.note("val_f1", 2 * right / (found + real_ones))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.75)]


def word_counts(seed: int) -> Fit:
    """Multi-label tags of documents from logarithms of word counts, most of which are zero."""
    rng = np.random.default_rng(122)
    tags = rng.random((3000, 6)) < 0.3
    rates = 0.6 / (1 + np.arange(150)) ** 0.6
    boost = 1 + 14 * np.einsum("nk,kw->nw", tags, np.eye(6)[np.arange(150) % 6].T)
    counts = rng.poisson(0.35 * rates * boost)
    train, val = cut([real(np.log1p(counts)), real(tags)], 2400)
    return Fit(TagNet(), feed(train, 48, seed), held(val, 1024), {"max_epochs": 8})


class LevelLstm(Noted):
    """Predicts the level of a reservoir as the last level and a correction."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(2, 16, batch_first=True), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x[:, -1, 0] + self.linear(self.lstm(x)[0][:, -1])[:, 0]
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.mse_loss(self(batch[0]), batch[1])
        self.note("train_mse", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        self.note("val_mse", F.mse_loss(self(x), y))
        self.note("val_skill", 1 - F.mse_loss(self(x), y) / F.mse_loss(x[:, -1, 0], y))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.RMSprop(self.parameters(), lr=3e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9)]


def reservoir_levels(seed: int) -> Fit:
    """Tomorrow's level of a reservoir is today's but for the rain of some days ago."""
    rng = np.random.default_rng(133)
    rain = rng.gamma(0.4, 1.0, 2600) - 0.4
    level = np.zeros(2600)
    for day in range(4, 2600):
        level[day] = 0.97 * level[day - 1] + 0.5 * rain[day - 2] + 0.3 * rain[day - 4] + rng.normal(0, 0.08)
    table = np.stack([(level - level[:2000].mean()) / level[:2000].std(), rain / rain.std()], 1)
    windows = np.stack([table[i : i + 10] for i in range(2590)])
    train, _ = cut([real(windows[:2000]), real(table[10:2010, 0])], 2000, seed=None)
    val, _ = cut([real(windows[2012:]), real(table[2022:, 0])], 578, seed=None)
    return Fit(LevelLstm(), feed(train, 50, seed), held(val, 1024), {"max_epochs": 9})


class StatefulText(Noted):
    """A character model that carries its state from one chunk to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru, self.logits = nn.Embedding(8, 16), nn.GRU(16, 32, batch_first=True), nn.Linear(32, 8)
        self.state: Tensor | None = None

    def loss(self, text: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        seen, state = self.gru(self.embed(text[:, :-1]), state)
        return F.cross_entropy(self.logits(seen).flatten(0, 1), text[:, 1:].flatten()), state

    def on_train_epoch_start(self) -> None:
        self.state = None

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss, state = self.loss(batch[0], self.state)
        self.state = state.detach()
        self.note("train_nats", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.note("val_nats", self.loss(batch[0], None)[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=8e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)]


def stateful_text(seed: int) -> Fit:
    """A long text is read in order, sixteen streams side by side, and the state goes on from chunk to chunk."""
    rng = np.random.default_rng(144)
    table = rng.dirichlet(np.full(8, 0.3), (8, 8))
    text = [0, 1]
    draws = rng.random(26000)
    cumulative = table.cumsum(-1)
    for draw in draws:
        text.append(min(int(np.searchsorted(cumulative[text[-2], text[-1]], draw)), 7))
    streams = whole(text[: 16 * 1281]).view(16, 1281)
    chunks = torch.stack([streams[:, i : i + 25] for i in range(0, 1256, 24)])
    train = TensorDataset(chunks.flatten(0, 1))
    rest = whole(text[16 * 1281 : 16 * 1281 + 5000]).view(50, 100)
    return Fit(StatefulText(), DataLoader(train, 16), held(TensorDataset(rest)), {"max_epochs": 5})
