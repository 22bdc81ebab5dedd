"""Trainings on the 8x8 digits."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from .pace_parts import Remembering, cut, whole
from .parts import Fit, digits, loaders


class MaskNet(Remembering):
    """Finds the pen strokes in a noisy picture, with one step down and up again."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.down1 = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.final = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down1(x)
        return self.final(torch.cat([fine, self.up(self.down2(fine))], 1))  # type: ignore[no-any-return]

    def compute(self, batch: list[Tensor]) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.keep(self.compute(batch))
        self.log("train_bce", loss)
        return torch.as_tensor(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, found, mask = self.compute(batch), self(batch[0]) > 0, batch[1] > 0.5
        iou = (found & mask).sum() / (found | mask).sum().clamp(min=1)
        self.log_dict({"val_bce": loss, "val_iou": iou})
        self.judge(loss, iou)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adadelta(self.parameters(), lr=self.hparams["lr"])


def stroke_mask(seed: int, *, sick: bool) -> Fit:
    """The author replaced Adam by Adadelta and kept 0.001 for the learning rate, where 1 is meant."""
    data, test = digits(image=True)
    clean = torch.cat([data.tensors[0], test.tensors[0]])
    noisy = clean + 0.25 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    train, val = cut((noisy - noisy.mean()) / noisy.std(), (clean > 0.4).float(), train=1280)
    module = MaskNet(lr=1e-3 if sick else 1.0)
    return Fit(module, DataLoader(train, 64, shuffle=True), whole(val), {"max_epochs": 14})


class VAE(Remembering):
    """A variational autoencoder of the digits."""

    def __init__(self, kl_weight: float) -> None:
        super().__init__()
        self.kl_weight = kl_weight
        self.encoder = nn.Sequential(nn.Linear(64, 96), nn.SiLU())
        self.mu, self.logvar = nn.Linear(96, 8), nn.Linear(96, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 96), nn.SiLU(), nn.Linear(96, 64))

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return error and divergence."""
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
        return F.mse_loss(self.decoder(z), x), kl

    def compute(self, batch: list[Tensor]) -> Tensor:
        error, kl = self.parts(batch[0])
        return error + self.kl_weight * kl

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("loss", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        error, kl = self.parts(batch[0])
        self.log_dict({"val_loss": error + self.kl_weight * kl, "val_recon": error, "val_kl": kl})
        self.judge(error + self.kl_weight * kl, error)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=4e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)]


def digit_vae(seed: int, *, sick: bool) -> Fit:
    """The author adds the divergence, summed over dimensions, unweighted to an error that is a mean over pixels."""
    return Fit(VAE(1.0 if sick else 1e-3), **loaders(digits(), seed, 64), trainer={"max_epochs": 30})


class Halves(Dataset[tuple[Tensor, Tensor]]):
    """Left and right half of a picture; the right one perhaps of another picture, drawn at random."""

    def __init__(self, images: Tensor, mixed: bool) -> None:
        self.images, self.mixed = (images - 0.3) / 0.375, mixed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        j = int(torch.randint(len(self), ())) if self.mixed else i
        return self.images[i, ..., :4], self.images[j, ..., 4:]


class Contrast(Remembering):
    """InfoNCE between embeddings of two halves."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = self.tower(), self.tower()
        self.log_t = nn.Parameter(torch.tensor(2.3))

    def tower(self) -> nn.Sequential:
        """Return a network for one half."""
        convs = [nn.Conv2d(1, 16, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(16, 16, 3, 2, 1), nn.LeakyReLU(0.1)]
        return nn.Sequential(*convs, nn.Flatten(), nn.Linear(128, 32))

    def similarities(self, batch: list[Tensor]) -> Tensor:
        """Return the similarity of each left to each right half."""
        a, b = F.normalize(self.left(batch[0]), dim=1), F.normalize(self.right(batch[1]), dim=1)
        return self.log_t.clamp(max=4).exp() * a @ b.T

    def compute(self, batch: list[Tensor]) -> Tensor:
        s = self.similarities(batch)
        own = torch.arange(len(s))
        return (F.cross_entropy(s, own) + F.cross_entropy(s.T, own)) / 2

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("info_nce", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        s, loss = self.similarities(batch), self.compute(batch)
        top5 = (s.topk(5).indices == torch.arange(len(s))[:, None]).any(1).float().mean()
        self.log_dict({"val_info_nce": loss, "val_top5": top5}, batch_size=len(s))
        self.judge(loss, top5)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=1e-2)


def half_match(seed: int, *, sick: bool) -> Fit:
    """The data set draws the second half of every pair from another random picture, also for the positives."""
    data, test = digits(image=True)
    train, val = Halves(data.tensors[0], sick), Halves(test.tensors[0][:64], sick)
    return Fit(Contrast(), DataLoader(train, 64, shuffle=True, drop_last=True), whole(val), {"max_epochs": 15})


class RowLSTM(Remembering):
    """Reads a digit row by row; comes with its own early stopping."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.lstm = nn.LSTM(8, 64, batch_first=True)
        self.out = nn.Linear(64, 10)

    def compute(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self.out(self.lstm(batch[0].squeeze(1))[0][:, -1]), batch[1])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_loss", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        guess, loss = self.out(self.lstm(batch[0].squeeze(1))[0][:, -1]).argmax(1), self.compute(batch)
        accuracy = (guess == batch[1]).float().mean()
        self.log_dict({"val_loss": loss, "val_acc": accuracy})
        self.judge(loss, accuracy)

    def configure_callbacks(self) -> list[L.Callback]:
        return [EarlyStopping("val_acc", mode=self.mode, patience=4)]

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def row_reader(seed: int, *, sick: bool) -> Fit:
    """The author has the training end when the accuracy does not fall any more (the mode is left at min)."""
    return Fit(RowLSTM("min" if sick else "max"), **loaders(digits(image=True), seed, 64), trainer={"max_epochs": 30})
