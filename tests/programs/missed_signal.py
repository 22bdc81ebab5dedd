"""Trainings whose signal, gradient or weights are not what their authors think."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .missed_checks import ends, louder, silent, untouched, well
from .missed_parts import Graded, LastState, Scored, cut, fitted, rows, standard_digits
from .parts import Fit, Pair
from .program import pair
from .verify import every


@lru_cache
def elements() -> Pair:
    """Sets of ten points with a target that depends on all of them."""
    x = torch.randn(1536, 10, 3, generator=torch.Generator().manual_seed(1))
    y = (x[..., 0] * x[..., 1]).mean(1) * 2 + x[..., 2].abs().mean(1)
    return cut([x, ((y - y.mean()) / y.std())[:, None]], 1216)


class DeepSet(Scored):
    names: ClassVar[tuple[str, str, str]] = ("train/mse", "val/mse", "val/r2")

    def __init__(self, offset: float) -> None:
        super().__init__()
        second = nn.Linear(48, 48)
        if offset:
            nn.init.constant_(second.bias, offset)
        self.phi = nn.Sequential(nn.Linear(3, 48), nn.GELU(), second, nn.GELU())
        self.rho = nn.Sequential(nn.Linear(48, 32), nn.GELU(), nn.Linear(32, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.rho(self.phi(x).mean(dim=1))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=1e-4)


def sets(seed: int, sick: bool) -> Fit:
    """The encoder of the elements is to start "closed": its second layer gets a bias of -9."""
    return fitted(DeepSet(-9.0 if sick else 0.0), elements(), seed, 64, max_epochs=20)


class SwishNet(Graded):
    def __init__(self, shift: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU())
        self.conv = nn.Conv2d(16, 24, 3, padding=1, stride=2)
        self.norm, self.act = nn.GroupNorm(4, 24), nn.SiLU()
        self.head = nn.Linear(24, 10)
        nn.init.constant_(self.norm.bias, shift)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.norm(self.conv(self.first(x)))).mean((2, 3)))

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4))


def swish(seed: int, sick: bool) -> Fit:
    """The shift of the second norm is filled with log(eps), which the old file had in the column next to it."""
    return fitted(SwishNet(math.log(1e-5) if sick else 0.0), standard_digits(image=True), seed, 64, max_epochs=12)


@lru_cache
def waves() -> Pair:
    """Noisy sine waves of three frequencies."""
    g = torch.Generator().manual_seed(11)
    y = torch.randint(0, 3, (1100,), generator=g)
    phase = torch.rand(1100, 1, generator=g) * 2 * math.pi
    x = torch.sin(torch.tensor([0.15, 0.35, 0.7])[y][:, None] * torch.arange(40) + phase)
    x = x + 0.3 * torch.randn(1100, 40, generator=g)
    return cut([(x / x.std())[..., None], y], 896)


class WaveNet(Graded):
    def __init__(self, gain: float) -> None:
        super().__init__()
        self.net = LastState(nn.RNN, 48, 3)
        nn.init.orthogonal_(self.net.rnn.weight_hh_l0, gain)  # type: ignore[arg-type]
        nn.init.zeros_(self.net.rnn.bias_ih_l0)  # type: ignore[arg-type]
        nn.init.zeros_(self.net.rnn.bias_hh_l0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.Adam(self.parameters(), lr=2e-3), warm=40)


def recurrence(seed: int, sick: bool) -> Fit:
    """The recurrent matrix is orthogonal with a gain of 2.5, over 40 steps and without clipping."""
    return fitted(WaveNet(2.5 if sick else 0.95), waves(), seed, 32, max_epochs=18)


@lru_cache
def couples() -> Pair:
    """Two digits and whether they are the same number; four pairs are one image twice."""
    r = np.random.default_rng(2)

    def make(data: TensorDataset, n: int) -> TensorDataset:
        x, y = data.tensors
        i, j = r.integers(0, len(x), n), r.integers(0, len(x), n)
        for k in range(n // 2):
            j[k] = r.choice(np.flatnonzero(y.numpy() == int(y[i[k]])))
        i[:4] = j[:4]
        return TensorDataset(x[i], x[j], (y[i] == y[j]).float())

    train, val = standard_digits()
    return make(train, 3072), make(val, 512)


class Siamese(Graded):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.embed = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.sqrt(((self.embed(a) - self.embed(b)) ** 2).sum(1) + self.eps)

    def objective(self, out: Tensor, y: Tensor) -> Tensor:
        return (y * out**2 + (1 - y) * F.relu(2.0 - out) ** 2).mean()

    def grade(self, out: Tensor, y: Tensor) -> Tensor:
        return ((out < 1.0).float() == y).float().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def siamese(seed: int, sick: bool) -> Fit:
    """The distance is a square root, which has no slope at zero, and some pairs are one image twice."""
    return fitted(Siamese(0.0 if sick else 1e-6), couples(), seed, 64, max_epochs=12)


def root_of_zero(fit: Fit, module: Any) -> None:
    """The loss of a batch with an image twice is finite, its gradient is not."""
    assert np.isfinite(module.seen["train_loss"][0]) and not np.isfinite(module.seen["train_loss"]).all()
    fresh = Siamese(0.0)
    a, b, same = (t[:64] for t in fit.train.dataset.tensors)  # type: ignore[attr-defined]
    loss = fresh.objective(fresh(a, b), same)
    loss.backward()  # type: ignore[no-untyped-call]
    slope = fresh.embed[0].weight.grad
    assert torch.isfinite(loss) and isinstance(slope, Tensor) and not torch.isfinite(slope).all()


@lru_cache
def voters() -> Pair:
    """Bags of nine words; every word votes for one of four classes."""
    r = np.random.default_rng(6)
    polarity, x = r.integers(0, 4, 60), r.integers(1, 60, (1400, 9))
    votes = np.stack([(polarity[x] == c).sum(1) for c in range(4)], 1)
    return cut(rows(x, votes.argmax(1)), 1152)


class Bag(Graded):
    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.embedding = nn.Embedding(60, 8, padding_idx=0)
        self.fc = nn.Linear(8, 4)
        self.register_buffer("initial", self.embedding.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.embedding(x).mean(1))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        rows = slice(None) if self.whole else slice(1)
        with torch.no_grad():
            self.embedding.weight[rows] = self.initial[rows]  # type: ignore[index]

    def configure_optimizers(self) -> Any:
        return torch.optim.Adagrad(self.parameters(), lr=0.2)


def bags(seed: int, sick: bool) -> Fit:
    """The padding row is put back after every step, and with it the whole table."""
    return fitted(Bag(sick), voters(), seed, 32, max_epochs=20)


SIGNAL = [
    *pair(
        "shut-element-encoder", sets, sick=every(silent("phi.3", share=0.9, level=1e-2), ends("val/r2", below=0.3)),
        mended=every(well("train/mse", "val/mse"), ends("val/r2", above=0.8)), accepted=("A001", "I001", "A005"),
        sites=("phi.2", "phi.3"),
    ),
    *pair(
        "closed-swish", swish, sick=every(silent("act", share=0.9, level=1e-2), ends("val_acc", below=0.4)),
        mended=every(well("train_loss", "val_loss"), ends("val_acc", above=0.93)), accepted=("A001", "I001"),
        sites=("norm", "act"),
    ),
    *pair(
        "orthogonal-gain", recurrence,
        sick=every(louder("net.rnn.weight_hh_l0", "net.head.weight", 100), ends("val_acc", below=0.8)),
        mended=every(well("train_loss", "val_loss"), ends("val_acc", above=0.9)), accepted=("G002", "I001", "A002"),
        sites=("net.rnn",),
    ),
    *pair(
        "same-digit-twice", siamese, sick=root_of_zero,
        mended=every(well("train_loss", "val_loss"), ends("val_acc", above=0.88)), accepted=("G003", "L001", "A003"),
        sites=("embed",),
    ),
    *pair(
        "copied-padding-row", bags, sick=every(untouched("embedding"), ends("val_acc", below=0.6)),
        mended=every(well("train_loss", "val_loss"), ends("val_acc", above=0.8)), accepted=("W003",),
        sites=("embedding",),
    ),
]  # fmt: skip
