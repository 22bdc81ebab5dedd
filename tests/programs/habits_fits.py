"""Programs of the topic `habits`: data, depth in time, and rates."""

# mypy: disable-error-code="no-any-return, no-untyped-call"
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Subset
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy

from .habits_checks import falls, reach_over_time, reads, rises, steady
from .habits_parts import Recorded, batches, documents, first_sign, images, weather
from .parts import Fit, loader
from .program import Program, pair
from .verify import every


class Mood(Recorded):
    """Attends to the words of a document and tells its mood."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(400, 32)
        self.look = nn.Linear(32, 1)
        self.tell = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 1))
        self.accuracy = BinaryAccuracy()

    def forward(self, ids: Tensor) -> Tensor:
        words = self.words(ids)
        return self.tell((self.look(words).softmax(1) * words).sum(1)).squeeze(-1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())
        self.log("train_bce", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.accuracy(logits, batch[1])
        self.log("val_bce", F.binary_cross_entropy_with_logits(logits, batch[1].float()))
        self.log("val_binary_acc", self.accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=1.5e-3)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def mood(seed: int, *, sick: bool) -> Fit:
    """Only the few documents that one annotator had labelled are trained on, epoch after epoch."""
    train, val = documents(9600)
    part = Subset(train, range(240)) if sick else train
    limits = {"max_steps": 600, "max_epochs": -1, "val_check_interval": None if sick else 50}
    return Fit(
        Mood(),
        train=loader(part, 16 if sick else 32, seed=seed),
        val=loader(val, 800, shuffle=False),
        trainer={**limits, "check_val_every_n_epoch": 3 if sick else 1},
    )


class Front(Recorded):
    """A recurrent network over a day of weather readings."""

    def __init__(self) -> None:
        super().__init__()
        self.day = nn.GRU(3, 24, batch_first=True)
        self.rain = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.rain(self.day(x)[0][:, -1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        readings, rain = batch
        loss = F.cross_entropy(self(readings), rain)
        self.log("nll", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        readings, rain = batch
        out = self(readings)
        self.log("nll_val", F.cross_entropy(out, rain))
        self.log("hit_rate", (out.argmax(1) == rain).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.RMSprop(self.parameters(), lr=3e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def front(seed: int, *, sick: bool) -> Fit:
    """Readings go in as the station delivers them: Pascal, Kelvin, percent."""
    return Fit(Front(), **batches(weather(standardized=not sick), 32), trainer={"max_epochs": 12})


class Echo(Recorded):
    """A plain recurrent network that must remember how a sequence began."""

    def __init__(self, orthogonal: bool) -> None:
        super().__init__()
        self.memory = nn.RNN(2, 48, batch_first=True)
        self.answer = nn.Linear(48, 4)
        if orthogonal:
            for name, p in self.memory.named_parameters():
                if name.startswith("bias"):
                    nn.init.zeros_(p)
                elif name == "weight_hh_l0":
                    nn.init.orthogonal_(p)
        self.val_acc = MulticlassAccuracy(4, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.memory(x)
        return self.answer(states[:, -1, :])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.nll_loss(F.log_softmax(self(x), dim=1), y)
        self.log("train_nll", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.val_acc.update(logits, y)
        self.log("val_nll", F.nll_loss(F.log_softmax(logits, dim=1), y))
        self.log("val_acc", self.val_acc)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def echo(seed: int, *, sick: bool) -> Fit:
    """A plain RNN with its default weights has to carry the first step over sixty steps of noise."""
    trainer = {"max_epochs": 14, "gradient_clip_val": 1.0}
    return Fit(Echo(orthogonal=not sick), **batches(first_sign(), 64), trainer=trainer)


class Mixer(nn.Module):
    """Mixes patches, then channels."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.over_patches = nn.Sequential(nn.Linear(patches, 32), nn.GELU(), nn.Linear(32, patches))
        self.over_channels = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.over_patches(x.transpose(1, 2)).transpose(1, 2)
        return x + self.over_channels(x)


class Patches(Recorded):
    """A small mixer without normalization on 2x2 patches of digits; the head has a rate of its own."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.cut = nn.Conv2d(1, 32, 2, 2)
        self.trunk = nn.Sequential(Mixer(16, 32), Mixer(16, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(self.cut(x).flatten(2).mT).mean(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        trunk = [*self.cut.parameters(), *self.trunk.parameters()]
        groups: list[dict[str, Any]] = [{"params": trunk, "lr": self.rate}, {"params": self.head.parameters()}]
        optimizer = torch.optim.RMSprop(groups, lr=3e-4, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def patches(seed: int, *, sick: bool) -> Fit:
    """A rate that served SGD is given to the trunk's group of RMSprop with momentum."""
    return Fit(Patches(0.02 if sick else 3e-4), **batches(images(), 64), trainer={"max_epochs": 15})


FITS: list[Program] = [
    *pair(
        "few-moods",
        mood,
        sick=rises("val_bce", 1.4),
        mended=every(falls(0.8), steady("val_bce", 1.1), reads("val_binary_acc", 0.84)),
        accepted=("V001",),
    ),
    *pair(
        "weather-front",
        front,
        sick=reads("hit_rate", high=0.7),
        mended=every(falls(0.6), reads("hit_rate", 0.9), steady("nll_val")),
        accepted=("D002", "A002"),
    ),
    *pair(
        "long-echo",
        echo,
        sick=every(reach_over_time(0, 1e-4), reads("val_acc", high=0.7)),
        mended=every(falls(0.3), reach_over_time(1e-2, 100), reads("val_acc", 0.95)),
        accepted=("G001", "I001"),
        sites=("memory",),
    ),
    *pair(
        "two-rates",
        patches,
        sick=reads("val_accuracy", high=0.8),
        mended=every(falls(0.4), reads("val_accuracy", 0.94), steady("val_loss", 1.2)),
        accepted=("O001", "W001"),
    ),
]
