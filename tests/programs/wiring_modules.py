"""Modules of the programs in wiring.py about what the optimizer holds, each the way another author writes one."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import he, initialized, mlp
from .wiring_parts import Classifier, FieldEncoder, HandMade, Ledger

Adam, AdamW, SGD = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD


class GlyphNet(Classifier):
    """A strided CNN with a narrow code and a classifier."""

    def __init__(self, *, head_only: bool) -> None:
        super().__init__()
        self.head_only = head_only
        convs = [nn.Conv2d(1, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 16, 3, 2, 1), nn.GELU()]
        self.encoder = initialized(nn.Sequential(*convs, nn.Flatten(), nn.Linear(64, 8), nn.GELU()), he)
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.encoder(x))

    def configure_optimizers(self) -> Any:
        trained = self.classifier if self.head_only else self
        return self.annealed(AdamW(trained.parameters(), lr=1e-2, weight_decay=1e-3))


class BasketModel(Ledger):
    """Mean of article embeddings, one hidden layer, one logit; rows are dicts."""

    def __init__(self, *, lazy: bool) -> None:
        super().__init__()
        self.embedding = None if lazy else nn.Embedding(60, 6)
        self.head = mlp(6, 24, 1, act=nn.SiLU)
        self.criterion = nn.BCEWithLogitsLoss()

    def forward(self, items: Tensor) -> Tensor:
        if self.embedding is None:
            self.embedding = nn.Embedding(60, 6)
        return self.head(self.embedding(items).mean(1)).squeeze(1)

    def compute(self, batch: Any) -> Tensor:
        return self.criterion(self(batch["items"]), batch["label"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("bce", loss)
        self.note(loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, guess = self.compute(batch), self(batch["items"]) > 0
        accuracy = (guess == (batch["label"] > 0.5)).float().mean()
        self.log_dict({"val_bce": loss, "val_accuracy": accuracy})
        self.note(loss, accuracy)

    def configure_optimizers(self) -> Any:
        return self.annealed(Adam(self.parameters(), lr=1e-2))


class FieldRegressor(Ledger):
    """Embeddings of categorical columns and a number, two hidden layers."""

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        self.encoder = FieldEncoder({"city": 25, "job": 15, "device": 10}, 2, registered=registered)
        self.body = mlp(7, 32, 32, 1, act=nn.ELU)

    def forward(self, row: Any) -> Tensor:
        return self.body(torch.cat([self.encoder(row), row["age"][:, None]], 1))[:, 0]

    def compute(self, batch: Any) -> Tensor:
        return F.mse_loss(self(batch), batch["target"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_mse", loss, on_step=False, on_epoch=True)
        self.note(loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_mse", loss)
        self.note(loss)

    def configure_optimizers(self) -> Any:
        return self.annealed(Adam(self.parameters(), lr=1e-2))


class OwnLayers(Classifier):
    """Hidden layers written by hand under a linear head."""

    prefix = "train_"

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        self.hidden = HandMade(64, 32, 12, 12, registered=registered)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))

    def configure_optimizers(self) -> Any:
        return self.annealed(SGD(self.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3))


class Reader(Classifier):
    """An LSTM over the rows of an image; deeper parameters get a smaller rate."""

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.lstm, self.fc = nn.LSTM(8, 24, batch_first=True), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        _, (last, _) = self.lstm(x)
        return self.fc(last[-1])

    def configure_optimizers(self) -> Any:
        groups = [
            {"params": part.parameters(), "lr": 0.015 * (1 // (1 + depth) if self.whole else 1 / (1 + depth))}
            for depth, part in enumerate([self.fc, self.lstm])
        ]
        return self.annealed(AdamW(groups, weight_decay=0.0))


class Delayed(Ledger):
    """A regression that shall also agree, under noise, with a delayed copy of itself."""

    def __init__(self, *, backwards: bool) -> None:
        super().__init__()
        self.backwards = backwards
        self.online = mlp(10, 48, 48, 1, act=nn.GELU)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.online(x).squeeze(1)

    def compute(self, batch: Any) -> Tensor:
        x, y = batch
        return F.smooth_l1_loss(self(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch[0]
        supervised = self.compute(batch)
        agreement = F.mse_loss(self(x + 0.05 * torch.randn_like(x)), self.target(x).squeeze(1))
        self.log_dict({"loss": supervised, "agreement": agreement})
        self.note(supervised)
        return supervised + 0.1 * agreement

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.backwards:
            self.online.load_state_dict(self.target.state_dict())
        elif self.global_step % 10 == 0:
            self.target.load_state_dict(self.online.state_dict())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_loss", loss)
        self.note(loss)

    def configure_optimizers(self) -> Any:
        return self.annealed(Adam([p for p in self.parameters() if p.requires_grad], lr=3e-3))


class Averaged(Classifier):
    """A classifier that also keeps a moving average of its weights."""

    def __init__(self, *, overwrite: bool) -> None:
        super().__init__()
        self.overwrite = overwrite
        self.model = mlp(64, 48, 48, 10, norm=nn.LayerNorm, act=nn.GELU)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        for average, weight in zip(self.ema.parameters(), self.model.parameters(), strict=True):
            average.lerp_(weight, 0.001)
            if self.overwrite:
                weight.copy_(average)

    def configure_optimizers(self) -> Any:
        return self.annealed(AdamW(self.model.parameters(), lr=2e-3))
