"""Trainings with stale gradients, a wrong mode, or weights frozen by mistake."""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .parts import Fit, Pair, cnn, digits, loaders
from .plumbing_checks import constant, hits, scored, wired
from .plumbing_parts import beats, both
from .program import pair
from .verify import every


@lru_cache
def taught() -> Pair:
    """Digits with the opinion of a random forest."""
    train, val = digits(image=True)
    forest = RandomForestClassifier(60, min_samples_leaf=2, random_state=0)
    forest.fit(train.tensors[0].flatten(1).numpy(), train.tensors[1].numpy())
    opinion = torch.tensor(forest.predict_proba(train.tensors[0].flatten(1).numpy())).float()
    return TensorDataset(train.tensors[0], opinion, train.tensors[1]), val


class Student(L.LightningModule):
    """Learns from a forest's probabilities and from the labels, with an optimizer by hand."""

    def __init__(self, once: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.once = once
        self.net = cnn(width=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def on_train_epoch_start(self) -> None:
        self.optimizers().zero_grad()  # type: ignore[union-attr]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, opinion, y = batch
        logits = self(x)
        soft = F.kl_div(logits.log_softmax(1), opinion, reduction="batchmean")
        loss = 0.5 * soft + 0.5 * F.cross_entropy(logits, y)
        optimizer: Any = self.optimizers()
        if not self.once:
            optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.log("distill_loss", loss)
        self.log("soft", soft)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.03, momentum=0.9)


def forest_student(seed: int, sick: bool) -> Fit:
    """The gradients are cleared once, when an epoch starts."""
    return Fit(Student(sick), **loaders(taught(), seed, 40), trainer={"max_epochs": 8})


def conv_block(a: int, b: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


class Deep(L.LightningModule):
    """Asks the convolutions with a blank image how many features they give."""

    def __init__(self, back: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(conv_block(a, b, s) for a, b, s in [(1, 10, 1), (10, 10, 1), (10, 16, 2), (16, 16, 1), (16, 24, 2)]),
            *(conv_block(24, 24) for _ in range(4)),
            nn.Flatten(),
        )
        self.features.eval()
        with torch.no_grad():
            width = self.features(torch.zeros(1, 1, 8, 8)).shape[1]
        if back:
            self.features.train()
        self.classify = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("valid_loss", F.cross_entropy(logits, batch[1]))
        self.log("valid_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7)]


def probed(seed: int, sick: bool) -> Fit:
    """The constructor puts the convolutions in eval mode to measure their output and leaves them so."""
    return Fit(Deep(not sick), **loaders(digits(image=True), seed, 64), trainer={"max_epochs": 7})


def untouched_statistics(fit: Fit, module: Any) -> None:
    """All BatchNorms of the features still have the statistics they began with and are in eval mode."""
    norms = [m for m in module.features.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 9
    for norm in norms:
        assert not norm.training and norm.num_batches_tracked == 0
        assert norm.running_mean is not None and norm.running_var is not None
        assert torch.all(norm.running_mean == 0) and torch.all(norm.running_var == 1)


class MeanTeacher(L.LightningModule):
    """A slow copy of the features keeps the fast ones consistent."""

    def __init__(self, copied: bool) -> None:
        super().__init__()
        self.student = nn.Sequential(
            nn.Conv1d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 8, 5, padding=2), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(8, 4)
        self.teacher = copy.deepcopy(self.student) if copied else self.student
        self.teacher.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.student(x))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        logits = self(x + 0.05 * torch.randn_like(x))
        with torch.no_grad():
            target = self.head(self.teacher(x)).softmax(1)
        loss = F.cross_entropy(logits, y) + 0.3 * F.mse_loss(logits.softmax(1), target)
        self.log("train_loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                slow.lerp_(fast, 0.05)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam((p for p in self.parameters() if p.requires_grad), lr=6e-3)


def slow_copy(seed: int, sick: bool) -> Fit:
    """The teacher that gets no gradient is the student itself and not a copy."""
    return Fit(MeanTeacher(not sick), **both(beats(), seed, 45), trainer={"max_epochs": 20})


def class_score(module: Any, batch: Any) -> float:
    return hits(module(batch[0]), batch[-1])


PAIRS = [
    *pair(
        "forest-student", forest_student, sick=scored(class_score, high=0.8),
        mended=every(scored(class_score, low=0.94), wired), accepted=("O003",),
    ),
    *pair(
        "probed-features", probed, sick=every(untouched_statistics, scored(class_score, high=0.6)),
        mended=every(scored(class_score, low=0.95), wired), accepted=("O006", "V005"), sites=("features",),
    ),
    *pair(
        "slow-copy", slow_copy,
        sick=every(constant("student.", trainable=False), scored(class_score, high=0.85)),
        mended=every(scored(class_score, low=0.92), wired), accepted=("O008",), sites=("student", "teacher"),
    ),
]  # fmt: skip
