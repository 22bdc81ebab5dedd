"""Healthy trainings of unusual set-ups: adapters, an equation, small batches, half precision."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .missed_checks import ends, falls, metric
from .missed_parts import Graded, cut, fitted, rows, standard_digits
from .parts import Fit, loaders
from .program import healthy
from .verify import every


class Adapted(nn.Module):
    """A frozen layer and a trained update of low rank that starts at zero."""

    def __init__(self, base: nn.Linear, rank: int = 8) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / math.sqrt(base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + F.linear(F.linear(x, self.down), self.up)


class AdaptedNet(Graded):
    def __init__(self, layers: list[nn.Linear]) -> None:
        super().__init__()
        self.net = nn.Sequential(
            Adapted(layers[0]), nn.ReLU(), Adapted(layers[1]), nn.ReLU(), Adapted(layers[2])
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def configure_optimizers(self) -> Any:
        trained = [p for p in self.parameters() if p.requires_grad]
        return self.cosine(torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.05), warm=10)


def adapters(seed: int) -> Fit:
    """A network that knows digits is adapted to digits blended with their transposed selves."""
    x, y = standard_digits()[0].tensors
    layers = [nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)]
    optimizer = torch.optim.Adam([p for layer in layers for p in layer.parameters()], 3e-3)
    for _ in range(200):
        i = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        loss = F.cross_entropy(layers[2](F.relu(layers[1](F.relu(layers[0](x[i]))))), y[i])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    train, val = (
        TensorDataset(0.7 * a.view(-1, 8, 8).transpose(1, 2).flatten(1) + 0.3 * a, b)
        for a, b in (s.tensors for s in standard_digits())
    )
    return fitted(AdaptedNet(layers), (train, val), seed, 64, max_epochs=12)


class Flowing(Graded):
    """Points move along a learned field, four slopes a step, in a plane with two more directions."""

    names: ClassVar[tuple[str, str, str]] = ("bce", "val_bce", "val_acc")

    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 4))
        self.read = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        u, dt = F.pad(x, (0, 2)), 1 / 6
        for _ in range(6):
            k1 = self.field(u)
            k2 = self.field(u + 0.5 * dt * k1)
            k3 = self.field(u + 0.5 * dt * k2)
            u = u + dt / 6 * (k1 + 2 * k2 + 2 * k3 + self.field(u + dt * k3))
        return self.read(u).squeeze(-1)

    def objective(self, out: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out, y)

    def grade(self, out: Tensor, y: Tensor) -> Tensor:
        return ((out > 0) == (y > 0.5)).float().mean()

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.Adam(self.parameters(), lr=2e-2))


def equation(seed: int) -> Fit:
    """A differential equation with a learned right-hand side parts two moons."""
    x, y = datasets.make_moons(1600, noise=0.2, random_state=4)
    return fitted(Flowing(), cut(rows((x - x.mean(0)) / x.std(0), y.astype(float)), 1200), seed, 64, max_epochs=14)


class StandardizedConv(nn.Conv2d):
    """A convolution whose kernels are standardized before they are used."""

    def forward(self, x: Tensor) -> Tensor:
        mean, std = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / (std * math.sqrt(self.weight[0].numel()) + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class SmallBatches(Graded):
    names: ClassVar[tuple[str, str, str]] = ("ce", "val_ce", "val_acc")

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = StandardizedConv(1, 16, 3, padding=1), nn.GroupNorm(4, 16)
        self.conv2, self.norm2 = StandardizedConv(16, 24, 3, padding=1), nn.GroupNorm(4, 24)
        self.fc = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        return self.fc(F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2).flatten(1))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=8e-3)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def small_batches(seed: int) -> Fit:
    """Four batches of eight rows make a step, and the kernels are standardized."""
    options = {"max_epochs": 5, "accumulate_grad_batches": 4}
    return Fit(SmallBatches(), **loaders(standard_digits(image=True), seed, 8), trainer=options)


class ZeroBlock(nn.Module):
    """A residual block whose last norm starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class ZeroNet(Graded):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(ZeroBlock(16), nn.MaxPool2d(2), ZeroBlock(16))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.15, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.15, int(self.trainer.estimated_stepping_batches), pct_start=0.25, div_factor=5,
            cycle_momentum=False,
        )  # fmt: skip
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def half_precision(seed: int) -> Fit:
    """Residual blocks that start as nothing are trained in bfloat16, with one cycle of the rate."""
    options = {"max_epochs": 9, "precision": "bf16-mixed"}
    return Fit(ZeroNet(), **loaders(standard_digits(image=True), seed, 64), trainer=options)


CONTROLS = [
    healthy("low-rank-digits", adapters, every(falls("train_loss", 0.5), ends("val_acc", above=0.9))),
    healthy("runge-kutta-moons", equation, every(falls("bce", 0.4), ends("val_acc", above=0.94))),
    healthy("small-batches-gathered", small_batches, every(falls("ce", 0.3), metric("val_acc", above=0.94))),
    healthy("zero-start-blocks", half_precision, every(falls("train_loss", 0.2), metric("val_acc", above=0.95))),
]
