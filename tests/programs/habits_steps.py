"""Programs of the topic `habits`: modes of modules and what the optimizer is given."""

# mypy: disable-error-code="no-any-return, no-untyped-call"
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .habits_checks import constant, falls, gains, honest, leftover, reads
from .habits_parts import Recorded, batches, comparisons, images, signals
from .parts import Fit
from .program import Program, pair
from .verify import every


class Listener(Recorded):
    """Two GRU layers with dropout over a wave."""

    def __init__(self, saliency: bool) -> None:
        super().__init__()
        self.saliency = saliency
        self.rnn = nn.GRU(4, 32, num_layers=2, dropout=0.6, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.6), nn.Linear(32, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.unflatten(-1, (-1, 4)).squeeze(1))[0].mean(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("ce", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        if self.saliency:
            self.rnn.train()  # cudnn RNN backward can only be called in training mode
            self.head.train()
        with torch.enable_grad():
            x = x.clone().requires_grad_(True)
            logits = self(x)
            (slope,) = torch.autograd.grad(logits.amax(1).sum(), x)
        self.log("saliency", slope.abs().mean())
        self.log("valid_ce", F.cross_entropy(logits.detach(), y))
        self.log("valid_acc", (logits.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.NAdam(self.parameters(), lr=6e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def listener(seed: int, *, sick: bool) -> Fit:
    """For saliency maps in the validation the author puts the recurrent part and the head into training mode."""
    return Fit(Listener(sick), **batches(signals(noise=0.55), 64), trainer={"max_epochs": 20})


class ConvBlock(nn.Module):
    """Normalize, look at the neighbours, mix the channels, add."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.look = nn.Conv1d(width, width, 3, padding=1)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.look(self.norm(x).mT).mT
        return x + self.mix(x)


class Tagger(Recorded):
    """Tags every token of a sequence."""

    def __init__(self, coupled: bool) -> None:
        super().__init__()
        self.coupled = coupled
        self.tokens = nn.Embedding(12, 32)
        self.blocks = nn.Sequential(*(ConvBlock(32) for _ in range(3)))
        self.last, self.tag = nn.LayerNorm(32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tag(self.last(self.blocks(self.tokens(x))))

    def _loss(self, batch: Any, stage: str) -> Tensor:
        logits = self(batch[0])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[1].flatten())
        self.log(f"{stage}_loss", loss)
        self.log(f"{stage}_tag_acc", (logits.argmax(-1) == batch[1]).float().mean(), prog_bar=True)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._loss(batch, "val")

    def configure_optimizers(self) -> Any:
        if self.coupled:
            return torch.optim.Adam(self.parameters(), lr=2e-3, weight_decay=1e-2)
        matrices = [p for p in self.parameters() if p.ndim > 1]
        rest = [p for p in self.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 1e-2}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=2e-3)


def tagger(seed: int, *, sick: bool) -> Fit:
    """The optimizer is Adam with weight_decay=1e-2 on all parameters, as the author knows it from SGD."""
    return Fit(Tagger(sick), **batches(comparisons(), 32), trainer={"max_epochs": 15})


class Painter(Recorded):
    """Finds the ink of noisy digits with a small U-shaped network, optimized by hand."""

    def __init__(self, every_step: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.every_step = every_step
        self.down = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.GroupNorm(3, 12), nn.SiLU())
        self.deep = nn.Sequential(
            nn.Conv2d(12, 24, 3, 2, 1), nn.GroupNorm(4, 24), nn.SiLU(), nn.Upsample(scale_factor=2)
        )
        self.up = nn.Sequential(nn.Conv2d(36, 12, 3, padding=1), nn.SiLU(), nn.Conv2d(12, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        return self.up(torch.cat([skip, self.deep(skip)], 1))

    def objective(self, batch: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def on_train_epoch_start(self) -> None:
        self.optimizers().zero_grad()  # type: ignore[union-attr]

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        optimizer: Any = self.optimizers()
        if self.every_step:
            optimizer.zero_grad()
        loss = self.objective(batch)
        self.manual_backward(loss)
        self.log("grad_norm", nn.utils.clip_grad_norm_(self.parameters(), 1e9))
        optimizer.step()
        self.log("bce", loss)
        return {"loss": loss.detach()}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        ink = self(batch[0]) > 0
        truth = batch[1] > 0.5
        self.log("val_bce", self.objective(batch))
        self.log("val_iou", (ink & truth).sum() / (ink | truth).sum())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def painter(seed: int, *, sick: bool) -> Fit:
    """In the loop written by hand zero_grad stands where the epoch starts, not before each backward."""
    torch.manual_seed(seed)
    train, val = images()
    noise = torch.Generator().manual_seed(0)
    sets = [
        TensorDataset(
            s.tensors[0] + 0.5 * torch.randn(s.tensors[0].shape, generator=noise), (s.tensors[0] > 0.2).float()
        )
        for s in (train, val)
    ]
    return Fit(Painter(not sick), **batches((sets[0], sets[1]), 32), trainer={"max_epochs": 7})


class Narrow(Recorded):
    """A narrow residual CNN whose parameters are sorted by their number of dimensions."""

    def __init__(self, all_shapes: bool) -> None:
        super().__init__()
        self.all_shapes = all_shapes
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.enter = nn.BatchNorm2d(8)
        self.conv1, self.norm1 = nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.enter(self.stem(x)), 0.1)
        x = F.leaky_relu(self.norm1(self.conv1(x)), 0.1)
        x = x + F.leaky_relu(self.norm2(self.conv2(x)), 0.1)
        return self.fc(x.amax((2, 3)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("loss/train", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("loss/val", F.cross_entropy(logits, batch[1]))
        self.log("top1", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        decay = [p for p in self.parameters() if (p.ndim >= 2 if self.all_shapes else p.ndim == 2)]
        plain = [p for p in self.parameters() if p.ndim == 1]
        optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0}], lr=5e-3
        )
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def narrow(seed: int, *, sick: bool) -> Fit:
    """Matrices go into the group with decay and vectors into the one without; kernels have four dimensions."""
    return Fit(Narrow(not sick), **batches(images(), 64), trainer={"max_epochs": 15})


KERNELS = ("stem.weight", "conv1.weight", "conv2.weight")
STEPS: list[Program] = [
    *pair(
        "saliency-listener",
        listener,
        sick=every(falls(0.6), honest("valid_acc", low=0.008)),
        mended=every(falls(0.6), honest("valid_acc", -0.001, 0.001), reads("valid_acc", 0.84)),
        accepted=("O007",),
        sites=("rnn", "head"),
    ),
    *pair(
        "order-tagger",
        tagger,
        sick=gains(-1, 0.8),
        mended=every(falls(0.3), gains(0.8, 1.5), reads("val_tag_acc", 0.97)),
        accepted=("O010", "O009"),
    ),
    *pair(
        "ink-painter",
        painter,
        sick=every(reads("val_bce", 1.0), reads("val_iou", high=0.7)),
        mended=every(falls(0.7), leftover(0, 4), reads("val_iou", 0.75)),
        accepted=("O003",),
    ),
    *pair(
        "sorted-groups",
        narrow,
        sick=every(constant(*KERNELS), reads("top1", high=0.92)),
        mended=every(falls(0.5), constant(*KERNELS, still=False), reads("top1", 0.95)),
        accepted=("W004",),
        sites=("stem", "conv1", "conv2"),
    ),
]
