"""Healthy trainings that choose: experts for a row, rows of a table, arms to draw."""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .missed_checks import ends, falls
from .missed_parts import Kept, cut, fitted, rows
from .parts import Fit, Pair
from .program import healthy
from .verify import every


class Experts(Kept):
    """The two best of four experts answer, and a small loss balances them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(4, 32), nn.GELU(), nn.Linear(32, 1)) for _ in range(4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p = self.gate(x).softmax(-1)
        top, chosen = p.topk(2, dim=-1)
        w = torch.zeros_like(p).scatter(1, chosen, top / top.sum(-1, keepdim=True))
        return (w * torch.cat([e(x) for e in self.experts], 1)).sum(1), p, w

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        out, p, w = self(batch[0])
        mse, balance = F.mse_loss(out, batch[1]), 4 * ((w > 0).float().mean(0) / 2 * p.mean(0)).sum()
        self.put("train_mse", mse)
        self.put("balance", balance)
        return mse + 0.01 * balance

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        out, _, w = self(batch[0])
        self.put("val_mse", F.mse_loss(out, batch[1]))
        self.put("val_least_used", (w > 0).float().mean(0).min())

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.AdamW(self.parameters(), lr=2e-2, weight_decay=1e-3))


def experts(seed: int) -> Fit:
    """A gate sends every row to two of four experts."""
    g = np.random.default_rng(0)
    x = g.normal(size=(2600, 4))
    y = np.where(x[:, 0] > 0, np.sin(2 * x[:, 1]), x[:, 2] - 0.5 * x[:, 3]) + 0.2 * g.normal(size=2600)
    return fitted(Experts(), cut(rows(x, (y - y.mean()) / y.std()), 2048), seed, 64, max_epochs=12)


class Users(Kept):
    """Users and items share the rows of two sparse tables; two optimizers, stepped by hand."""

    def __init__(self, steps: int, buckets: int = 600) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.buckets, self.steps = buckets, steps
        self.users, self.items = nn.Embedding(buckets, 4, sparse=True), nn.Embedding(buckets, 4, sparse=True)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.5)
        self.mix = nn.Linear(4, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        u, i = user * 2654435761 % 4294967296 % self.buckets, (item * 40503 + 7) % self.buckets
        return self.mix(self.users(u) * self.items(i)).squeeze(1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss = F.mse_loss(self(*batch[:2]), batch[2])
        optimizers: Any = self.optimizers()
        schedules: Any = self.lr_schedulers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for one in (*optimizers, *schedules):
            one.step()
        self.put("train_mse", loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        p = self(*batch[:2])
        self.put("val_mse", F.mse_loss(p, batch[2]))
        self.put("val_corr", torch.corrcoef(torch.stack([p, batch[2]]))[0, 1])

    def configure_optimizers(self) -> Any:
        sparse = torch.optim.SparseAdam([self.users.weight, self.items.weight], lr=3e-2)
        dense = torch.optim.Adam(self.mix.parameters(), lr=1e-2)
        return [sparse, dense], [torch.optim.lr_scheduler.CosineAnnealingLR(o, self.steps) for o in (sparse, dense)]


@lru_cache
def ratings() -> Pair:
    """Ratings of items by users, few of whom rate most."""
    g, n = np.random.default_rng(9), 18000
    often, liked = 1 / (np.arange(300) + 20.0), 1 / (np.arange(200) + 20.0)
    u, i = g.choice(300, n, p=often / often.sum()), g.choice(200, n, p=liked / liked.sum())
    fu, fi = g.uniform(-1.7, 1.7, (300, 2)), g.uniform(-1.7, 1.7, (200, 2))
    y = (fu[u] * fi[i]).sum(1) / np.sqrt(2) + 0.3 * g.normal(size=n)
    return cut(rows(u, i, (y - y.mean()) / y.std()), 16000)


def hashed(seed: int) -> Fit:
    """The numbers of users and items are hashed into tables with sparse gradients."""
    return fitted(Users(9 * 62), ratings(), seed, 256, max_epochs=9)


class Gambler(Kept):
    """Draws one of four arms by a policy; the loss says little, the reward does."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 4))
        self.value = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1))
        self.register_buffer("truth", torch.randn(6, 4, generator=torch.Generator().manual_seed(2)) / math.sqrt(6))

    def worth(self, x: Tensor) -> Tensor:
        return torch.tanh(2 * x @ self.truth)  # type: ignore[operator]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x = batch[0]
        arms = torch.distributions.Categorical(logits=self.policy(x))
        arm = arms.sample()
        reward = self.worth(x).gather(1, arm[:, None])[:, 0] + 0.1 * torch.randn(len(x))
        value = self.value(x)[:, 0]
        policy_loss = -(arms.log_prob(arm) * (reward - value).detach()).mean()
        self.put("reward", reward.mean())
        self.put("policy_loss", policy_loss)
        return policy_loss + 0.5 * F.mse_loss(value, reward) - 0.01 * arms.entropy().mean()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        worth = self.worth(batch[0])
        got = worth.gather(1, self.policy(batch[0]).argmax(1, keepdim=True))
        self.put("val_reward", got.mean())
        self.put("val_regret", worth.max(1).values.mean() - got.mean())

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.Adam(self.parameters(), lr=8e-3))


def gambler(seed: int) -> Fit:
    """A policy learns of rewards which arm to draw, with a learned baseline."""
    x = torch.randn(5096, 6, generator=torch.Generator().manual_seed(0))
    return fitted(Gambler(), cut([x], 4096), seed, 128, max_epochs=12)


CHOICES = [
    healthy("expert-router", experts, every(ends("val_mse", below=0.2), ends("val_least_used", above=0.1))),
    healthy("hashed-users", hashed, every(falls("train_mse", 0.5), ends("val_corr", above=0.85))),
    healthy("learning-gambler", gambler, every(ends("val_regret", below=0.08), ends("reward", above=0.4, last=10))),
]
