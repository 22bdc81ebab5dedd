"""Modules with steps of their own: adversaries, two optimizers, views, an agent, angles."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Batch, mlp
from .research_parts import Rated


class Adversaries(Rated):
    """A least-squares GAN on the plane; ``wrong``: the generator's turn steps the critic's optimizer."""

    def __init__(self, *, wrong: bool) -> None:
        super().__init__(nn.Identity())
        self.automatic_optimization, self.wrong = False, wrong
        self.generator = mlp(4, 48, 48, 2)
        self.critic = mlp(2, 48, 48, 1, act=partial(nn.LeakyReLU, 0.2))

    def configure_optimizers(self) -> Any:
        make = partial(torch.optim.Adam, betas=(0.5, 0.9))
        return make(self.generator.parameters(), lr=1e-3), make(self.critic.parameters(), lr=2e-3)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        first, second = self.optimizers()
        real, fake = batch[0], self.generator(torch.randn(len(batch[0]), 4))
        second.zero_grad()
        loss = ((self.critic(real) - 1) ** 2).mean() + (self.critic(fake.detach()) ** 2).mean()
        self.manual_backward(loss)
        second.step()
        first.zero_grad()
        lie = ((self.critic(fake) - 1) ** 2).mean()
        self.manual_backward(lie)
        (second if self.wrong else first).step()
        self.log_dict({"loss/critic": loss, "loss/generator": lie})
        self.losses.append(float(lie.detach()))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("distance", self.distance())

    def distance(self) -> float:
        """Return how far mean and deviation of the samples are from those of the ring (0 and 0.71)."""
        with torch.no_grad():
            x = self.generator(torch.randn(2048, 4, generator=torch.Generator().manual_seed(1)))
        return float(x.mean(0).norm() + (x.std(0) - 0.711).norm())


class Split(Rated):
    """A trunk and a head with an optimizer each; ``wrong``: the head's gradients are cleared twice."""

    def __init__(self, *, wrong: bool) -> None:
        super().__init__(nn.Identity())
        self.automatic_optimization, self.wrong, self.trunk_norms = False, wrong, []
        self.trunk, self.head = (
            nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU()),
            nn.Linear(32, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        trunk = torch.optim.SGD(self.trunk.parameters(), lr=0.1, momentum=0.5)
        return trunk, torch.optim.Adam(self.head.parameters(), lr=5e-3)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        trunk, head = self.optimizers()
        (head if self.wrong else trunk).zero_grad()
        head.zero_grad()
        loss = self.compute(batch)
        self.manual_backward(loss)
        self.trunk_norms.append(float(self.trunk[0].weight.grad.norm()))
        trunk.step()
        head.step()
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        self.losses.append(float(loss.detach()))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out, y = self(batch[0]), batch[1]
        self.val_losses.append(float(F.cross_entropy(out, y)))
        self.val_accuracies.append(float((out.argmax(1) == y).float().mean()))
        self.log_dict({"val/loss": self.val_losses[-1], "val/accuracy": self.val_accuracies[-1]})


class Seen(Rated):
    """Two noisy views of every image."""

    def views(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes of both."""
        return self.net(x + 0.1 * torch.randn_like(x)), self.net(x + 0.1 * torch.randn_like(x))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = torch.stack([self.compute([x, x]) for x in batch[0].split(64)[:-1]]).mean()
        self.log("val_loss", loss)
        if not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))


class Views(Seen):
    """InfoNCE between the two views."""

    def __init__(self, net: nn.Module, temperature: float, **options: Any) -> None:
        super().__init__(net, **options)
        self.temperature = temperature

    def compute(self, batch: Batch) -> Tensor:
        a, b = (F.normalize(z, dim=1) for z in self.views(batch[0]))
        return F.cross_entropy(a @ b.T / self.temperature, torch.arange(len(a)))


class Variance(Seen):
    """Invariance, covariance and (times ``weight``) variance of the codes of two views."""

    def __init__(self, net: nn.Module, weight: float, **options: Any) -> None:
        super().__init__(net, **options)
        self.weight = weight

    def compute(self, batch: Batch) -> Tensor:
        a, b = self.views(batch[0])
        loss = F.mse_loss(a, b)
        for z in (a, b):
            c = torch.cov(z.T)
            off = c - torch.diag(torch.diag(c))
            loss = loss + 0.1 * off.pow(2).sum() / len(c)
            loss = loss + self.weight * F.relu(1 - (torch.diag(c) + 1e-4).sqrt()).mean()
        return loss


class Angles(Rated):
    """Turns a direction by what a network says; the loss is the angle to the target."""

    def __init__(self, *, safe: bool, **options: Any) -> None:
        super().__init__(mlp(6, 48, 48, 3, act=nn.Tanh), **options)
        self.safe = safe
        nn.init.zeros_(self.net[4].weight)
        nn.init.zeros_(self.net[4].bias)

    def compute(self, batch: Batch) -> Tensor:
        x, y = batch
        found = F.normalize(x[:, :3] + self.net(x), dim=1)
        dot = (found * y).sum(1)
        if self.safe:
            return torch.atan2(torch.linalg.cross(found, y).square().sum(1).add(1e-8).sqrt(), dot).mean()
        return torch.acos(torch.minimum(dot, torch.ones(()))).mean()


class Agent(Rated):
    """A contextual bandit: the action is drawn, the reward is 1 for the right one; REINFORCE with a baseline."""

    def __init__(self, sign: float, **options: Any) -> None:
        super().__init__(mlp(30, 24, 2, act=nn.Tanh), **options)
        self.sign, self.baseline = sign, 0.5

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        policy = torch.distributions.Categorical(logits=self.net(x))
        action = policy.sample()
        reward = (action == y).float()
        loss = self.sign * (policy.log_prob(action) * (reward - self.baseline)).mean()
        self.baseline += 0.05 * (float(reward.mean()) - self.baseline)
        self.log_dict({"loss": loss, "reward": reward.mean()})
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.val_accuracies.append(float((self.net(batch[0]).argmax(1) == batch[1]).float().mean()))
        self.log("val_reward", self.val_accuracies[-1], prog_bar=True)
