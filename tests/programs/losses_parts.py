"""Modules and data of the programs in losses.py: written the way different people write them."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Batch


class Kept(L.LightningModule):
    """Keeps the losses and accuracies of its steps for the verification."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.val_losses: list[float] = []
        self.val_accuracies: list[float] = []

    def keep(self, loss: Tensor, accuracy: Tensor | None = None) -> None:
        """Remember the values of one step."""
        if self.trainer.training:
            self.losses.append(float(loss.detach()))
        elif not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            if accuracy is not None:
                self.val_accuracies.append(float(accuracy))

    def annealed(self, optimizer: torch.optim.Optimizer, interval: str = "step") -> dict[str, Any]:
        """Return the optimizer with a cosine down to (almost) zero at the end of the training."""
        whole = self.trainer.estimated_stepping_batches if interval == "step" else self.trainer.max_epochs
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(whole or 1))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}


class ImageClassifier(Kept):
    """Convolutions and a head that may end in a softmax; nn.CrossEntropyLoss on whatever comes out."""

    def __init__(self, *, softmax: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        head: list[nn.Module] = [nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10)]
        self.classifier = nn.Sequential(*head, *([nn.Softmax(dim=1)] if softmax else []))
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(images), 1))

    def compute(self, batch: Batch) -> Tensor:
        images, labels = batch
        return self.criterion(self(images), labels)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        loss = self.compute(batch)
        self.log("train/loss", loss, prog_bar=True)
        self.keep(loss)
        return {"loss": loss}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        accuracy = (self(batch[0]).argmax(dim=1) == batch[1]).float().mean()
        self.log_dict({"val/loss": loss, "val/accuracy": accuracy})
        self.keep(loss, accuracy)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3), "epoch")


class RowReader(Kept):
    """A GRU that reads an image row by row."""

    def __init__(self, *, squash: bool) -> None:
        super().__init__()
        self.squash = squash
        self.gru = nn.GRU(8, 32, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(32, 10)

    def forward(self, rows: Tensor) -> Tensor:
        _, last = self.gru(rows.squeeze(1))
        scores = self.out(self.dropout(last[-1]))
        return torch.sigmoid(scores) if self.squash else scores

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.forward(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("loss", loss)
        self.keep(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, y = batch
        scores = self(x)
        loss, accuracy = F.cross_entropy(scores, y), (scores.max(1).indices == y).float().mean()
        self.log("val_loss", loss)
        self.log("val_acc", accuracy)
        self.keep(loss, accuracy)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.Adam(self.parameters(), lr=1e-2))


class Student(Kept):
    """Learns the soft answers of a teacher by the Kullback-Leibler divergence; batches are dictionaries."""

    def __init__(self, *, log: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 5))
        self.final = nn.LogSoftmax(dim=-1) if log else nn.Softmax(dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        return self.final(self.body(features))

    def compute(self, batch: dict[str, Tensor]) -> Tensor:
        return F.kl_div(self(batch["features"]), batch["teacher"], reduction="batchmean")

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("distillation_loss", loss)
        self.keep(loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_distillation_loss", loss)
        agreement = (self(batch["features"]).argmax(-1) == batch["teacher"].argmax(-1)).float().mean()
        self.log("val_agreement", agreement)
        self.keep(loss, agreement)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.Adam(self.parameters(), lr=3e-3))


class Forecaster(Kept):
    """An LSTM that foretells the next value of a standardized series, perhaps squashed at the end."""

    def __init__(self, *, squash: bool) -> None:
        super().__init__()
        self.squash = squash
        self.lstm = nn.LSTM(input_size=1, hidden_size=24, batch_first=True)
        self.head = nn.Linear(24, 1)
        self.loss_fn = nn.MSELoss()

    def forward(self, window: Tensor) -> Tensor:
        states, _ = self.lstm(window)
        value = self.head(states[:, -1, :])
        return torch.tanh(value) if self.squash else value

    def compute(self, batch: Batch) -> Tensor:
        return self.loss_fn(self(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_mse", loss, on_step=False, on_epoch=True)
        self.keep(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_mse", loss)
        self.keep(loss)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.Adam(self.parameters(), lr=1e-2))


class ByHand(Kept):
    """A regression with manual optimization; the targets of the data are a column (N, 1) or flat (N,)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = net

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def compute(self, batch: Batch) -> Tensor:
        x, y = batch
        return ((self(x) - y) ** 2).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()  # type: ignore[union-attr]
        loss = self.compute(batch)
        self.manual_backward(loss)
        optimizer.step()  # type: ignore[union-attr]
        scheduler.step()  # type: ignore[union-attr,call-arg]
        self.log("train_loss", loss, prog_bar=True)
        self.keep(loss)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_loss", loss, prog_bar=True)
        self.keep(loss)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.AdamW(self.parameters(), lr=3e-3))


class Tagger(Kept):
    """Any of six topics for a bag of words."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(60, 32, mode="sum")
        self.tags = nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 6))
        self.criterion = criterion

    def forward(self, text: Tensor) -> Tensor:
        return self.tags(self.words(text))

    def compute(self, batch: Batch) -> Tensor:
        return self.criterion(self(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("loss", loss)
        self.keep(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        right = ((self(batch[0]) > 0) == (batch[1] > 0.5)).all(1).float().mean()
        self.log("val_loss", loss)
        self.log("val_exact_match", right)
        self.keep(loss, right)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.Adam(self.parameters(), lr=4e-3))


class Segmenter(Kept):
    """Finds a disc; its loss is made of the soft Dice coefficient."""

    def __init__(self, *, coefficient: bool) -> None:
        super().__init__()
        self.coefficient = coefficient
        self.down, self.middle, self.up = (
            nn.Conv2d(1, 8, 3, padding=1),
            nn.Conv2d(8, 8, 5, padding=2),
            nn.Conv2d(8, 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        x = F.gelu(self.down(image))
        return self.up(x + F.gelu(self.middle(x)))

    def compute(self, batch: Batch) -> Tensor:
        image, mask = batch
        p = torch.sigmoid(self(image))
        dice = (2 * (p * mask).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)
        return dice.mean() if self.coefficient else 1 - dice.mean()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        loss = self.compute(batch)
        self.log("train/dice_loss", loss)
        self.keep(loss)
        return {"loss": loss}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss, found, mask = self.compute(batch), self(batch[0]) > 0, batch[1] > 0.5
        iou = (found & mask).sum() / (found | mask).sum()
        self.log("val/dice_loss", loss)
        self.log("val/iou", iou)
        self.keep(loss, iou)

    def configure_optimizers(self) -> Any:
        return self.annealed(torch.optim.Adam(self.parameters(), lr=5e-3))
