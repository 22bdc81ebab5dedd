"""Healthy controls: ordinary trainings of great variety, nothing wrong with them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset, WeightedRandomSampler

from .parts import (
    Batch,
    Fit,
    Pair,
    Recurrent,
    Residual,
    Schedule,
    Task,
    cancer,
    cnn,
    diabetes,
    digits,
    he,
    initialized,
    loader,
    loaders,
    mlp,
    moons,
    tokens,
    wine,
)  # fmt: skip
from .program import Program, healthy
from .verify import Check, learns

SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop
sgd9 = partial(SGD, lr=0.05, momentum=0.9, weight_decay=1e-4)


def plain(
    net: Any, data: Any, *, epochs: int, batch: int = 64, val: bool = True, trainer: Any = None, **task: Any
) -> Any:
    """Return a builder for a :class:`Task` with these parts (``net`` and ``data`` are called)."""

    def build(seed: int) -> Fit:
        sets: dict[str, Any] = loaders(data(), seed, batch)
        if not val:
            sets["val"] = None
        return Fit(Task(net(), **task), **sets, trainer={"max_epochs": epochs, **(trainer or {})})

    return build


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def warmup_cosine(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    def factor(step: int) -> float:
        return min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def one_cycle(rate: float) -> Schedule:
    return lambda optimizer, steps: torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)


def images() -> Pair:
    return digits(image=True)


def rows() -> Pair:
    train, val = (TensorDataset(d.tensors[0].reshape(-1, 8, 8), d.tensors[1]) for d in digits())
    return train, val


class Transformer(nn.Module):
    """Two encoder layers over the rows of a digit."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(8, 32), nn.Parameter(torch.randn(8, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x) + self.place).mean(1))


class Bag(nn.Module):
    """Embedding bag with a rarely used half of its rows, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.EmbeddingBag(400, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x))


def imbalanced(seed: int) -> Fit:
    """Digit 0 against the rest with a tenth of it kept, the classes weighted in the loss."""
    sets = []
    for data in digits():
        x, y = data.tensors[0], (data.tensors[1] == 0).long()
        keep = (y == 0) | (torch.arange(len(y)) % 2 == 0)
        sets.append(TensorDataset(x[keep], y[keep]))
    loss = partial(F.cross_entropy, weight=torch.tensor([1.0, 15.0]))
    task = Task(mlp(64, 32, 2), loss=loss, optimizer=partial(Adam, lr=2e-3))
    return Fit(task, **loaders((sets[0], sets[1]), seed), trainer={"max_epochs": 10})


def resampled(seed: int) -> Fit:
    """Rare classes drawn more often, a batch at a time."""
    train, val = wine()
    weights = torch.bincount(train.tensors[1]).float().reciprocal()[train.tensors[1]]
    sampler = WeightedRandomSampler(weights.tolist(), 512, generator=torch.Generator().manual_seed(seed))
    data = torch.utils.data.DataLoader(train, batch_size=16, sampler=sampler)
    task = Task(mlp(13, 24, 24, 3, act=nn.SiLU), optimizer=partial(AdamW, lr=3e-3))
    return Fit(task, data, loader(val, 64, shuffle=False), trainer={"max_epochs": 8})


def fine_tuning(seed: int) -> Fit:
    """A CNN trained on digits 0-4, frozen, with a new head for all ten."""
    body = cnn(norm=True, width=16)
    train, _ = digits(image=True)
    x, y = (t[train.tensors[1] < 5] for t in train.tensors)
    optimizer = Adam(body.parameters(), lr=3e-3)
    for _ in range(60):
        part = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        F.cross_entropy(body(x[part]), y[part]).backward()
        optimizer.step()
    for p in body[:-1].parameters():
        p.requires_grad_(False)
    body[-1] = nn.Linear(256, 10)
    task = Task(body, optimizer=partial(Adam, lr=2e-3))
    return Fit(task, **loaders(digits(image=True), seed), trainer={"max_epochs": 6})


def zero_head(seed: int) -> Fit:
    """Residual branches and the head start at zero."""
    branches = [Residual(48, gain=0.0) for _ in range(2)]
    net = nn.Sequential(nn.Linear(64, 48), *branches, nn.LayerNorm(48), nn.Linear(48, 10))
    nn.init.zeros_(net[-1].weight)  # type: ignore[arg-type]
    return Fit(Task(net, optimizer=partial(AdamW, lr=2e-3)), **loaders(digits(), seed), trainer={"max_epochs": 8})


class Scaled(Task):
    """The same loss times a large or small factor."""

    scale = 1.0

    def compute(self, batch: Batch) -> Tensor:
        return super().compute(batch) * self.scale


def scaled(scale: float) -> Any:
    def build(seed: int) -> Fit:
        task = Scaled(mlp(64, 48, 48, 10), optimizer=partial(Adam, lr=2e-3))
        task.scale = scale
        return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 7})

    return build


class Penalized(Task):
    """An L1 penalty that is part of the logged training loss but not of the validation loss."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch) + 3e-4 * sum(p.abs().sum() for p in self.net.parameters())
        self.log("train_loss", loss)
        self.losses.append(float(loss.detach()))
        return loss


def penalized(seed: int) -> Fit:
    task = Penalized(mlp(64, 48, 10), optimizer=partial(Adam, lr=2e-3))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 10})


good = learns(0.6, accuracy=0.85)


def control(name: str, net: Any, data: Any, *, check: Check = good, **options: Any) -> Program:
    """Return a plain healthy control."""
    return healthy(name, plain(net, data, **options), check)


HEALTHY = (
    control("mlp-sgd", lambda: mlp(64, 64, 10), digits, epochs=10, optimizer=partial(SGD, lr=0.1)),
    control("mlp-adam-wine", lambda: mlp(13, 32, 32, 3), wine, epochs=20, batch=16, optimizer=partial(Adam, lr=2e-3)),
    control("cnn", cnn, images, epochs=6, optimizer=partial(Adam, lr=2e-3)),
    control("cnn-batchnorm", lambda: cnn(norm=True), images, epochs=5, optimizer=sgd9),
    control("mlp-layernorm-warmup", lambda: mlp(64, 64, 64, 64, 10, norm=nn.LayerNorm, act=nn.GELU), digits,
            epochs=8, optimizer=partial(AdamW, lr=3e-3), schedule=warmup_cosine),
    control("residual", lambda: nn.Sequential(nn.Linear(64, 48), *[Residual(48, gain=0.5) for _ in range(4)],
            nn.LayerNorm(48), nn.Linear(48, 10)), digits, epochs=6, optimizer=partial(AdamW, lr=1e-3)),
    control("lstm", lambda: Recurrent(nn.LSTM, 8, 40, 10), rows, epochs=10, optimizer=partial(Adam, lr=1e-2)),
    control("gru-clipped", lambda: Recurrent(nn.GRU, 8, 32, 10), rows, epochs=8, optimizer=partial(RMSprop, lr=3e-3),
            trainer={"gradient_clip_val": 0.5}),
    control("transformer-prenorm", lambda: Transformer(norm_first=True), rows, epochs=8, optimizer=partial(AdamW,
            lr=3e-3), schedule=warmup_cosine),
    control("transformer-postnorm", lambda: Transformer(norm_first=False), rows, epochs=8, optimizer=partial(Adam,
            lr=2e-3), schedule=warmup_cosine, check=learns(0.6, accuracy=0.6)),
    control("regression-noise", lambda: mlp(10, 16, 1), diabetes, epochs=15, batch=32, loss=F.mse_loss,
            optimizer=partial(Adam, lr=3e-3), check=learns(0.8)),
    control("regression-tanh", lambda: mlp(10, 16, 1, act=nn.Tanh), diabetes, epochs=25, loss=F.smooth_l1_loss,
            optimizer=partial(SGD, lr=0.05), names=("loss", "val_loss", "unused"), check=learns(0.8)),
    control("rmsprop", lambda: mlp(30, 32, 2), cancer, epochs=10, batch=32, optimizer=partial(RMSprop, lr=5e-4)),
    control("cosine-to-zero", lambda: mlp(64, 64, 64, 10), digits, epochs=10, optimizer=sgd9, schedule=cosine),
    control("one-cycle", lambda: cnn(norm=True), images, epochs=5, optimizer=partial(SGD, lr=0.01, momentum=0.9),
            schedule=one_cycle(0.2)),
    control("tiny-batch", lambda: mlp(13, 24, 3), wine, epochs=4, batch=1, optimizer=partial(SGD, lr=0.01)),
    control("full-batch", lambda: mlp(64, 64, 10), digits, epochs=150, batch=1280, optimizer=partial(Adam, lr=5e-3),
            trainer={"check_val_every_n_epoch": 10}),
    control("accumulation", lambda: mlp(64, 64, 10), digits, epochs=8, batch=16, optimizer=sgd9,
            trainer={"accumulate_grad_batches": 4}),
    healthy("imbalanced", imbalanced, learns(0.6)),
    healthy("resampled", resampled, good),
    control("embedding", Bag, tokens, epochs=25, optimizer=partial(AdamW, lr=1e-2), check=learns(0.7, accuracy=0.8)),
    control("smoke-run", lambda: mlp(64, 64, 64, 10), digits, epochs=1, optimizer=partial(Adam, lr=3e-3), val=False,
            check=learns(0.85)),
    control("smoke-run-sgd", lambda: initialized(mlp(64, 64, 10), he), digits, epochs=1, optimizer=partial(SGD,
            lr=0.1), check=learns(0.85)),
    control("converged", lambda: mlp(2, 32, 32, 2), partial(moons, noise=0.05), epochs=30, optimizer=partial(Adam,
            lr=1e-2), check=learns(0.1, accuracy=0.98)),
    control("converged-binary", lambda: mlp(30, 16, 2, act=nn.Tanh), cancer, epochs=20, batch=32,
            optimizer=partial(Adam, lr=3e-3, weight_decay=1e-4), val=False, check=learns(0.3)),
    healthy("fine-tuning", fine_tuning, good),
    control("dropout", lambda: mlp(64, 96, 96, 10, dropout=0.5), digits, epochs=10, optimizer=partial(AdamW, lr=2e-3,
            weight_decay=0.05)),
    healthy("large-loss", scaled(1e4), good),
    healthy("small-loss", scaled(1e-4), good),
    healthy("zero-head", zero_head, good),
    healthy("penalized", penalized, good),
    control("label-smoothing", lambda: cnn(act=nn.SiLU), images, epochs=6, optimizer=partial(AdamW, lr=3e-3),
            loss=partial(F.cross_entropy, label_smoothing=0.1), names=("train/loss", "val/loss", "val/acc")),
    control("leaky", lambda: mlp(64, 64, 64, 10, act=nn.LeakyReLU, norm=nn.BatchNorm1d), digits, epochs=6, val=False,
            optimizer=sgd9, names=("loss", "", ""), check=learns(0.6)),
    control("nesterov", lambda: mlp(64, 64, 64, 10, act=nn.ELU), digits, epochs=8,
            optimizer=partial(SGD, lr=0.02, momentum=0.9, nesterov=True)),
)  # fmt: skip
