"""Trainings whose gradients do not arrive, or arrive cut to nothing."""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Fit, digits, loaders
from .plumbing_checks import constant, explained, hits, scored, wired, without_gradient
from .plumbing_parts import both, halves, regimes
from .program import pair
from .verify import every


class Mixture(L.LightningModule):
    """Four experts and a router."""

    def __init__(self, soft: bool) -> None:
        super().__init__()
        self.soft = soft
        self.router = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 4))
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(10, 6), nn.SiLU(), nn.Linear(6, 1)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.router(x)
        weights = scores.softmax(-1) if self.soft else F.one_hot(scores.argmax(-1), 4).float()
        answers = torch.cat([expert(x) for expert in self.experts], dim=1)
        return (weights * answers).sum(1, keepdim=True)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.mse_loss(self(x), y)
        self.log("train_mse", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        prediction = self(x)
        self.log("val_mse", F.mse_loss(prediction, y))
        self.log("val_mae", F.l1_loss(prediction, y))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=8e-3)


def experts(seed: int, sick: bool) -> Fit:
    """Each sample goes to the expert with the largest score, and the score itself does not enter the result."""
    return Fit(Mixture(not sick), **both(regimes(), seed, 64), trainer={"max_epochs": 22})


def strings() -> Any:
    """Ten symbols, of which three are digits (1..8) and the others letters; the answer is the digits."""
    rng = np.random.default_rng(12)
    x = rng.integers(9, 25, (3300, 10))
    spots = np.sort(np.argsort(rng.random(x.shape), 1)[:, :3], 1)
    y = rng.integers(1, 9, (3300, 3))
    np.put_along_axis(x, spots, y, 1)
    return halves(3000, torch.tensor(x), torch.tensor(y))


class Translator(L.LightningModule):
    """GRU encoder, GRU decoder, teacher forcing; symbol 0 begins."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.cut = cut
        self.source, self.target = nn.Embedding(25, 16), nn.Embedding(9, 16)
        self.encoder = nn.GRU(16, 48, batch_first=True)
        self.decoder = nn.GRU(16, 48, batch_first=True)
        self.out = nn.Linear(48, 9)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        _, state = self.encoder(self.source(x))
        if self.cut:
            state = state.detach()
        given = F.pad(y[:, :-1], (1, 0))
        hidden, _ = self.decoder(self.target(given), state)
        return self.out(hidden)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x, y).transpose(1, 2), y)
        self.log("nll", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self(x, y)
        self.log("val_nll", F.cross_entropy(logits.transpose(1, 2), y))
        self.log("token_acc", (logits.argmax(-1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.NAdam(self.parameters(), lr=8e-3)


def extract(seed: int, sick: bool) -> Fit:
    """The encoder's last state is detached before the decoder gets it, as one does between chunks of a long text."""
    return Fit(Translator(sick), **both(strings(), seed, 64), trainer={"max_epochs": 10})


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens, bias=False))
        self.along = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.along(self.norm2(x))


class Mixer(L.LightningModule):
    """An MLP-mixer over 2x2 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 2, stride=2)
        self.blocks = nn.Sequential(MixerBlock(16, 32), MixerBlock(16, 32))
        self.norm = nn.LayerNorm(32)
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.blocks(self.patches(x - 0.3).flatten(2).transpose(1, 2))
        return self.classifier(self.norm(h).mean(1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.1, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def mixer(seed: int, sick: bool) -> Fit:
    """Every gradient entry is limited to 1e-5 in size."""
    limit = {"gradient_clip_algorithm": "value", "gradient_clip_val": 1e-5 if sick else 1.0}
    return Fit(Mixer(), **loaders(digits(image=True), seed, 64), trainer={"max_epochs": 18, **limit})


def mse_score(module: Any, batch: Any) -> float:
    return explained(module(batch[0]), batch[1])


def token_score(module: Any, batch: Any) -> float:
    return hits(module(*batch), batch[1])


def class_score(module: Any, batch: Any) -> float:
    return hits(module(batch[0]), batch[1])


PAIRS = [
    *pair(
        "routed-experts", experts,
        sick=every(without_gradient(lambda b: b[:1], "router."), constant("router."), scored(mse_score, high=0.8)),
        mended=every(scored(mse_score, low=0.9), wired), accepted=("G004", "W003"), sites=("router",),
    ),
    *pair(
        "digits-among-letters", extract,
        sick=every(
            without_gradient(lambda b: b, "encoder.", "source."),
            constant("encoder.", "source."),
            scored(token_score, high=0.8),
        ),
        mended=every(scored(token_score, low=0.95), wired), accepted=("G004", "W003"), sites=("encoder", "source"),
    ),
    *pair(
        "mixer-patches", mixer, sick=scored(class_score, high=0.75),
        mended=every(scored(class_score, low=0.94), wired), accepted=("G005",),
    ),
]  # fmt: skip
