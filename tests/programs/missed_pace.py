"""Trainings that are too short, roll too far, or follow a plan that was made for another one."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn

from .missed_checks import ends, falls, grows
from .missed_letters import chain
from .missed_parts import Graded, Kept, Scored, cut, fitted, rows
from .parts import Fit, Pair, loader
from .program import pair
from .verify import every


@lru_cache
def transitions() -> Pair:
    """State, action, reward and next state of a small world."""
    rng, n = np.random.default_rng(1), 4096
    s, a = rng.normal(size=(n, 4)), rng.integers(0, 3, n)
    after = 0.9 * s + 0.3 * (a - 1)[:, None] * np.array([1.0, 0.5, -0.5, 0.0]) + 0.1 * rng.normal(size=s.shape)
    return cut(rows(s, a, np.exp(-0.5 * (after[:, :2] ** 2).sum(1)) - 0.4, after), n)


class Critics(Kept):
    def __init__(self, added: bool) -> None:
        super().__init__()
        self.added = added
        self.critics = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)) for _ in "12"
        )
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        s, a, r, after = batch
        with torch.no_grad():
            first, second = (t(after) for t in self.targets)
            value = first + second if self.added else torch.min(first, second)
            y = r + 0.8 * value.max(1).values
        q = [c(s).gather(1, a[:, None])[:, 0] for c in self.critics]
        loss = F.mse_loss(q[0], y) + F.mse_loss(q[1], y)
        self.put("critic_loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                slow.lerp_(fast, 0.05)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.critics.parameters(), lr=1e-3)


def critics(seed: int, sick: bool) -> Fit:
    """The target adds the two critics up in place of taking the smaller one."""
    return Fit(Critics(sick), loader(transitions()[0], 128, seed=seed), None, {"max_epochs": 22})


@lru_cache
def vibrations() -> Pair:
    """Noisy sine waves and their frequency."""
    rng, n = np.random.default_rng(1), 2560
    f = rng.uniform(1, 4, n)
    x = np.sin(2 * np.pi * (f[:, None] * np.linspace(0, 1, 32) + rng.random((n, 1)))) + 0.2 * rng.normal(size=(n, 32))
    return cut(rows((x / x.std())[:, None], ((f - 2.5) / f.std())[:, None]), 2048)


class Frequency(Scored):
    names: ClassVar[tuple[str, str, str]] = ("loss", "val_loss", "val_r2")

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.features = nn.Sequential(
            nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(16, 16, 5, padding=2), nn.ReLU()
        )
        self.head = nn.Linear(256, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.02, momentum=self.momentum)


def frequency(seed: int, sick: bool) -> Fit:
    """The momentum of 0.998 has one nine too many."""
    return fitted(Frequency(0.998 if sick else 0.9), vibrations(), seed, 128, max_epochs=35)


def swings(fit: Fit, module: Any) -> None:
    """The smoothed loss goes up and down by half its size several times."""
    x = np.convolve(module.seen["loss"], np.ones(5) / 5, "valid")
    last, up, turns = x[0], False, 0
    for v in x:
        last = max(last, v) if up else min(last, v)
        if up and v < last / 1.5:
            up, last, turns = False, v, turns + 1
        elif not up and v > last * 1.5:
            up, last, turns = True, v, turns + 1
    assert turns >= 6, turns


class Letters(Kept):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.rnn, self.out = nn.Embedding(20, 16), nn.GRU(16, 32, batch_first=True), nn.Linear(32, 20)

    def loss(self, x: Tensor) -> Tensor:
        z = self.out(self.rnn(self.emb(x[:, :-1]))[0])
        return F.cross_entropy(z.flatten(0, 1), x[:, 1:].flatten())

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch[0])
        self.put("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.put("val_loss", self.loss(batch[0]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def letters(seed: int, sick: bool) -> Fit:
    """The language model gets three epochs, as long as a coffee takes."""
    data = cut([chain(1, 20, 13)[0]], 2048)
    return fitted(Letters(), data, seed, 64, max_epochs=3 if sick else 14)


def still_falling(fit: Fit, module: Any) -> None:
    """The last epoch lowered the validation loss by more than a twentieth."""
    assert module.seen["val_loss"][-1] < 0.95 * module.seen["val_loss"][-2]


def settled(fit: Fit, module: Any) -> None:
    """The last three epochs lowered the validation loss by less than two hundredths."""
    values = module.seen["val_loss"]
    assert len(values) > 3 and values[-1] > 0.98 * values[-4], values[-4:]


@lru_cache
def gratings() -> Pair:
    """Gratings of six orientations in noise."""
    rng, n = np.random.default_rng(17), 3072
    y = rng.integers(0, 6, n)
    angle, (gy, gx) = (y * np.pi / 6)[:, None, None], np.mgrid[:8, :8]
    phase = rng.random((n, 1, 1)) * 2 * np.pi
    x = np.sin(1.3 * (np.cos(angle) * gx + np.sin(angle) * gy) + phase) + 1.5 * rng.standard_normal((n, 8, 8))
    return cut(rows((x / x.std())[:, None], y), 2560)


class Gratings(Graded):
    names: ClassVar[tuple[str, str, str]] = ("loss", "val_loss", "val_acc")

    def __init__(self, planned: int) -> None:
        super().__init__()
        self.planned, self.rates = planned, list[float]()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 6),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.cnn(x)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-2)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.planned)]


def turning(seed: int, sick: bool) -> Fit:
    """The epochs were doubled, the plan of the cosine was not, so that the rate comes back."""
    return fitted(Gratings(6 if sick else 12), gratings(), seed, 32, max_epochs=12)


def climbed(fit: Fit, module: Any) -> None:
    """The rate ends near its start, the training loss above that of the middle."""
    rates, losses, n = module.rates, module.seen["loss"], len(module.rates)
    assert min(rates) < 0.1 * rates[0] and rates[-1] > 0.8 * rates[0], rates[-1]
    assert np.mean(losses[-n // 12 :]) > 1.1 * np.mean(losses[5 * n // 12 : 7 * n // 12])


def landed(fit: Fit, module: Any) -> None:
    """The rate only falls, to next to nothing, and the training loss with it."""
    losses, n = module.seen["loss"], len(module.rates)
    assert np.all(np.diff(module.rates) <= 0) and module.rates[-1] < 0.05 * module.rates[0]
    assert np.mean(losses[-n // 12 :]) < np.mean(losses[5 * n // 12 : 7 * n // 12])


class ResidualRegressor(Scored):
    names: ClassVar[tuple[str, str, str]] = ("mse", "val_mse", "val_r2")

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(8, 48), nn.Linear(48, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 48), nn.GELU(), nn.Linear(48, 48)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        for block in self.blocks:
            h = h + block(h)
        return self.out(h)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def whole(seed: int, sick: bool) -> Fit:
    """All rows are one batch, and the number of epochs is as if there were many."""
    x, y = datasets.make_friedman1(1280, n_features=8, noise=0.3, random_state=2)
    data = cut(rows((x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std())[:, None]), 1024)
    return fitted(ResidualRegressor(), data, seed, 1024 if sick else 64, max_epochs=50, log_every_n_steps=1)


PACE = [
    *pair(
        "summed-critics", critics, sick=grows("critic_loss", 100), mended=falls("critic_loss", 0.2),
        accepted=("L003", "W007", "A004", "G002"),
    ),
    *pair(
        "rolling-ball", frequency, sick=every(swings, ends("val_loss", above=0.06, last=10)),
        mended=every(falls("loss", 0.1), ends("val_loss", below=0.05)), accepted=("L004", "O001", "W001", "L003"),
    ),
    *pair(
        "coffee-break-model", letters, sick=every(still_falling, ends("val_loss", above=1.53)),
        mended=every(settled, ends("val_loss", below=1.46)), accepted=("L007", "V002"),
    ),
    *pair(
        "gratings-turn-back", turning, sick=climbed, mended=every(landed, ends("val_acc", above=0.8)),
        accepted=("O004",),
    ),
    *pair(
        "friedman-at-once", whole, sick=ends("val_mse", above=0.08), mended=ends("val_mse", below=0.035),
        accepted=("O005", "L007", "V002"),
    ),
]  # fmt: skip
