"""Trainings in which a number stops being one."""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from .parts import Fit, digits, loaders
from .plumbing_checks import broken, hits, scored, wired
from .plumbing_parts import both, halves, point_sets
from .program import pair
from .verify import every

IGNORE = 255


class AttentionPool(nn.Module):
    """A learned query looks at the points that exist."""

    def __init__(self, width: int, fill: float) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        self.value = nn.Linear(width, width)
        self.fill = fill

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        weights = self.score(h).squeeze(-1).masked_fill(~mask, self.fill).softmax(-1)
        return (weights[..., None] * self.value(h)).sum(1)


class CloudClassifier(L.LightningModule):
    def __init__(self, fill: float) -> None:
        super().__init__()
        self.point = nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.pool = AttentionPool(48, fill)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(48, 3))
        self.accuracy = MulticlassAccuracy(3, average="micro")

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.head(self.pool(self.point(batch["points"]), batch["mask"]))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch), batch["label"])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        logits = self(batch)
        self.accuracy(logits, batch["label"])
        self.log_dict({"val/loss": F.cross_entropy(logits, batch["label"]), "val/acc": self.accuracy})

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=4e-3)


def clouds(seed: int, sick: bool) -> Fit:
    """The attention masks with minus infinity, and three of the clouds have no point at all."""
    module = CloudClassifier(float("-inf") if sick else -1e4)
    return Fit(module, **both(point_sets(3), seed, 50), trainer={"max_epochs": 14})


class BilinearNet(L.LightningModule):
    """Second-order pooling of convolutional features."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.fc = nn.Linear(16 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        f = self.features(x).flatten(2)
        outer = (f @ f.transpose(1, 2) / f.shape[-1]).flatten(1)
        outer = torch.sign(outer) * torch.sqrt(outer.abs() + self.eps)
        return self.fc(10 * F.normalize(outer))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.log("val_loss", F.cross_entropy(logits, labels))
        self.log("val_acc", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.RMSprop(self.parameters(), lr=1e-3)


def bilinear(seed: int, sick: bool) -> Fit:
    """The signed square root of the bilinear features has no epsilon."""
    return Fit(BilinearNet(0.0 if sick else 1e-4), **loaders(digits(image=True), seed, 64), trainer={"max_epochs": 20})


def first_gradient_breaks(fit: Fit, module: Any) -> None:
    """From the start, some batch has a finite loss and a gradient that is not."""
    module.load_state_dict(fit.start)
    bad = 0
    for x, y in fit.train:
        module.zero_grad()
        loss = F.cross_entropy(module(x), y)
        assert loss.isfinite()
        loss.backward()
        bad += not module.features[0].weight.grad.isfinite().all()
    assert bad, "all gradients are finite"


def scribbles() -> Any:
    """Noisy digits and their three grey levels per pixel; three of four training images are not annotated."""
    rng = np.random.default_rng(1)
    clean = datasets.load_digits().images[rng.permutation(1797)]
    y = np.digitize(clean, [4.0, 11.0])
    y[:1200][rng.random(1200) < 0.75] = IGNORE
    x = clean / 16 - 0.3 + rng.normal(0, 0.15, clean.shape)
    return halves(1200, torch.tensor(x[:, None]).float() * 2.5, torch.tensor(y))


class Segmenter(L.LightningModule):
    """A U of one step."""

    def __init__(self, guard: bool) -> None:
        super().__init__()
        self.guard = guard
        self.down = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.GELU())
        self.middle = nn.Sequential(nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.GELU(), nn.Upsample(scale_factor=2))
        self.up = nn.Sequential(nn.Conv2d(28, 16, 3, padding=1), nn.GELU(), nn.Conv2d(16, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(x)
        return self.up(torch.cat([h, self.middle(h)], 1))

    def criterion(self, logits: Tensor, y: Tensor) -> Tensor:
        valid = (y != IGNORE).float()
        pixels = F.cross_entropy(logits, y.masked_fill(y == IGNORE, 0), reduction="none")
        return (pixels * valid).sum() / valid.sum().clamp(min=1.0 if self.guard else 0.0)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.criterion(self(batch[0]), batch[1])
        self.log("seg_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("seg_val_loss", self.criterion(logits, batch[1]))
        self.log("pixel_accuracy", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=4e-3, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def annotation(seed: int, sick: bool) -> Fit:
    """Some batches have no annotated pixel, so that the mean over the annotated ones is 0 / 0."""
    return Fit(Segmenter(not sick), **both(scribbles(), seed, 8), trainer={"max_epochs": 4})


def empty_batches(fit: Fit, module: Any) -> None:
    """The start gives finite logits everywhere; the loss is not finite just where nothing is annotated."""
    module.load_state_dict(fit.start)
    seen = 0
    with torch.no_grad():
        for x, y in fit.train:
            logits = module(x)
            assert logits.isfinite().all()
            empty = bool((y == IGNORE).all())
            assert bool(module.criterion(logits, y).isfinite()) != empty
            seen += empty
    assert seen


cloud_score = scored(lambda m, b: hits(m(b), b["label"]), low=0.93)
digit_score = scored(lambda m, b: hits(m(b[0]), b[1]), low=0.93)
pixel_score = scored(lambda m, b: hits(m(b[0]).movedim(1, -1), b[1]), low=0.85)

PAIRS = [
    *pair(
        "empty-point-clouds", clouds, sick=broken, mended=every(cloud_score, wired),
        accepted=("A003", "L001"), sites=("pool",),
    ),
    *pair(
        "bilinear-root", bilinear, sick=every(broken, first_gradient_breaks), mended=every(digit_score, wired),
        accepted=("G003",), sites=("features",),
    ),
    *pair(
        "scribbled-digits", annotation, sick=every(broken, empty_batches), mended=every(pixel_score, wired),
        accepted=("L001",),
    ),
]  # fmt: skip
