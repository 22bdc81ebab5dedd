"""Trainings whose gradients or weights fade or grow."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Batch, Fit, digits
from .program import Program, pair
from .signal_checks import ends, falls, generalizes, growth, scores, through_time
from .signal_parts import Journal, feeds, memories, swings
from .verify import every


class FirstGlance(Journal):
    """A GRU that has to remember the first steps of a sequence."""

    def __init__(self, update: float) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 24, batch_first=True)
        self.head = nn.Linear(24, 4)
        with torch.no_grad():
            self.gru.get_parameter("bias_ih_l0")[24:48] = update

    def compute(self, batch: Batch) -> Tensor:
        _, last = self.gru(batch[0])
        return F.cross_entropy(self.head(last[-1]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        found = self.head(self.gru(batch[0])[1][-1]).argmax(1)
        self.note_val(self.compute(batch), (found == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def glance(seed: int, sick: bool) -> Fit:
    """The bias of the update gate follows the other convention, so that the state is overwritten, not kept."""
    return Fit(FirstGlance(-3.0 if sick else 3.0), **feeds(*memories(), seed), trainer={"max_epochs": 9})


class Swing(Journal):
    """An Elman network reads an oscillation and tells its frequency."""

    def __init__(self, std: float | None) -> None:
        super().__init__()
        self.cell = nn.RNN(1, 48, batch_first=True)
        self.out = nn.Linear(48, 1)
        recurrent = self.cell.get_parameter("weight_hh_l0")
        if std is None:
            nn.init.orthogonal_(recurrent)
        else:
            nn.init.normal_(recurrent, std=std)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x)[0][:, -1])

    def compute(self, batch: Batch) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.note_train(self.compute(batch), "train/mse")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        r2 = 1 - (self(batch[0]) - batch[1]).pow(2).mean() / batch[1].var()
        self.note_val(self.compute(batch), r2, ("val/mse", "val/r2"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def swing(seed: int, sick: bool) -> Fit:
    """The recurrent matrix is drawn with a standard deviation that does not know its width."""
    return Fit(Swing(0.4 if sick else None), **feeds(*swings(), seed), trainer={"max_epochs": 9})


class Triplets(Journal):
    """Digits embedded by triplets that are drawn within the batch."""

    def __init__(self, hinge: bool) -> None:
        super().__init__()
        self.hinge = hinge
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 48), nn.ReLU()
        )
        self.embed = nn.Linear(48, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(self.backbone(x))

    def compute(self, batch: Batch) -> Tensor:
        z, y = self(batch[0]), batch[1]
        same, index = y[:, None] == y[None], torch.arange(len(y))
        positive = (same.float() * torch.rand(len(y), len(y))).index_put((index, index), torch.tensor(1e-3)).argmax(1)
        negative = ((~same).float() * torch.rand(len(y), len(y))).argmax(1)
        gap = (z - z[positive]).pow(2).sum(1) - (z - z[negative]).pow(2).sum(1)
        return F.relu(gap + 1.0).mean() if self.hinge else gap.mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        z, y = self(batch[0]), batch[1]
        distance = torch.cdist(z, z).fill_diagonal_(torch.inf)
        self.note_val(self.compute(batch), (y[distance.argmin(1)] == y).float().mean(), ("val_loss", "recall_at_1"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=1e-4)


def triplets(seed: int, sick: bool) -> Fit:
    """The triplet loss lost its hinge, so that driving other classes further away pays for ever."""
    train, val = digits(1280, scale=1 / 6, image=True)
    return Fit(Triplets(not sick), **feeds(train, val, seed), trainer={"max_epochs": 18})


PROGRAMS: list[Program] = [
    *pair(
        "update-gate-convention",
        glance,
        sick=every(through_time(0.0, 1e-3), scores(high=0.5)),
        mended=every(through_time(0.02, 50.0), scores(0.9), falls(0.4), ends(0.0, 0.15)),
        accepted=("G001", "I001"),
        sites=("gru",),
    ),
    *pair(
        "wild-recurrent-matrix",
        swing,
        sick=every(through_time(1e3, 1e30), scores(high=0.6)),
        mended=every(through_time(1e-4, 50.0), scores(0.9), falls(0.3), generalizes(1.6)),
        accepted=("G002", "I001", "A002"),
        sites=("cell",),
    ),
    *pair(
        "hingeless-triplets",
        triplets,
        sick=every(growth(3.0), scores(high=0.9)),
        mended=every(growth(0.8, 2.0), scores(0.93), falls(0.4), generalizes(2.0)),
        accepted=("W007", "A004", "L003"),
    ),
]
