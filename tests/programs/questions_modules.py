"""LightningModules of the healthy controls in questions_controls.py."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Accuracy, MeanMetric

from .questions_parts import LastState, Script, net

optim, schedulers = torch.optim, torch.optim.lr_scheduler


class LitDigits(L.LightningModule):
    """The classifier of the tutorials, with torchmetrics and save_hyperparameters."""

    def __init__(self, hidden: int = 64, lr: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.l1, self.l2 = nn.Linear(64, hidden), nn.Linear(hidden, 10)
        self.train_acc, self.val_acc = (Accuracy(task="multiclass", num_classes=10) for _ in range(2))
        self.mean_loss = MeanMetric()
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.l2(torch.relu(self.l1(x.view(x.size(0), -1))))

    def training_step(self, batch: Any, batch_nb: int) -> dict[str, Tensor]:
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        self.train_acc(logits, y)
        self.losses.append(loss.item())
        self.log("train/loss", loss)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True)
        return {"loss": loss}

    def validation_step(self, batch: Any, batch_nb: int) -> None:
        x, y = batch
        self.val_acc.update(self(x), y)
        self.mean_loss.update(F.cross_entropy(self(x), y))

    def on_validation_epoch_end(self) -> None:
        self.log("val/acc", self.val_acc.compute())
        self.log("val/loss", self.mean_loss.compute())
        self.val_acc.reset()
        self.mean_loss.reset()

    def configure_optimizers(self) -> Any:
        return optim.Adam(self.parameters(), lr=self.hparams["lr"])


class WordVectors(Script):
    """Skip-grams with negative samples."""

    def __init__(self) -> None:
        super().__init__(nn.Embedding(122, 12), F.binary_cross_entropy_with_logits, partial(optim.Adam, lr=1e-2))
        self.context = nn.Embedding(122, 12)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        text, _ = batch
        word, near, far = text[:, :-1], text[:, 1:], torch.randint(2, 122, text[:, 1:].shape)
        hit = (self.model(word) * self.context(near)).sum(-1)
        miss = (self.model(word) * self.context(far)).sum(-1)
        loss = -F.logsigmoid(hit).mean() - F.logsigmoid(-miss).mean()
        self.losses.append(loss.item())
        self.log("sgns", loss)
        return loss


class Mixture(Script):
    """The density of the next value as a mixture of three normal ones; the loss may be negative."""

    def __init__(self) -> None:
        super().__init__(LastState(nn.GRU, 3, 24, 9), self.likelihood, self.decayed, log="nll")

    @staticmethod
    def decayed(params: Any) -> Any:
        optimizer = optim.Adam(params, lr=5e-3)
        return [optimizer], [schedulers.StepLR(optimizer, 5, gamma=0.4)]

    @staticmethod
    def likelihood(output: Tensor, y: Tensor) -> Tensor:
        weight, mean, log_scale = output.chunk(3, dim=1)
        normal = torch.distributions.Normal(mean, log_scale.clamp(-4, 4).exp())
        return -torch.logsumexp(weight.log_softmax(1) + normal.log_prob(y), 1).mean()


class Triplets(Script):
    """Distances of images of the same and of another digit; the loss comes to rest at about 0."""

    def __init__(self) -> None:
        super().__init__(net(64, 64, 16), nn.TripletMarginLoss(margin=0.5), partial(optim.Adam, lr=1e-3))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        code = F.normalize(self(x), dim=1)
        equal = (y[:, None] == y) & ~torch.eye(len(y), dtype=torch.bool)
        near = equal.float().add(1e-6).multinomial(1)[:, 0]
        far = (y[:, None] != y).float().multinomial(1)[:, 0]
        loss = self.criterion(code, code[near], code[far])
        self.losses.append(loss.item())
        self.log("triplet", loss)
        return loss


class StepsByHand(Script):
    """Manual optimization as the documentation has it: clear, backward, clip, step, and the schedule's own step."""

    def __init__(self) -> None:
        super().__init__(net(13, 32, 3, act=nn.SELU), nn.CrossEntropyLoss(), partial(optim.SGD, lr=0.05, momentum=0.9))
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        loss = super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, gradient_clip_val=5.0, gradient_clip_algorithm="norm")
        optimizer.step()
        schedule: Any = self.lr_schedulers()
        schedule.step()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimize(self.parameters())
        return [optimizer], [schedulers.CosineAnnealingLR(optimizer, int(self.trainer.max_epochs or 1) * 8)]
