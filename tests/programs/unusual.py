"""Healthy controls of unusual form: generative models, own losses, manual optimization."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .parts import Batch, Fit, Pair, Task, diabetes, digits, loaders, mlp
from .program import healthy
from .verify import Check, learns

Adam = torch.optim.Adam


def build(kind: Any, net: Any, data: Any, *, epochs: int, rate: float = 2e-3, val: bool = True, **task: Any) -> Any:
    """Return a builder of ``kind`` with Adam."""

    def make(seed: int) -> Fit:
        sets: dict[str, Any] = loaders(data(), seed)
        if not val:
            sets["val"] = None
        module = kind(net(), optimizer=partial(Adam, lr=rate), **task)
        return Fit(module, **sets, trainer={"max_epochs": epochs})

    return make


class Autoencoder(Task):
    """Reconstructs its input through a bottleneck."""

    def compute(self, batch: Batch) -> Tensor:
        return F.mse_loss(self.net(batch[0]), batch[0])


class VAE(Task):
    """Variational autoencoder; the network is a dict of encoder and decoder."""

    def compute(self, batch: Batch) -> Tensor:
        x = batch[0]
        mean, log_variance = self.net["encoder"](x).chunk(2, 1)  # type: ignore[index]
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        reconstruction = F.binary_cross_entropy_with_logits(self.net["decoder"](z), x, reduction="none").sum(1)  # type: ignore[index]
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        return (reconstruction + divergence).mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_loss", self.compute(batch))


class Contrastive(Task):
    """InfoNCE between two noisy views."""

    def compute(self, batch: Batch) -> Tensor:
        x = batch[0]
        a, b = (F.normalize(self.net(x + 0.1 * torch.randn_like(x)), dim=1) for _ in range(2))
        return F.cross_entropy(a @ b.T / 0.2, torch.arange(len(x)))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        return None


class Gaussian(Task):
    """Mean and variance of a target; the loss becomes negative."""

    def compute(self, batch: Batch) -> Tensor:
        x, y = batch
        mean, raw = self.net(x).chunk(2, 1)
        return F.gaussian_nll_loss(mean, y, F.softplus(raw) + 1e-3)


class Denoiser(Task):
    """Predicts the noise that was mixed into an image, at a random level."""

    def compute(self, batch: Batch) -> Tensor:
        x = 2 * batch[0] - 1
        t, noise = torch.rand(len(x), 1), torch.randn_like(x)
        mixed = (1 - t).sqrt() * x + t.sqrt() * noise
        return F.mse_loss(self.net(torch.cat([mixed, t], 1)), noise)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_loss", self.compute(batch))


class Bandit(Task):
    """REINFORCE with a baseline on a contextual bandit: the loss hovers round zero, the reward rises."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rewards: list[float] = []

    def compute(self, batch: Batch) -> Tensor:
        x, y = batch
        policy = torch.distributions.Categorical(logits=self.net(x))
        action = policy.sample()
        reward = (action == y).float()
        self.rewards.append(float(reward.mean()))
        return -(policy.log_prob(action) * (reward - reward.mean())).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("reward", self.rewards[-1])
        return loss


class GAN(Task):
    """A generator and a discriminator of eight Gaussians on a ring, with manual optimization."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        real = batch[0]
        g, d = self.optimizers()  # type: ignore[misc]
        fake = self.net["generator"](torch.randn(len(real), 8))  # type: ignore[index]
        judge = self.net["discriminator"]  # type: ignore[index]
        d_loss = F.softplus(-judge(real)).mean() + F.softplus(judge(fake.detach())).mean()
        d.zero_grad()
        self.manual_backward(d_loss)
        d.step()
        g_loss = F.softplus(-judge(fake)).mean()
        g.zero_grad()
        self.manual_backward(g_loss)
        g.step()
        self.log_dict({"d_loss": d_loss, "g_loss": g_loss})
        self.losses.append(float((fake.detach().norm(dim=1).mean() - 2.0).abs()))

    def configure_optimizers(self) -> Any:
        parts = (self.net["generator"], self.net["discriminator"])  # type: ignore[index]
        return [Adam(p.parameters(), lr=2e-3, betas=(0.5, 0.99)) for p in parts]


def ring() -> Pair:
    generator = torch.Generator().manual_seed(0)
    angle = torch.randint(8, (1024, 1), generator=generator) * (torch.pi / 4)
    x = 2 * torch.cat([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(1024, 2, generator=generator)
    return TensorDataset(x, angle), TensorDataset(x, angle)


def line() -> Pair:
    """A target with small noise, so that the negative log likelihood becomes negative."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1280, 3, generator=generator)
    y = (x.sum(1, keepdim=True) - 1.5) + 0.05 * torch.randn(1280, 1, generator=generator)
    return TensorDataset(x[:1024], y[:1024]), TensorDataset(x[1024:], y[1024:])


def several_labels() -> Pair:
    """Is it even, above four, round?"""
    sets = []
    for data in digits():
        y = data.tensors[1]
        labels = torch.stack([y % 2 == 0, y > 4, (y == 0) | (y == 6) | (y == 8) | (y == 9)], 1).float()
        sets.append(TensorDataset(data.tensors[0], labels))
    return sets[0], sets[1]


def heavy_tails() -> Pair:
    """Diabetes with a few wild targets."""
    sets = []
    for data in diabetes():
        y = data.tensors[1].clone()
        y[::40] *= 8
        sets.append(TensorDataset(data.tensors[0], y))
    return sets[0], sets[1]


def vae_net() -> nn.ModuleDict:
    return nn.ModuleDict({"encoder": mlp(64, 48, 16), "decoder": mlp(8, 48, 64)})


def gan_net() -> nn.ModuleDict:
    leaky = partial(nn.LeakyReLU, 0.2)
    return nn.ModuleDict({"generator": mlp(8, 32, 32, 2), "discriminator": mlp(2, 32, 32, 1, act=leaky)})


def rewarded(fit: Fit, module: Any) -> None:
    """The reward of the last steps is good."""
    assert sum(module.rewards[-20:]) / 20 > 0.5, module.rewards[-5:]


def imitates(fit: Fit, module: Any) -> None:
    """The generator's points lie near the ring."""
    assert sum(module.losses[-20:]) / 20 < 0.35, module.losses[-5:]


def negative(check: Check) -> Check:
    """``check``, and the loss ends below zero."""

    def both(fit: Fit, module: Any) -> None:
        check(fit, module)
        assert module.losses[-1] < 0

    return both


HEALTHY = (
    healthy("autoencoder", build(Autoencoder, lambda: mlp(64, 32, 8, 32, 64, act=nn.GELU), digits, epochs=15, rate=3e-3,
            names=("train_loss", "val_loss", "unused")), learns(0.6)),
    healthy("vae", build(VAE, vae_net, digits, epochs=10), learns(0.8)),
    healthy("contrastive", build(Contrastive, lambda: mlp(64, 64, 32), digits, epochs=6, val=False), learns(0.7)),
    healthy("gaussian-likelihood", build(Gaussian, lambda: mlp(3, 24, 2, act=nn.SiLU), line, epochs=20, rate=5e-3,
            names=("train_nll", "val_nll", "unused")), negative(learns(0.8))),
    healthy("denoiser", build(Denoiser, lambda: mlp(65, 96, 96, 64, act=nn.GELU), digits, epochs=10), learns(0.8)),
    healthy("bandit", build(Bandit, lambda: mlp(64, 32, 10), digits, epochs=15, rate=5e-3, val=False), rewarded),
    healthy("gan", build(GAN, gan_net, ring, epochs=20, val=False), imitates),
    healthy("multi-label", build(Task, lambda: mlp(64, 48, 3), several_labels, epochs=10,
            loss=F.binary_cross_entropy_with_logits), learns(0.6)),
    healthy("output-sigmoid", build(Task, lambda: nn.Sequential(*mlp(64, 48, 3), nn.Sigmoid()), several_labels,
            epochs=12, rate=5e-3, loss=F.binary_cross_entropy), learns(0.5)),
    healthy("heavy-tails", build(Task, lambda: mlp(10, 16, 1), heavy_tails, epochs=20, loss=nn.HuberLoss(delta=1.0)),
            learns(0.85)),
)  # fmt: skip
