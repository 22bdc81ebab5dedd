"""Healthy trainings whose losses are unlike others: densities and two players."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn

from .missed_checks import ends, falls
from .missed_parts import Kept, cut, fitted, rows
from .parts import Fit
from .program import healthy
from .verify import every


class Coupling(nn.Module):
    """Moves one coordinate as the other one says; starts as the identity."""

    def __init__(self, swap: bool) -> None:
        super().__init__()
        self.swap, last = swap, nn.Linear(48, 2)
        self.net = nn.Sequential(nn.Linear(1, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.flip(1).chunk(2, 1) if self.swap else x.chunk(2, 1)
        s, t = self.net(a).chunk(2, 1)
        s = torch.tanh(s)
        moved = torch.cat([a, b * s.exp() + t], 1)
        return moved.flip(1) if self.swap else moved, s.sum(1)


class MoonFlow(Kept):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Coupling(i % 2 == 1) for i in range(4))

    def log_prob(self, x: Tensor) -> Tensor:
        total = torch.zeros(len(x))
        for layer in self.layers:
            x, volume = layer(x)
            total = total + volume
        return total - 0.5 * x.square().sum(1) - math.log(2 * math.pi)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = -self.log_prob(batch[0]).mean()
        self.put("nll", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.put("val_nll", -self.log_prob(batch[0]).mean())

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.Adam(self.parameters(), lr=8e-3))


def flow(seed: int) -> Fit:
    """A normalizing flow of affine couplings that start at zero learns the density of two moons."""
    x, _ = datasets.make_moons(3000, noise=0.12, random_state=0)
    data = cut(rows((x - x.mean(0)) / x.std(0)), 2500)
    return fitted(MoonFlow(), data, seed, 128, max_epochs=20, gradient_clip_val=10.0)


class LearnedNoise(Kept):
    """A mean and a variance; the loss becomes negative."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.mean, self.raw = nn.Linear(32, 1), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.mean(h), F.softplus(self.raw(h) + 0.5) + 1e-4

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        mean, variance = self(batch[0])
        loss = F.gaussian_nll_loss(mean, batch[1], variance)
        self.put("train_nll", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        mean, variance = self(x)
        self.put("val_nll", F.gaussian_nll_loss(mean, y, variance))
        self.put("val_coverage", ((y - mean).abs() < 1.645 * variance.sqrt()).float().mean())

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.Adam(self.parameters(), lr=1e-2))


def noise(seed: int) -> Fit:
    """The network learns how noisy its target is, by the likelihood of a Gaussian."""
    g = np.random.default_rng(1)
    x = g.uniform(-1.7, 1.7, (2500, 1))
    y = np.sqrt(2) * np.sin(2.5 * x) + (0.05 + 0.15 * (x > 0) * x) * g.normal(size=x.shape)
    return fitted(LearnedNoise(), cut(rows(x, y), 2000), seed, 64, max_epochs=20)


def leaky(inputs: int, outputs: int) -> nn.Sequential:
    """Return a network of two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, 48), nn.LeakyReLU(0.2), nn.Linear(48, 48), nn.LeakyReLU(0.2), nn.Linear(48, outputs)
    )


class RingGame(Kept):
    """A generator and a critic with a penalty on its slope, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.critic = leaky(4, 2), leaky(2, 1)

    def sample(self, n: int) -> Tensor:
        return self.generator(torch.randn(n, 4))

    def move(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(optimizer)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        real = batch[0].clone().requires_grad_(True)
        players: Any = self.optimizers()
        self.toggle_optimizer(players[1])
        out = self.critic(real)
        (slope,) = torch.autograd.grad(out.sum(), real, create_graph=True)
        d_loss = F.softplus(-out).mean() + F.softplus(self.critic(self.sample(len(real)).detach())).mean()
        self.move(players[1], d_loss + 0.1 * slope.square().sum(1).mean())
        self.toggle_optimizer(players[0])
        g_loss = F.softplus(-self.critic(self.sample(len(real)))).mean()
        self.move(players[0], g_loss)
        self.put("d_loss", d_loss)
        self.put("g_loss", g_loss)

    def on_train_epoch_end(self) -> None:
        schedules: Any = self.lr_schedulers()
        for schedule in schedules:
            schedule.step()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        real, n = batch[0], len(batch[0])
        fake = self.sample(n)
        inside = (torch.cdist(real, real).sum() + torch.cdist(fake, fake).sum()) / (n * (n - 1))
        self.put("val_energy", 2 * torch.cdist(real, fake).mean() - inside)

    def configure_optimizers(self) -> Any:
        generator = torch.optim.Adam(self.generator.parameters(), lr=2e-3, betas=(0.5, 0.99))
        critic = torch.optim.Adam(self.critic.parameters(), lr=4e-3, betas=(0.5, 0.99))
        both, epochs = [generator, critic], int(self.trainer.max_epochs or 1)
        return both, [torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.05, epochs) for o in both]


def ring(seed: int) -> Fit:
    """A generator of points on a ring plays against a critic."""
    g = np.random.default_rng(3)
    a, r = g.uniform(0, 2 * np.pi, 3072), np.sqrt(2) + 0.15 * g.normal(size=3072)
    return fitted(RingGame(), cut(rows(np.stack([r * np.cos(a), r * np.sin(a)], 1)), 2560), seed, 128, max_epochs=20)


DENSITIES = [
    healthy("moon-flow", flow, every(falls("nll", 0.85), ends("val_nll", above=0.5, below=2.3))),
    healthy("learned-noise", noise, every(ends("val_nll", below=-1.0), ends("val_coverage", above=0.85, below=0.96))),
    healthy("ring-game", ring, ends("val_energy", above=-0.05, below=0.05)),
]
