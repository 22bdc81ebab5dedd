"""What the programs are made of: real and generated data, small networks, one plain LightningModule.

Nothing here imports lightning_diag, so that a program is exactly what a user would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Batch = list[Tensor]
Pair = tuple[TensorDataset, TensorDataset]
Schedule = Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler]


@dataclass(frozen=True)
class Fit:
    """One training, ready to start; ``start`` holds the weights as they are before the first step."""

    module: L.LightningModule
    train: DataLoader[Any]
    val: DataLoader[Any] | None = None
    trainer: Mapping[str, Any] = field(default_factory=dict)
    start: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        copy = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        object.__setattr__(self, "start", copy)


class Task(L.LightningModule):
    """A network, a loss and an optimizer, logged the way people log; keeps its losses for the verification."""

    def __init__(
        self,
        net: nn.Module,
        *,
        loss: Callable[..., Tensor] = F.cross_entropy,
        optimizer: Callable[..., torch.optim.Optimizer] = partial(torch.optim.SGD, lr=0.05),
        schedule: Schedule | None = None,
        interval: str = "step",
        names: tuple[str, str, str] = ("train_loss", "val_loss", "val_acc"),
    ) -> None:
        super().__init__()
        self.net = net
        self.loss, self.optimizer, self.schedule, self.interval, self.names = loss, optimizer, schedule, interval, names
        self.losses: list[float] = []
        self.val_losses: list[float] = []
        self.val_accuracies: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def compute(self, batch: Batch) -> Tensor:
        """Return the loss of one batch."""
        x, y = batch
        return self.loss(self.net(x), y)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log(self.names[0], loss)
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log(self.names[1], loss)
        if not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
        if batch[-1].dtype == torch.int64 and batch[-1].ndim == 1:
            accuracy = (self.net(batch[0]).argmax(-1) == batch[-1]).float().mean()
            self.log(self.names[2], accuracy)
            self.val_accuracies.append(float(accuracy))

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that the optimizer gets."""
        return [p for p in self.parameters() if p.requires_grad]

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.trained_parameters())
        if self.schedule is None:
            return optimizer
        scheduler = self.schedule(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self.interval}}


# -- data ------------------------------------------------------------------------------------------------


def loader(data: Any, batch: int = 64, *, seed: int = 0, shuffle: bool = True) -> DataLoader[Any]:
    """Return a loader that shuffles with a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(data, batch_size=batch, shuffle=shuffle, generator=generator, drop_last=shuffle)


def split(x: Any, y: Any, *, train: int, seed: int = 0, kind: torch.dtype = torch.int64) -> Pair:
    """Return a training set of ``train`` rows and a validation set of the rest, of a fixed permutation."""
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = torch.as_tensor(np.asarray(x)[order]).float(), torch.as_tensor(np.asarray(y)[order]).to(kind)
    return TensorDataset(x[:train], y[:train]), TensorDataset(x[train:], y[train:])


@lru_cache
def digits(train: int = 1280, *, scale: float = 1 / 16, image: bool = False) -> Pair:
    """8x8 handwritten digits, pixels 0..16 times ``scale``."""
    x, y = datasets.load_digits(return_X_y=True)
    x = x * scale
    return split(x.reshape(-1, 1, 8, 8) if image else x, y, train=train)


@lru_cache
def cancer(train: int = 400, *, standardized: bool = True) -> Pair:
    """Breast cancer, 30 features that go up to 4000 as they are."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return split((x - x.mean(0)) / x.std(0) if standardized else x, y, train=train)


@lru_cache
def wine(train: int = 128) -> Pair:
    """Wine, 13 standardized features, 3 classes."""
    x, y = datasets.load_wine(return_X_y=True)
    return split((x - x.mean(0)) / x.std(0), y, train=train)


@lru_cache
def diabetes(train: int = 320, *, missing: int = 0) -> Pair:
    """Diabetes, a noisy regression, standardized; the first ``missing`` training targets are NaN."""
    x, y = datasets.load_diabetes(return_X_y=True)
    sets = split(x / x.std(0), ((y - y.mean()) / y.std())[:, None], train=train, kind=torch.float32)
    sets[0].tensors[1][:missing] = float("nan")
    return sets


@lru_cache
def moons(train: int = 768, *, noise: float = 0.1) -> Pair:
    """Two moons."""
    x, y = datasets.make_moons(1024, noise=noise, random_state=0)
    return split(x, y, train=train)


@lru_cache
def tokens(train: int = 1024, *, length: int = 12, vocabulary: int = 40) -> Pair:
    """Sequences of tokens; the class is which half of the vocabulary is more frequent (token 0 is padding)."""
    x = np.random.default_rng(0).integers(1, vocabulary, size=(1536, length))
    sets = split(x, ((x > vocabulary // 2).mean(1) > 0.5).astype(int), train=train)
    return tuple(TensorDataset(s.tensors[0].long(), s.tensors[1]) for s in sets)  # type: ignore[return-value]


def loaders(data: Pair, seed: int, batch: int = 64) -> dict[str, DataLoader[Any]]:
    """Return the two loaders as keyword arguments of :class:`Fit`."""
    val = loader(data[1], 1024, seed=seed, shuffle=False)
    return {"train": loader(data[0], batch, seed=seed), "val": val}


# -- networks --------------------------------------------------------------------------------------------


def mlp(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU, norm: Any = None, dropout: float = 0.0) -> nn.Sequential:
    """Linear (norm) act (dropout) ... Linear: without norm and dropout the activations stand at 1, 3, 5, ..."""
    layers: list[nn.Module] = []
    for a, b in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers += [nn.Linear(a, b), *([norm(b)] if norm else []), act(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def cnn(*, norm: bool = False, act: Callable[[], nn.Module] = nn.ReLU, width: int = 12) -> nn.Sequential:
    """conv (norm) act, conv (norm) act pool, flatten, linear, for 1x8x8 images."""
    first = [nn.Conv2d(1, width, 3, padding=1), *([nn.BatchNorm2d(width)] if norm else []), act()]
    second = [nn.Conv2d(width, width, 3, padding=1), *([nn.BatchNorm2d(width)] if norm else []), act()]
    return nn.Sequential(*first, *second, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * width, 10))


def initialized(net: nn.Module, weight: Callable[[Tensor], Any], bias: float | None = 0.0) -> nn.Module:
    """Fill all weight matrices (and biases) of ``net`` and return it."""
    for p in net.parameters():
        if p.ndim > 1:
            weight(p)
        elif bias is not None:
            nn.init.constant_(p, bias)
    return net


he = partial(nn.init.kaiming_normal_, nonlinearity="relu")
xavier = nn.init.xavier_normal_


class Residual(nn.Module):
    """x + branch(x); ``gain`` scales the last weight of the branch, ``norm`` puts a LayerNorm before it."""

    def __init__(self, width: int, *, norm: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.first, self.act, self.second = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        initialized(self, he)
        if norm:
            nn.init.ones_(self.norm.weight)
        with torch.no_grad():
            self.second.weight.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.act(self.first(self.norm(x))))


class Recurrent(nn.Module):
    """A recurrent cell over the rows of a sequence and a linear head on its last state."""

    def __init__(self, cell: type[nn.RNNBase], inputs: int, width: int, outputs: int, **options: Any) -> None:
        super().__init__()
        self.cell = cell(inputs, width, batch_first=True, **options)  # type: ignore[arg-type]
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])
