"""Modules of the controls in lookalikes.py, first part: layers, outputs, losses that are as they should be."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual

from .ordinary_parts import Notes
from .parts import Batch, mlp


class Classifier(Notes):
    """A network with a criterion; subclasses choose the network, the criterion and the optimizer."""

    def __init__(self, model: nn.Module, criterion: Any = None) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion if criterion is not None else nn.CrossEntropyLoss()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def score(self, out: Tensor, y: Tensor) -> Tensor:
        return (out.argmax(1) == y).float().mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.criterion(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        self.note(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self(batch[0])
        loss, score = self.criterion(out, batch[1]), self.score(out, batch[1])
        self.log_dict({"val_loss": loss, "val_score": score})
        self.note(loss, score)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.05))


class Logistic(Classifier):
    """One affine layer, one probability."""

    def score(self, out: Tensor, y: Tensor) -> Tensor:
        return ((out > 0).float() == y).float().mean()

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.SGD(self.parameters(), lr=0.1, weight_decay=0.01))


class Adapted(nn.Module):
    """A frozen affine layer and a product of two thin matrices beside it, the second of which starts at zero."""

    def __init__(self, base: nn.Linear, rank: int = 8) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_a = nn.Linear(base.in_features, rank, bias=False)
        self.lora_b = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.lora_b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2.0 * self.lora_b(self.lora_a(x))


class Adapters(Classifier):
    """Low-rank adapters on a frozen network."""

    def configure_optimizers(self) -> Any:
        trained = [p for p in self.parameters() if p.requires_grad]
        return self.down_to(torch.optim.AdamW(trained, lr=5e-3, weight_decay=0.01))


class MobileNet(Classifier):
    """Inverted residuals: the projection is linear on purpose, and every branch starts at zero."""

    def __init__(self) -> None:
        blocks = [InvertedResidual(12, 12, 1, 3), InvertedResidual(12, 20, 2, 3), InvertedResidual(20, 20, 1, 3)]
        stem = [nn.Conv2d(1, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6()]
        top = [nn.Conv2d(20, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(nn.Sequential(*stem, *blocks, *top, nn.Linear(48, 10)))
        for block in (blocks[0], blocks[2]):
            nn.init.zeros_(block.conv[-1].weight)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4))


class RandomFeatures(Classifier):
    """Cosines of a fixed random projection; only the read-out is trained."""

    def __init__(self, count: int = 256) -> None:
        super().__init__(nn.Linear(count, 10))
        self.projection = nn.Linear(64, count)
        nn.init.normal_(self.projection.weight, std=0.35)
        nn.init.uniform_(self.projection.bias, 0, 2 * torch.pi)
        self.projection.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(torch.cos(self.projection(x)))

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.Adam(self.model.parameters(), lr=1e-2, weight_decay=1e-3))


class TwoHeads(Notes):
    """A pretrained body, a new head that is trained, and the old head, kept frozen for later."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(8, 24, 3, padding=1), nn.GELU(), nn.Conv1d(24, 24, 3, padding=1), nn.GELU())
        self.parity_head, self.digit_head = nn.Linear(192, 2), nn.Linear(192, 10)

    def pretrain(self, x: Tensor, y: Tensor, steps: int = 100) -> None:
        optimizer = torch.optim.Adam([*self.body.parameters(), *self.parity_head.parameters()], lr=2e-3)
        for _ in range(steps):
            part = torch.randint(len(x), (64,))
            optimizer.zero_grad()
            F.cross_entropy(self.parity_head(self.body(x[part]).flatten(1)), y[part] % 2).backward()
            optimizer.step()
        self.zero_grad()
        self.parity_head.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.digit_head(self.body(x).flatten(1))

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("loss/train", loss)
        self.note(loss)
        return {"loss": loss}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self(batch[0])
        loss, accuracy = F.cross_entropy(logits, batch[1]), (logits.argmax(1) == batch[1]).float().mean()
        self.log_dict({"loss/val": loss, "accuracy/val": accuracy})
        self.note(loss, accuracy)

    def configure_optimizers(self) -> Any:
        trained = filter(lambda p: p.requires_grad, self.parameters())
        return self.down_to(torch.optim.AdamW(trained, lr=5e-3, weight_decay=0.05))


class LogProbabilities(Classifier):
    """A network that ends in a log-softmax, with the loss that wants just that."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(*mlp(64, 48, 10, act=nn.SiLU), nn.LogSoftmax(dim=1)), nn.NLLLoss())

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.RMSprop(self.parameters(), lr=2e-3, weight_decay=1e-3))


class Shares(Classifier):
    """Learns which share of five people said yes: binary cross entropy with targets between 0 and 1."""

    def __init__(self) -> None:
        super().__init__(mlp(4, 24, 1, act=nn.Tanh), nn.BCEWithLogitsLoss())

    def score(self, out: Tensor, y: Tensor) -> Tensor:
        return 1 - (torch.sigmoid(out) - y).pow(2).mean() / y.var()


class Brier(Classifier):
    """Squared distance of the probabilities from the one-hot answer, a proper score."""

    def __init__(self) -> None:
        super().__init__(mlp(13, 24, 3, act=nn.ELU), self.brier)

    @staticmethod
    def brier(logits: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(logits.softmax(1), F.one_hot(y, 3).float())

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.02))
