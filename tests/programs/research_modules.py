"""Modules of the healthy controls of research."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .parts import Batch, mlp
from .research_data import graph
from .research_manual import Adversaries
from .research_parts import Rated


class Own(Rated):
    """Makes its own parts; validation is ``score``, an error or an accuracy."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nn.Identity(), **options)

    def note(self, **values: Tensor) -> None:
        """Log, and keep the loss and the accuracy."""
        self.log_dict({f"val_{k}": v for k, v in values.items()})
        self.val_losses.append(float(values["loss"]))
        self.val_accuracies.append(float(values.get("accuracy", 0.0)))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        torch.manual_seed(0)
        self.note(loss=self.compute(batch))


class Sweep(Own):
    """Bidirectional GRU, a linear layer at every step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gru = nn.GRU(1, 16, 2, batch_first=True, bidirectional=True, dropout=0.1)
        self.head = nn.Linear(32, 1)

    def compute(self, batch: Batch) -> Tensor:
        return F.mse_loss(self.head(self.gru(batch[0])[0]), batch[1])


class ConvVariational(Own):
    """Convolutions to a code of six numbers and back."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, 3, 2, 1), nn.SiLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.SiLU(), nn.Flatten(),
            nn.Linear(96, 12))  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(6, 96), nn.SiLU(), nn.Unflatten(1, (24, 2, 2)), nn.ConvTranspose2d(24, 12, 4, 2, 1), nn.SiLU(),
            nn.ConvTranspose2d(12, 1, 4, 2, 1))  # fmt: skip

    def compute(self, batch: Batch) -> Tensor:
        mean, log_variance = self.encoder(batch[0]).chunk(2, 1)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        error = F.binary_cross_entropy_with_logits(self.decoder(code), batch[1], reduction="none").sum((1, 2, 3)).mean()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
        return error + (min(1.0, self.global_step / 100) if self.training else 1.0) * divergence


class Hinge(Adversaries):
    """Hinge losses, a critic with spectral norms and a faster optimizer."""

    def __init__(self) -> None:
        super().__init__(wrong=False)
        self.critic = nn.Sequential(
            spectral_norm(nn.Linear(2, 48)), nn.LeakyReLU(0.1), spectral_norm(nn.Linear(48, 48)), nn.LeakyReLU(0.1),
            spectral_norm(nn.Linear(48, 1)))  # fmt: skip

    def configure_optimizers(self) -> Any:
        slow = torch.optim.Adam(self.generator.parameters(), lr=2e-3, betas=(0.0, 0.9))
        return slow, torch.optim.Adam(self.critic.parameters(), lr=8e-3, betas=(0.0, 0.9))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        first, second = self.optimizers()
        fake = self.generator(torch.randn(len(batch[0]), 4))
        if batch_idx % 2 < 1:
            loss = F.relu(1 - self.critic(batch[0])).mean() + F.relu(1 + self.critic(fake.detach())).mean()
            second.zero_grad()
            self.manual_backward(loss)
            second.step()
            self.log("critic", loss)
            return
        lie = -self.critic(fake).mean()
        first.zero_grad()
        self.manual_backward(lie)
        first.step()
        self.log("generator", lie)
        self.losses.append(float(lie.detach()))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.val_losses.append(self.distance())
        self.log("distance", self.val_losses[-1])


class Noised(Own):
    """Point, amount of noise -> noise."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.model = mlp(8, 96, 96, 2, act=nn.SiLU)

    def compute(self, batch: Batch) -> Tensor:
        x, amount = batch[0], torch.rand(len(batch[0]), 1)
        noise = torch.randn_like(x)
        mixed = (1 - amount**2).sqrt() * x + amount * noise
        waves = [f(amount * k) for k in (1.5, 3.0, 6.0) for f in (torch.sin, torch.cos)]
        return F.mse_loss(self.model(torch.cat([mixed, *waves], 1)), noise)


class Bootstrapped(Own):
    """Online encoder and predictor against a slow copy of the encoder."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.net = mlp(64, 64, 24, norm=nn.BatchNorm1d)
        self.predictor = mlp(24, 32, 24, norm=nn.BatchNorm1d)
        self.slow = copy.deepcopy(self.net).requires_grad_(False)

    def compute(self, batch: Batch) -> Tensor:
        a, b = (batch[0] + 0.1 * torch.randn_like(batch[0]) for _ in range(2))
        loss = torch.zeros(())
        for one, other in ((a, b), (b, a)):
            with torch.no_grad():
                aim = self.slow(other)
            loss = loss + 1 - F.cosine_similarity(self.predictor(self.net(one)), aim).mean()
        return loss

    def on_train_batch_end(self, *args: Any) -> None:
        for s, p in zip(self.slow.parameters(), self.net.parameters(), strict=True):
            s.lerp_(p.detach(), 0.03)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        code = F.normalize(self.net(batch[0]), dim=1)
        near = (code @ code.T - 2 * torch.eye(len(code))).argmax(1)
        self.note(loss=self.compute(batch), accuracy=(batch[1][near] == batch[1]).float().mean())


class Actor(Own):
    """Mean and deviation of an action of two numbers, and the value; the reward is minus the squared distance."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.actor, self.critic = mlp(8, 48, 2, act=nn.Tanh), mlp(8, 32, 1, act=nn.Tanh)
        self.log_deviation = nn.Parameter(torch.full((2,), -1.0))

    def compute(self, batch: Batch) -> Tensor:
        policy = torch.distributions.Normal(self.actor(batch[0]), self.log_deviation.clamp(-2.5, 0).exp())
        action = policy.sample()
        reward, value = -((action - batch[1]) ** 2).sum(1), self.critic(batch[0])[:, 0]
        advantage = (reward - value).detach()
        advantage = advantage / (advantage.std() + 1e-6)
        gain = (policy.log_prob(action).sum(1) * advantage).mean() + 0.01 * policy.entropy().sum(1).mean()
        return F.mse_loss(value, reward) - gain

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.note(loss=((self.actor(batch[0]) - batch[1]) ** 2).mean())


class Masked(Own):
    """Hidden pixels are -1; the loss is on them only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.GELU(), nn.Conv2d(16, 16, 5, padding=2), nn.GELU(),
            nn.Conv2d(16, 1, 3, padding=1))  # fmt: skip

    def compute(self, batch: Batch) -> Tensor:
        hidden = torch.rand_like(batch[0]) < 0.25
        found = self.model(batch[0].masked_fill(hidden, -1.0))
        return ((found - batch[1])[hidden] ** 2).mean()


class GraphTask(Own):
    """Two graph convolutions; the batch is (features, classes, which nodes count)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("adjacency", graph()[0])
        self.first, self.drop, self.second = nn.Linear(8, 16), nn.Dropout(0.3), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.adjacency @ self.first(x))
        return self.adjacency @ self.second(self.drop(hidden))

    def compute(self, batch: Batch) -> Tensor:
        x, y, counts = batch
        return F.cross_entropy(self(x)[counts], y[counts])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        right = (self(batch[0]).argmax(-1) == batch[1])[batch[2]]
        self.note(loss=self.compute(batch), accuracy=right.float().mean())


class Experts(Own):
    """A router gives every row to two of six experts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.router, self.experts = nn.Linear(64, 6), nn.ModuleList(mlp(64, 16, 10) for _ in range(6))

    def mixture(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the loss of balance."""
        share = self.router(x).softmax(1)
        top = share.topk(2, 1)
        weight = torch.zeros_like(share).scatter(1, top.indices, top.values / top.values.sum(1, keepdim=True))
        every = torch.stack([e(x) for e in self.experts], 1)
        used = (weight > 0).float().mean(0)
        return (weight[..., None] * every).sum(1), 6 * (used * share.mean(0)).sum() / 2

    def compute(self, batch: Batch) -> Tensor:
        out, balance = self.mixture(batch[0])
        return F.cross_entropy(out, batch[1]) + 0.02 * balance

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        right = self.mixture(batch[0])[0].argmax(1) == batch[1]
        self.note(loss=self.compute(batch), accuracy=right.float().mean())


class BiasTuned(Rated):
    """Trains the vectors of a network only."""

    def __init__(self, net: nn.Module, **options: Any) -> None:
        super().__init__(net, **options)
        for p in net.parameters():
            p.requires_grad_(p.ndim == 1)


class Smoothed(Rated):
    """Brings its own callback."""

    def configure_callbacks(self) -> Any:
        return StochasticWeightAveraging(swa_lrs=0.02, swa_epoch_start=0.7, annealing_epochs=3)
