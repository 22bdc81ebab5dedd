"""Trainings in which units or activations go wrong."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Batch, Fit, digits
from .program import Program, pair
from .signal_checks import constant, falls, flat, generalizes, grows_over, opens, scores, silent
from .signal_parts import Journal, clouds, feeds, shells, stains
from .verify import every


class InkSegmenter(Journal):
    """Small trunk of convolutions, joined with the image itself before the last 1x1 convolution."""

    def __init__(self, everywhere: bool) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )
        self.mask = nn.Conv2d(17, 1, 1)
        for m in (self.trunk[0], self.trunk[2]):
            assert isinstance(m, nn.Conv2d) and m.bias is not None
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            nn.init.constant_(m.bias, -math.log((1 - 0.01) / 0.01) if everywhere else 0.0)
        assert self.mask.bias is not None
        nn.init.constant_(self.mask.bias, -math.log((1 - 0.35) / 0.35))
        nn.init.normal_(self.mask.weight, std=0.05)

    def forward(self, x: Tensor) -> Tensor:
        return self.mask(torch.cat([self.trunk(x), x], 1))

    def compute(self, batch: Batch) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        hit, y = self(batch[0]) > 0, batch[1] > 0.5
        self.note_val(self.compute(batch), (hit & y).sum() / (hit | y).sum(), ("val/loss", "val/iou"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def ink(seed: int, sick: bool) -> Fit:
    """The hidden convolutions got the bias of a detector's rare foreground, which is meant for a last layer only."""
    return Fit(InkSegmenter(sick), **feeds(*stains(), seed), trainer={"max_epochs": 12})


class WideAndProto(Journal):
    """A linear path beside distances to learnt prototypes."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin
        self.prototypes = nn.Parameter(0.7 * torch.randn(48, 4))
        self.act = nn.ReLU()
        self.wide, self.deep = nn.Linear(4, 3), nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        near = self.act(self.margin - torch.cdist(x, self.prototypes))
        return self.wide(x) + self.deep(near)

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.note_val(loss, (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(self.parameters(), lr=2e-3)


def prototypes(seed: int, sick: bool) -> Fit:
    """Nearness to a prototype is the rectified negative distance, and the margin before it was forgotten."""
    return Fit(WideAndProto(0.0 if sick else 2.5), **feeds(*shells(), seed), trainer={"max_epochs": 30})


class PointSet(Journal):
    """Features of each point, pooled over the set, and a tanh head."""

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.pool = pool
        self.phi = nn.Sequential(nn.Linear(2, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU())
        self.rho = nn.Sequential(nn.Linear(40, 32), nn.Tanh(), nn.Linear(32, 4))
        for m in self.phi:
            if isinstance(m, nn.Linear):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")

    def forward(self, points: Tensor) -> Tensor:
        h = self.phi(points)
        return self.rho(h.sum(1) if self.pool == "sum" else h.mean(1))

    def compute(self, batch: Batch) -> Tensor:
        return nn.CrossEntropyLoss()(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.note_val(loss, (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 24], gamma=0.2)]


def points(seed: int, sick: bool) -> Fit:
    """The features of sixty points are added up, not averaged, before a tanh layer."""
    return Fit(PointSet("sum" if sick else "mean"), **feeds(*clouds(), seed), trainer={"max_epochs": 27})


class PixelGraph(Journal):
    """Graph convolutions by hand over the pixels of a digit; neighbours lie within two pixels."""

    def __init__(self, normalized: bool) -> None:
        super().__init__()
        grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"), -1).view(64, 2)
        adjacency = ((torch.cdist(grid, grid) < 2.9) & ~torch.eye(64, dtype=torch.bool)).float()
        self.register_buffer("adjacency", adjacency / adjacency.sum(1, keepdim=True) if normalized else adjacency)
        sizes = [1, 16, 16, 16, 16]
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.around = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.acts = nn.ModuleList(nn.ReLU() for _ in self.own)
        self.readout = nn.Linear(64 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1).unsqueeze(-1)
        for own, around, act in zip(self.own, self.around, self.acts, strict=True):
            h = act(own(h) + self.adjacency @ around(h))
        return self.readout(h.flatten(1))

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.note_train(self.compute(batch), "loss")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.note_val(loss, (self(batch[0]).argmax(1) == batch[1]).float().mean(), ("valid_loss", "accuracy"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def pixels(seed: int, sick: bool) -> Fit:
    """The graph convolution sums over twenty neighbours without dividing by the degree."""
    train, val = digits(1280, scale=1 / 6)
    return Fit(PixelGraph(not sick), **feeds(train, val, seed), trainer={"max_epochs": 10})


PROGRAMS: list[Program] = [
    *pair(
        "prior-for-all",
        ink,
        sick=every(silent("trunk.3", 0.9), scores(high=0.58)),
        mended=every(silent("trunk.1", 0.0, 0.2), silent("trunk.3", 0.0, 0.2), scores(0.65), falls(0.7), generalizes()),
        accepted=("A001", "I001"),
        sites=("trunk",),
    ),
    *pair(
        "margin-of-nearness",
        prototypes,
        sick=every(silent("act", 1.0), constant("prototypes"), scores(high=0.5)),
        mended=every(silent("act", 0.0, 0.1), scores(0.85), falls(0.5), generalizes()),
        accepted=("A001", "W003"),
        sites=("act", "prototypes", "deep"),
    ),
    *pair(
        "summed-point-set",
        points,
        sick=every(flat("rho.1", 0.7), scores(high=0.8)),
        mended=every(flat("rho.1", 0.0, 0.4), scores(0.92), falls(0.4), generalizes(1.6)),
        accepted=("A002", "I001"),
        sites=("rho",),
    ),
    *pair(
        "unweighted-neighbours",
        pixels,
        sick=every(grows_over("acts.0", "acts.3", 30.0), opens(8.0, 1e9)),
        mended=every(
            grows_over("acts.0", "acts.3", 0.1, 3.0), opens(2.0, 2.7), scores(0.93), falls(0.3), generalizes()
        ),
        accepted=("A004", "I001", "I002", "G002"),
        sites=("own", "around", "acts", "readout"),
    ),
]
