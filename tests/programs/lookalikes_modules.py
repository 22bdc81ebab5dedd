"""Modules of the healthy controls in lookalikes.py: each does on purpose, and rightly, what elsewhere is a fault."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.data import IterableDataset
from torchvision.models.mobilenetv2 import InvertedResidual

from .ordinary_modules import LanguageModel
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


class Regressor(Classifier):
    """One number; scored by the explained share of the variance."""

    rate, end = 3e-3, 0.0

    def score(self, out: Tensor, y: Tensor) -> Tensor:
        return 1 - F.mse_loss(out, y) / y.var()

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.Adam(self.parameters(), lr=self.rate), share=self.end)


class Summed(Classifier):
    """The loss is a sum over the batch, and the rate is divided by its size."""

    def __init__(self, batch: int) -> None:
        super().__init__(mlp(64, 48, 10, act=nn.Softplus), nn.CrossEntropyLoss(reduction="sum"))
        self.batch = batch

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self(batch[0])
        loss, accuracy = F.cross_entropy(out, batch[1]) * self.batch, self.score(out, batch[1])
        self.log_dict({"val_loss": loss, "val_acc": accuracy})
        self.note(loss, accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(
            self.parameters(), lr=0.05 / self.batch, momentum=0.9, weight_decay=1e-3 * self.batch
        )
        return self.down_to(optimizer)


class Stream(IterableDataset[Batch]):
    """Batches of an endless simulation, independent of each other: a known function and noise of variance 0.25."""

    def __init__(self, seed: int, batch: int = 64) -> None:
        self.seed, self.batch = seed, batch

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            x = torch.randn(self.batch, 3, generator=generator)
            noise = torch.randn(self.batch, 1, generator=generator)
            yield [x, torch.sin(x[:, :1]) * 1.5 + x[:, 1:2] * 0.8 + 0.5 * noise]


class Online(Regressor):
    """Normalized weights, Adam at a constant rate, as many batches as one likes."""

    def __init__(self) -> None:
        layers = [weight_norm(nn.Linear(3, 32)), nn.SiLU(), weight_norm(nn.Linear(32, 1))]
        super().__init__(nn.Sequential(*layers), nn.MSELoss())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=5e-3)


class Prices(Regressor):
    """Targets in thousands: the network says by how many deviations the price differs from the mean."""

    rate = 1.5e-2

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__(mlp(5, 32, 32, 1, act=nn.SiLU), nn.L1Loss())
        self.register_buffer("deviation", torch.tensor(deviation))
        self.mean = nn.Parameter(torch.tensor(mean))

    def forward(self, x: Tensor) -> Tensor:
        return self.mean + self.deviation * self.model(x)


class Clipped(LanguageModel):
    """Tied embeddings; notes the norm of the gradient before it is clipped."""

    def __init__(self) -> None:
        super().__init__(width=48, tied=True, rate=3e-3)
        self.norms: list[float] = []

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        grads = [p.grad.norm() for p in self.parameters() if p.grad is not None]
        self.norms.append(float(torch.stack(grads).norm()))


class Restarts(Classifier):
    """Cosine cycles of 2, 4 and 8 epochs; the training ends with the last one."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True)
        epoch = int(self.trainer.estimated_stepping_batches) // 14
        scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2 * epoch, T_mult=2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Averaged(Classifier):
    """Dropout in training; validated is a running average of the weights."""

    def __init__(self, model: nn.Module, decay: float = 0.95) -> None:
        super().__init__(model)
        self.average, self.decay = copy.deepcopy(model).requires_grad_(False), decay

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.model.parameters(), strict=True):
                slow.lerp_(fast, 1 - self.decay)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.training else self.average(x)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.AdamW(self.model.parameters(), lr=3e-3, weight_decay=0.05))


class SmallBatches(Classifier):
    """BatchNorm over eight rows, with slow statistics."""

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3))


class RateOfOne(Classifier):
    """Plain SGD with a rate of 1 after a short warmup, which normalized weights bear well."""

    def configure_optimizers(self) -> Any:
        optimizer, steps = torch.optim.SGD(self.parameters(), lr=1.0), int(self.trainer.estimated_stepping_batches)
        warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=15)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - 15)
        scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], [15])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
