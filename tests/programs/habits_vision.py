"""Healthy controls of the topic `habits`: digits."""

# mypy: disable-error-code="no-any-return, no-untyped-call"
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from .habits_checks import constant, falls, nearest, reads, steady
from .habits_parts import Recorded, batches, images
from .parts import Fit, Pair
from .program import Program, healthy
from .verify import every


def _backbone() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()),
    )


def _part(data: Pair, low: int, high: int) -> Pair:
    keep = [(s.tensors[1] >= low) & (s.tensors[1] < high) for s in data]
    sets = [TensorDataset(s.tensors[0][k], s.tensors[1][k] - low) for s, k in zip(data, keep, strict=True)]
    return sets[0], sets[1]


class Transfer(Recorded):
    """A new head on a backbone that others trained."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.head = nn.Linear(512, 5)

    def on_train_epoch_start(self) -> None:
        self.backbone.eval()

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.backbone(x)
        return self.head(features)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.head.parameters(), lr=1e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def transfer(seed: int) -> Fit:
    """A backbone trained on the digits 0 to 4 is frozen in evaluation mode; a linear head learns 5 to 9."""
    backbone = _backbone()
    model = nn.Sequential(backbone, nn.Linear(512, 5))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    old = _part(images(), 0, 5)[0]
    for _ in range(3):
        for x, y in DataLoader(old, 32, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return Fit(Transfer(backbone), **batches(_part(images(), 5, 10), 32), trainer={"max_epochs": 20})


class Variational(Recorded):
    """A variational autoencoder with a Gaussian likelihood of fixed width."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
        self.decoder = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x).chunk(2, 1)[0])

    def elbo(self, x: Tensor, stage: str) -> Tensor:
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        distance = F.mse_loss(self.decoder(z), x.flatten(1), reduction="none").sum(1).mean()
        kl = -0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum(1).mean()
        self.log_dict({f"{stage}_rec": distance, f"{stage}_kl": kl, f"{stage}_loss": distance + kl})
        return distance + kl

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.elbo(batch[0], "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.elbo(batch[0], "val")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def variational(seed: int) -> Fit:
    """The loss sums over pixels and latents and averages over the batch."""
    return Fit(Variational(), **batches(images(), 64), trainer={"max_epochs": 28})


class Mixed(Recorded):
    """Trains on shifted, noisy, erased and mixed digits with smoothed labels."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU()),
            *(nn.Conv2d(24, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, 10)),
        )
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def augment(self, x: Tensor) -> Tensor:
        dy, dx = (int(i) for i in torch.randint(-1, 2, (2,)))
        x = torch.roll(x, (dy, dx), (2, 3)) + 0.3 * torch.randn_like(x)
        return x * (torch.rand_like(x) > 0.1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = self.augment(batch[0]), batch[1]
        share = float(torch.distributions.Beta(0.4, 0.4).sample())
        order = torch.randperm(len(x))
        logits = self(share * x + (1 - share) * x[order])
        loss = share * self.criterion(logits, y) + (1 - share) * self.criterion(logits, y[order])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val/loss", F.cross_entropy(logits, batch[1]))
        self.log("val/acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
        total = int(self.trainer.estimated_stepping_batches)
        warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=20)
        rest = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - 20)
        both = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, rest], [20])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": both, "interval": "step"}}


def mixed(seed: int) -> Fit:
    """Mixup, label smoothing, erasing, noise and dropout keep the training loss high; SGD with warmup and cosine."""
    return Fit(Mixed(), **batches(images(), 64), trainer={"max_epochs": 20})


class Views(Recorded):
    """Two noisy views of each digit must find each other in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 64))
        self.projector = nn.Sequential(nn.ReLU(), nn.Linear(64, 32))

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def info_nce(self, x: Tensor) -> Tensor:
        a, b = (F.normalize(self.projector(self.encoder(self.view(x))), dim=1) for _ in range(2))
        similarity = a @ b.T / 0.2
        target = torch.arange(len(x))
        return (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2

    def view(self, x: Tensor) -> Tensor:
        dy, dx = (int(i) for i in torch.randint(-1, 2, (2,)))
        return torch.roll(x, (dy, dx), (2, 3)) * (torch.rand_like(x) > 0.2) + 0.3 * torch.randn_like(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.info_nce(batch[0])
        self.log("contrastive", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=1e-4)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]


def views(seed: int) -> Fit:
    """Contrastive training without labels and without any validation."""
    return Fit(Views(), train=batches(images(), 128)["train"], trainer={"max_epochs": 40})


VISION: list[Program] = [
    healthy(
        "new-head",
        transfer,
        every(falls(0.5), reads("val_acc", 0.94), constant("head.weight", still=False), steady("val_loss")),
    ),
    healthy("pixel-sum", variational, every(falls(0.7), reads("val_loss", high=35), steady("val_loss", 1.05))),
    healthy("mixed-up-digits", mixed, every(falls(0.8), reads("val/acc", 0.94), steady("val/loss", 1.25))),
    healthy("two-views", views, every(falls(0.8), nearest(images(), 0.9))),
]
