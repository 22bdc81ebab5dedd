# mypy: disable-error-code="no-any-return"
"""Programs on 8x8 images."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heads_parts import Named, batches, cosine, cut, taught
from .parts import Fit, loader


class Distilled(L.LightningModule):
    def __init__(self, softmax: bool, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = temperature
        layers = [
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24 * 16, 10),
        ]
        self.student = nn.Sequential(*layers, *([nn.Softmax(dim=1)] if softmax else []))

    def forward(self, x: Tensor) -> Tensor:
        return self.student(x)

    def answer(self, batch: Any) -> Tensor:
        return self(batch[0])

    def score(self, batch: Any) -> Tensor:
        return (self(batch[0]).argmax(1) == batch[2]).float().mean()

    def objective(self, batch: Any) -> Tensor:
        x, teacher, _ = batch
        t = self.temperature
        student = F.log_softmax(self(x) / t, dim=1)
        return t * t * F.kl_div(student, F.softmax(teacher / t, dim=1), reduction="batchmean")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("kd_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_kd_loss", self.objective(batch))
        self.log("val_accuracy", self.score(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9))


def quiet_student(seed: int, sick: bool) -> Fit:
    """The student learns a teacher's scores at a temperature, and its network already ends in probabilities."""
    train, val = taught()
    return Fit(Distilled(sick), batches(train, seed), loader(val, 600, shuffle=False), {"max_epochs": 10})


class Ink(L.LightningModule):
    def __init__(self, squash: bool) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.LeakyReLU(0.1))
        self.middle = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.LeakyReLU(0.1))
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.mask = nn.Conv2d(32, 1, 3, padding=1)
        self.last: nn.Module = nn.Sigmoid() if squash else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        up = F.leaky_relu(self.up(self.middle(skip)), 0.1)
        return self.last(self.mask(torch.cat([skip, up], 1)))

    def answer(self, batch: Any) -> Tensor:
        return self(batch["image"])

    def objective(self, batch: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch["image"]), batch["mask"])

    def score(self, batch: Any) -> Tensor:
        found, mask = self(batch["image"]).sigmoid() > 0.5, batch["mask"] > 0.5
        return (found & mask).sum() / (found | mask).sum()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("bce", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_bce", self.objective(batch))
        self.log("val_iou", self.score(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.Adam(self.parameters(), lr=4e-3))


def noisy_masks(seed: int, sick: bool) -> Fit:
    """The segmentation network ends as in the old repository, the loss was changed to the numerically stable one."""
    sets = []
    for k, part in enumerate(taught()):
        image = part.tensors[0]
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(k))
        sets.append(Named(image=(image + 0.5 * noise) / 1.12, mask=(image > 0.3).float()))
    return Fit(Ink(sick), batches(sets[0], seed), loader(sets[1], 600, shuffle=False), {"max_epochs": 10})


class Mixer(L.LightningModule):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 2, stride=2)
        self.ln1, self.ln2, self.ln3 = nn.LayerNorm(32), nn.LayerNorm(32), nn.LayerNorm(32)
        self.tokens = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.channels = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.ln1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.ln2(x))
        return self.out(self.drop(self.ln3(x).mean(1)))

    def objective(self, batch: Any) -> Tensor:
        out = self(batch[0])
        if out.shape[1] == 1:
            return F.mse_loss(out.squeeze(1), batch[1].float())
        return F.cross_entropy(out, batch[1])

    def score(self, batch: Any) -> Tensor:
        out = self(batch[0])
        guess = out.squeeze(1).round().long() if out.shape[1] == 1 else out.argmax(1)
        return (guess == batch[1]).float().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        noisy = [batch[0] + 0.4 * torch.randn_like(batch[0]), batch[1]]
        loss = self.objective(noisy)
        self.log("train_loss", loss)
        self.log("train_acc", self.score(noisy))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.objective(batch))
        self.log("val_acc", self.score(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.AdamW(self.parameters(), lr=6e-3, weight_decay=0.05))


def rounded_digit(seed: int, sick: bool) -> Fit:
    """The network's only output is the digit itself, to be rounded."""
    train, val = (cut(s.tensors[0], s.tensors[2], train=len(s))[0] for s in taught())
    module = Mixer(1 if sick else 10)
    return Fit(module, batches(train, seed), loader(val, 600, shuffle=False), {"max_epochs": 16})


class Even(L.LightningModule):
    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.flat = flat
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1)) for _ in range(3)
        )
        self.head = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.body:
            x = x + block(x)
        return self.head(x)

    def answer(self, batch: Any) -> Tensor:
        return self(batch["x"]).sigmoid()

    def score(self, batch: Any) -> Tensor:
        return ((self(batch["x"]).flatten() > 0) == (batch["even"] > 0.5)).float().mean()

    def objective(self, batch: Any) -> Tensor:
        z, y = self(batch["x"]), batch["even"]
        if self.flat:
            z = z.view(-1)
        return (F.softplus(z) - y * z).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("logistic", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_logistic", self.objective(batch))
        self.log("val_accuracy", self.score(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.RMSprop(self.parameters(), lr=1e-3))


def even_digits(seed: int, sick: bool) -> Fit:
    """The logistic loss is written by hand, with a column of scores and a plain vector of labels."""
    sets = [Named(x=s.tensors[0], even=(s.tensors[2] % 2 == 0).float()) for s in taught()]
    return Fit(Even(not sick), batches(sets[0], seed), loader(sets[1], 600, shuffle=False), {"max_epochs": 12})
