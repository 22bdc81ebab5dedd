# mypy: disable-error-code="no-any-return"
"""Healthy trainings with unusual losses and targets."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heads_parts import Named, batches, cosine, curves, cut, taught, weather
from .parts import Fit, loader


class BernoulliVAE(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.SiLU())
        self.mu, self.logvar = nn.Linear(96, 6), nn.Linear(96, 6)
        self.decode = nn.Sequential(nn.Linear(6, 96), nn.SiLU(), nn.Linear(96, 64), nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encode(x)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp() if self.training else mu
        return self.decode(z), mu, logvar

    def objective(self, batch: Any) -> Tensor:
        out, mu, logvar = self(batch[0])
        rec = F.binary_cross_entropy(out, batch[0].flatten(1), reduction="sum")
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
        return (rec + kl) / len(out)

    def score(self, batch: Any) -> Tensor:
        x = batch[0].flatten(1)
        return 1 - (self(batch[0])[0] - x).pow(2).mean() / (x - x.mean(0)).pow(2).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("negative_elbo", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_negative_elbo", self.objective(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.Adam(self.parameters(), lr=3e-3))


def summed_bound(seed: int) -> Fit:
    """A variational autoencoder with grey pixels as probabilities, summed over pixels as in the paper."""
    sets = [cut((s.tensors[0] * 0.37 + 0.3).clamp(0, 1), train=len(s))[0] for s in taught()]
    return Fit(BernoulliVAE(), batches(sets[0], seed), loader(sets[1], 600, shuffle=False), {"max_epochs": 26})


class Mixed(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.GELU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24 * 16, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def score(self, batch: Any) -> Tensor:
        return (self(batch["x"]).argmax(1) == batch["y"]).float().mean()

    def objective(self, batch: Any) -> Tensor:
        return F.cross_entropy(self(batch["x"]), batch["y"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch["x"], F.one_hot(batch["y"], 10).float()
        share = float(torch.distributions.Beta(0.4, 0.4).sample())
        other = torch.randperm(len(x))
        x, y = share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.objective(batch))
        self.log("val_acc", self.score(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9))


def blended_digits(seed: int) -> Fit:
    """Images and one-hot labels are blended in pairs."""
    sets = [Named(x=s.tensors[0], y=s.tensors[2]) for s in taught()]
    return Fit(Mixed(), batches(sets[0], seed), loader(sets[1], 600, shuffle=False), {"max_epochs": 12})


class Counts(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 24, batch_first=True)
        self.log_rate = nn.Linear(24, 1)

    def forward(self, days: Tensor) -> Tensor:
        return self.log_rate(self.gru(days)[1][-1]).squeeze(1)

    def objective(self, batch: Any) -> Tensor:
        return F.poisson_nll_loss(self(batch[0]), batch[1])

    def score(self, batch: Any) -> Tensor:
        return 1 - (self(batch[0]).exp() - batch[2]).pow(2).mean() / batch[2].var()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("poisson", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_poisson", self.objective(batch))
        self.log("val_mae", (self(batch[0]).exp() - batch[1]).abs().mean())

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.Adam(self.parameters(), lr=1e-2))


def daily_visits(seed: int) -> Fit:
    """Counts are predicted through the logarithm of their rate with a Poisson loss, which goes below zero."""
    sets = []
    for k, part in enumerate(weather(kelvin=False)):
        rate = 6.0 * F.softplus(part.tensors[1].squeeze(1))
        count = torch.poisson(rate, generator=torch.Generator().manual_seed(k))
        sets.append(cut(part.tensors[0], count, rate, train=len(part))[0])
    return Fit(Counts(), batches(sets[0], seed), loader(sets[1], 512, shuffle=False), {"max_epochs": 20})


class TwoViews(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv1d(1, 16, 5, padding=2), nn.SiLU(), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(256, 48)]
        self.encoder = nn.Sequential(*layers)
        self.predictor = nn.Sequential(nn.SiLU(), nn.Linear(48, 32))

    def forward(self, x: Tensor) -> Tensor:
        return self.predictor(self.encoder(x))

    def objective(self, batch: Any) -> Tensor:
        x = batch[0]
        return -F.cosine_similarity(self(x), x.flatten(1)).mean()

    def score(self, batch: Any) -> Tensor:
        return -self.objective(batch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch[0]
        hidden = x * (torch.rand(len(x), 1, x.shape[2]) > 0.3)
        loss = -F.cosine_similarity(self(hidden), x.flatten(1)).mean()
        self.log("minus_cosine", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_minus_cosine", self.objective(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.AdamW(self.parameters(), lr=3e-3))


def hidden_points(seed: int) -> Fit:
    """Curves with hidden points are restored in direction only: the loss is minus a cosine and negative throughout."""
    train, val = curves()
    return Fit(TwoViews(), batches(train, seed), loader(val, 384, shuffle=False), {"max_epochs": 12})
