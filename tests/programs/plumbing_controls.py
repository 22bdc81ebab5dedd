"""Healthy trainings whose plumbing looks odd."""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .parts import Fit, Pair, digits, loader, loaders
from .plumbing_checks import constant, hits, listed, scored, wired
from .plumbing_parts import both, halves
from .program import healthy
from .verify import every


def upper_digits() -> Pair:
    train, val = digits(image=True)
    parts = []
    for data in (train, val):
        x, y = data.tensors
        keep = y >= 5
        parts.append(TensorDataset(x[keep], y[keep] - 5))
    return parts[0], parts[1]


def pretrained(seed: int) -> nn.Sequential:
    """Return convolutions that were trained on the digits below five."""
    body = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip
    head = nn.Linear(24 * 16, 5)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=3e-3)
    x, y = digits(image=True)[0].tensors
    x, y = x[y < 5], y[y < 5]
    for _ in range(4):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(head(body(x[rows])), y[rows]).backward()
            optimizer.step()
    return body


class Transfer(L.LightningModule):
    """A frozen body that stays in eval mode and a new head, the only thing in the optimizer."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body.requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(384, 32), nn.ReLU(), nn.Linear(32, 5))

    def train(self, mode: bool = True) -> Transfer:
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.body(x)
        return self.head(features)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.head.parameters(), lr=1e-3)


def transfer(seed: int) -> Fit:
    """A head for new classes on a body that was trained on others and is frozen on purpose."""
    module = Transfer(pretrained(seed))
    module.train()
    return Fit(module, **loaders(upper_digits(), seed, 32), trainer={"max_epochs": 10})


class Calibration(L.LightningModule):
    """Mean and spread of a quantity that is known well in places; the negative log-likelihood goes below zero."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.mean, self.spread = nn.Linear(48, 1), nn.Linear(48, 1)

    def nll(self, batch: list[Tensor]) -> Tensor:
        h = self.trunk(batch[0])
        variance = F.softplus(self.spread(h)) + 1e-4
        return F.gaussian_nll_loss(self.mean(h), batch[1], variance, full=True)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.nll(batch)
        self.log("nll", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_nll", self.nll(batch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=5e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def calibration(seed: int) -> Fit:
    """A regression with its uncertainty: by far the most readings are precise."""
    g = torch.Generator().manual_seed(14)
    x = torch.randn(2400, 2, generator=g)
    clean = torch.sin(1.5 * x[:, :1]) + 0.4 * x[:, 1:]
    noise = 0.04 + 0.2 * torch.sigmoid(4 * (x[:, 1:] - 0.8))
    y = clean + noise * torch.randn(clean.shape, generator=g)
    return Fit(Calibration(), **both(halves(2000, x, y), seed, 64), trainer={"max_epochs": 18})


class ChainModel(L.LightningModule):
    """A causal transformer; every second batch one step, clipped at one, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.embed = nn.Embedding(8, 24)
        self.place = nn.Parameter(0.02 * torch.randn(16, 24))
        layer = nn.TransformerEncoderLayer(24, 2, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 1, norm=nn.LayerNorm(24), enable_nested_tensor=False)
        self.out = nn.Linear(24, 8)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(self.embed(x) + self.place, mask=self.mask, is_causal=True))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x = batch[0]
        loss = F.cross_entropy(self(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        self.manual_backward(loss / 2)
        self.log("train_loss", loss)
        if batch_idx % 2:
            optimizer: Any = self.optimizers()
            self.clip_gradients(optimizer, gradient_clip_val=1.0)
            optimizer.step()
            optimizer.zero_grad()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x = batch[0]
        self.log("val_loss", F.cross_entropy(self(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten()))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=4e-3, betas=(0.9, 0.98))


def chain(seed: int) -> Fit:
    """A language model of a random chain of second order."""
    rng = np.random.default_rng(7)
    table = rng.dirichlet(np.full(8, 0.2), (8, 8))
    x = rng.integers(0, 8, (2200, 17))
    for t in range(2, 17):
        chance = table[x[:, t - 2], x[:, t - 1]].cumsum(1)
        x[:, t] = np.minimum((rng.random((2200, 1)) > chance).sum(1), 7)
    return Fit(ChainModel(), **both(halves(1920, torch.tensor(x)), seed, 32), trainer={"max_epochs": 20})


class Views(L.LightningModule):
    """Two sensors of one state; within a batch every reading is to find its partner."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 8))
        self.right = nn.Sequential(nn.Linear(9, 48), nn.ReLU(), nn.Linear(48, 8))
        self.heat = nn.Parameter(torch.tensor(1.6))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.normalize(self.left(a), dim=1) @ F.normalize(self.right(b), dim=1).T * self.heat.exp()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        scores, own = self(*batch), torch.arange(len(batch[0]))
        loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        self.log("contrastive", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=4e-3)


def views(seed: int) -> Fit:
    """Contrastive training with the rest of the batch as negatives, without validation."""
    g = torch.Generator().manual_seed(11)
    state = torch.randn(2600, 5, generator=g)
    a = state @ torch.randn(5, 12, generator=g) / 5**0.5
    b = torch.tanh(state @ torch.randn(5, 9, generator=g) / 5**0.5)
    data = TensorDataset(a + 0.1 * torch.randn(a.shape, generator=g), 1.5 * b + 0.1 * torch.randn(b.shape, generator=g))
    return Fit(Views(), loader(data, 64, seed=seed), trainer={"max_epochs": 14})


def chain_score(module: Any, batch: Any) -> float:
    x = batch[0]
    return -float(F.cross_entropy(module(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten()))


def only_the_head(fit: Fit, module: Any) -> None:
    assert listed(module) == {id(p) for p in module.head.parameters()} and not module.body.training


CONTROLS = [
    healthy(
        "new-digits-head", transfer,
        every(scored(lambda m, b: hits(m(b[0]), b[1]), low=0.95), constant("body.", trainable=False), only_the_head),
    ),
    healthy("precise-readings", calibration, every(scored(lambda m, b: -float(m.nll(b)), low=0.6), wired)),
    healthy("second-order-chain", chain, every(scored(chain_score, low=-1.15), wired)),
    healthy("partner-views", views, every(scored(lambda m, b: hits(m(*b), torch.arange(len(b[0]))), low=0.8), wired)),
]  # fmt: skip
