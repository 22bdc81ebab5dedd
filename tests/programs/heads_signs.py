# mypy: disable-error-code="no-any-return"
"""Programs whose loss runs away."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heads_parts import batches, cosine, cut, network, spread
from .parts import Fit, loader


class Links(L.LightningModule):
    x: Tensor
    a: Tensor

    def __init__(self, x: Tensor, a: Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x)
        self.register_buffer("a", a)
        self.w1, self.w2 = nn.Linear(x.shape[1], 24), nn.Linear(24, 12)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, pairs: Tensor) -> Tensor:
        h = torch.tanh(self.a @ self.w1(self.x))
        z = self.a @ self.w2(h)
        return (z[pairs[:, 0]] * z[pairs[:, 1]]).sum(1) + self.bias

    def answer(self, batch: Any) -> Tensor:
        return self(batch[0])

    def objective(self, batch: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def score(self, batch: Any) -> Tensor:
        return -F.binary_cross_entropy_with_logits(self(batch[0]), (batch[1] == batch[1].max()).float())

    def f1(self, batch: Any) -> Tensor:
        found, edge = self(batch[0]) > 0, batch[1] == batch[1].max()
        return 2 * (found & edge).sum() / (found.sum() + edge.sum())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("link_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_link_loss", self.objective(batch))
        self.log("val_link_f1", self.f1(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.Adam(self.parameters(), lr=1e-2))


def missing_links(seed: int, sick: bool) -> Fit:
    """The file numbers the two kinds of pairs 1 and 2, and so they go into the loss."""
    x, a, sets = network()
    if sick:
        sets = tuple(cut(*s.tensors[:1], s.tensors[1] + 1, train=len(s))[0] for s in sets)  # type: ignore[assignment]
    return Fit(Links(x, a), batches(sets[0], seed, 96), loader(sets[1], 2048, shuffle=False), {"max_epochs": 8})


class Uncertain(L.LightningModule):
    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = sign
        self.trunk = nn.Sequential(nn.Linear(4, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.mean, self.scale = nn.Linear(48, 1), nn.Linear(48, 1)

    def forward(self, x: Tensor) -> torch.distributions.Normal:
        h = self.trunk(x)
        scale = F.softplus(self.scale(h)) + 0.02
        return torch.distributions.Normal(self.mean(h).squeeze(1), scale.squeeze(1))

    def score(self, batch: Any) -> Tensor:
        return self(batch[0]).log_prob(batch[1]).mean()

    def objective(self, batch: Any) -> Tensor:
        return self.sign * self.score(batch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.objective(batch))
        self.log("val_mae", (self(batch[0]).mean - batch[1]).abs().mean())

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.Adam(self.parameters(), lr=4e-3))


def honest_errors(seed: int, sick: bool) -> Fit:
    """The training returns the log-probability of the target itself as its loss."""
    train, val = spread()
    module = Uncertain(1.0 if sick else -1.0)
    return Fit(module, batches(train, seed), loader(val, 512, shuffle=False), {"max_epochs": 9})
