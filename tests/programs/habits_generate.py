"""Healthy controls of the topic `habits`: generation, language, forecasting, decisions."""

# mypy: disable-error-code="no-any-return, no-untyped-call"
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from .habits_checks import falls, generates, reads, steady
from .habits_parts import Recorded, markov_text
from .parts import Fit
from .program import Program, healthy
from .verify import every


def ring() -> Tensor:
    """Eight centres on a circle."""
    angle = torch.arange(8) * (math.pi / 4)
    return 1.4 * torch.stack([angle.cos(), angle.sin()], 1)


class Ring(Recorded):
    """A generator and a discriminator on eight small clouds."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(
            *(nn.Linear(8, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 2))
        )
        self.discriminator = nn.Sequential(
            *(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(z)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        real = batch[0]
        optimizers: Any = self.optimizers()
        opt_g, opt_d = optimizers
        fake = self(torch.randn(len(real), 8))
        d_loss = F.softplus(-self.discriminator(real)).mean() + F.softplus(self.discriminator(fake.detach())).mean()
        opt_d.zero_grad()
        self.manual_backward(d_loss)
        opt_d.step()
        self.toggle_optimizer(opt_g)
        g_loss = F.softplus(-self.discriminator(fake)).mean()
        opt_g.zero_grad()
        self.manual_backward(g_loss)
        opt_g.step()
        self.untoggle_optimizer(opt_g)
        self.log_dict({"d_loss": d_loss, "g_loss": g_loss}, prog_bar=True)

    def configure_optimizers(self) -> Any:
        g = torch.optim.Adam(self.generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
        d = torch.optim.Adam(self.discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
        return [g, d], []


def gan(seed: int) -> Fit:
    """Two networks play against each other, so neither loss falls."""
    rng = torch.Generator().manual_seed(seed)
    x = ring()[torch.randint(0, 8, (12800,), generator=rng)] + 0.15 * torch.randn(12800, 2, generator=rng)
    return Fit(Ring(), train=DataLoader(TensorDataset(x), 128, shuffle=True), trainer={"max_epochs": 8})


class Letters(Recorded):
    """A small causal transformer with tied embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 32)
        self.place = nn.Parameter(torch.randn(23, 32) * 0.02)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, 0.1, "gelu", batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(32)
        nn.init.normal_(self.embed.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        h = self.block(self.embed(x) + self.place[: x.shape[1]], src_mask=mask, is_causal=True)
        return self.norm(h) @ self.embed.weight.T

    def nll(self, text: Tensor) -> Tensor:
        return F.cross_entropy(self(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.nll(batch["text"])
        self.log("train_nll", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.nll(batch["text"])
        self.log_dict({"val_nll": loss, "perplexity": loss.exp()})

    def configure_optimizers(self) -> Any:
        rest = [p for p in self.parameters() if p.ndim < 2]
        decay = [p for p in self.parameters() if p.ndim >= 2]
        optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=3e-3, betas=(0.9, 0.95)
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Texts(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Texts in dictionaries."""

    def __init__(self, n: int, seed: int) -> None:
        self.text = markov_text(n, seed=seed)

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"text": self.text[i]}


def letters(seed: int) -> Fit:
    """The text is half chance, so the loss stops well above zero; gradients are clipped at 1."""
    train, val = DataLoader(Texts(3200, 1), 32, shuffle=True), DataLoader(Texts(400, 2), 400)
    return Fit(
        Letters(), train=train, val=val, trainer={"max_epochs": 3, "gradient_clip_val": 1.0, "val_check_interval": 50}
    )


class Demand(Recorded):
    """Forecasts three quantiles of the next four hours from the last twenty-four."""

    levels: Tensor
    quantiles = (0.1, 0.5, 0.9)

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 24, batch_first=True)
        self.out = nn.Linear(24, 12)
        self.register_buffer("levels", torch.tensor(self.quantiles))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0][:, -1]).unflatten(1, (4, 3)) + x[:, -1:, :]

    def pinball(self, batch: Any) -> Tensor:
        past, future = batch
        error = future[..., None] - self(past)
        return torch.maximum(self.levels * error, (self.levels - 1) * error).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.pinball(batch)
        self.log("pinball", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_pinball", self.pinball(batch))
        self.log("val_mae", (self(batch[0])[..., 1] - batch[1]).abs().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=5e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def demand(seed: int) -> Fit:
    """Quantile forecasts of a noisy daily demand; the later part of the series validates."""
    rng = np.random.default_rng(7)
    hours = np.arange(2200)
    series = np.sin(hours * 2 * np.pi / 24) + 0.5 * np.sin(hours * 2 * np.pi / 12 + 1) + 0.2 * rng.normal(size=2200)
    windows = torch.as_tensor(np.lib.stride_tricks.sliding_window_view(series / series.std(), 28).copy()).float()
    past, future = windows[:, :24, None], windows[:, 24:]
    train, val = TensorDataset(past[:1600], future[:1600]), TensorDataset(past[1630:], future[1630:])
    loaders = {"train": DataLoader(train, 64, shuffle=True, drop_last=True), "val": DataLoader(val, 600)}
    return Fit(Demand(), **loaders, trainer={"max_epochs": 14})


class Advertiser(Recorded):
    """Chooses one of six advertisements by its policy; learns from the click alone."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 6))
        self.value = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1))
        for p in self.policy[2].parameters():
            nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        return self.policy(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        context, chances = batch
        choice = torch.distributions.Categorical(logits=self(context))
        action = choice.sample()
        click = torch.bernoulli(chances.gather(1, action[:, None])).squeeze(1)
        value = self.value(context).squeeze(1)
        actor = -(choice.log_prob(action) * (click - value.detach())).mean()
        critic = F.mse_loss(value, click)
        loss = actor + 0.5 * critic - 0.005 * choice.entropy().mean()
        self.log_dict({"loss": loss, "reward": click.mean(), "entropy": choice.entropy().mean()})
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        context, chances = batch
        self.log("val_reward", (self(context).softmax(1) * chances).sum(1).mean())
        self.log("val_best", chances.amax(1).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=5e-3)


def advertiser(seed: int) -> Fit:
    """A policy gradient with a baseline: the loss hovers about zero and is often negative."""
    rng = torch.Generator().manual_seed(11)
    x = torch.randn(26000, 5, generator=rng)
    chances = (1.2 * x @ torch.randn(5, 6, generator=rng) - 0.5).sigmoid()
    train, val = TensorDataset(x[:25600], chances[:25600]), TensorDataset(x[25600:], chances[25600:])
    loaders = {"train": DataLoader(train, 64, shuffle=True), "val": DataLoader(val, 400)}
    return Fit(Advertiser(), **loaders, trainer={"max_epochs": 2, "val_check_interval": 100})


GENERATE: list[Program] = [
    healthy("eight-clouds", gan, generates(ring(), 0.6, 0.7, 7)),
    healthy("chance-letters", letters, every(falls(0.75), reads("perplexity", high=4.6), steady("val_nll", 1.05))),
    healthy("daily-quantiles", demand, every(falls(0.5), reads("val_mae", high=0.3), steady("val_pinball", 1.1))),
    healthy("bandit-clicks", advertiser, reads("val_reward", 0.78)),
]
