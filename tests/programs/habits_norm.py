"""Programs of the topic `habits`: networks with normalization."""

# mypy: disable-error-code="no-any-return, no-untyped-call"
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .habits_checks import constant, falls, gap, idle_bias, reads, steady, training_modes, unbiased
from .habits_parts import Recorded, batches, images, signals
from .parts import Fit
from .program import Program, pair
from .verify import every


class RowReader(Recorded):
    """Reads a digit row by row."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.gru = nn.GRU(8, hidden, batch_first=True)
        self.norm = nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, 10)
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.gru(x.squeeze(1))
        return self.out(torch.relu(self.norm(h[-1])))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.criterion(self(x), y)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.log("val/loss", self.criterion(logits, y))
        self.log("val/acc", (logits.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def row_reader(seed: int, *, sick: bool) -> Fit:
    """Memory was short, so only two samples go into a batch."""
    return Fit(RowReader(), **batches(images(), 2 if sick else 32), trainer={"max_steps": 1000, "max_epochs": -1})


class PatchCoder(Recorded):
    """A convolutional autoencoder of digits."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(128, 20)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(20, 128), nn.ReLU(), nn.Unflatten(1, (32, 2, 2))),
            *(nn.ConvTranspose2d(32, 24, 4, 2, 1, bias=bias), nn.BatchNorm2d(24), nn.ReLU()),
            *(nn.ConvTranspose2d(24, 24, 3, 1, 1, bias=bias), nn.BatchNorm2d(24), nn.ReLU()),
            nn.ConvTranspose2d(24, 1, 4, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = ((self(batch[0]) - batch[0]) ** 2).mean()
        self.log("reconstruction", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_reconstruction", F.mse_loss(self(batch[0]), batch[0]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=4e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def patch_coder(seed: int, *, sick: bool) -> Fit:
    """The decoder's transposed convolutions keep PyTorch's default arguments in front of the BatchNorm."""
    return Fit(PatchCoder(bias=sick), **batches(images(), 64), trainer={"max_epochs": 22})


class Waves(Recorded):
    """A one-dimensional CNN that tells waves apart."""

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv1d(1, 16, 7, padding=3, bias=False), nn.BatchNorm1d(16, momentum=momentum, eps=1e-3), nn.ReLU()),
            *(nn.Conv1d(16, 24, 5, 2, 2, bias=False), nn.BatchNorm1d(24, momentum=momentum, eps=1e-3), nn.ReLU()),
            *(nn.Conv1d(24, 32, 5, 2, 2, bias=False), nn.BatchNorm1d(32, momentum=momentum, eps=1e-3), nn.ReLU()),
        )
        self.classifier = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).amax(-1))

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        signal, kind = batch
        loss = F.cross_entropy(self(signal), kind)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return {"loss": loss}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        signal, kind = batch
        logits = self(signal)
        self.log_dict(
            {"val_loss": F.cross_entropy(logits, kind), "val_acc": (logits.argmax(-1) == kind).float().mean()}
        )

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.0)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def waves(seed: int, *, sick: bool) -> Fit:
    """The author ported a Keras model with momentum 0.999 and wrote one minus that for PyTorch."""
    return Fit(Waves(1 - 0.999 if sick else 0.1), **batches(signals(), 64), trainer={"max_epochs": 15})


class Dilated(Recorded):
    """A deep stack of dilated convolutions; watches the accuracy on the training batch without dropout."""

    def __init__(self, back: bool) -> None:
        super().__init__()
        self.back = back
        blocks: list[nn.Module] = []
        for i in range(7):
            d = 2 ** (i % 4)
            conv = nn.Conv1d(1 if i == 0 else 16, 16, 3, padding=d, dilation=d, bias=False)
            blocks.append(nn.Sequential(conv, nn.BatchNorm1d(16), nn.ReLU()))
        self.body = nn.ModuleList(blocks)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.body:
            x = block(x)
        return self.head(self.drop(x.amax(-1)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        self.eval()
        with torch.no_grad():
            self.log("train_acc", (self(x).argmax(1) == y).float().mean())
        if self.back:
            self.train()
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_acc", (logits.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def dilated(seed: int, *, sick: bool) -> Fit:
    """To log a clean training accuracy the author calls eval() in training_step and never goes back."""
    return Fit(Dilated(back=not sick), **batches(signals(), 64), trainer={"max_epochs": 12})


NORM: list[Program] = [
    *pair(
        "rowwise-reader",
        row_reader,
        sick=reads("val/acc", high=0.87),
        mended=every(falls(0.3), reads("val/acc", 0.94), steady("val/loss", 1.25)),
        accepted=("N001", "O005"),
        sites=("norm",),
    ),
    *pair(
        "patch-coder",
        patch_coder,
        sick=idle_bias("decoder.3", "decoder.6"),
        mended=every(falls(0.5), unbiased("decoder.3", "decoder.6"), reads("val_reconstruction", high=0.2)),
        accepted=("N002",),
        sites=("decoder.3", "decoder.6"),
    ),
    *pair(
        "ported-waves",
        waves,
        sick=every(falls(0.5), gap(0.04), reads("val_loss", 0.7)),
        mended=every(falls(0.5), gap(-0.05, 0.05), reads("val_acc", 0.93), reads("val_loss", high=0.2)),
        accepted=("V005",),
        sites=("features.1", "features.4", "features.7"),
    ),
    *pair(
        "dilated-stack",
        dilated,
        sick=every(training_modes(False), reads("val_acc", high=0.75)),
        mended=every(training_modes(True), falls(0.5), reads("val_acc", 0.92), constant("head.weight", still=False)),
        accepted=("O006", "V005"),
    ),
]
