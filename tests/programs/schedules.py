"""Sick rates, schedules, batch sizes, lengths and regularization."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Batch, Fit, Residual, cancer, diabetes, digits, initialized, loader, loaders, mlp, moons
from .program import pair
from .schedules_checks import (
    bad,
    dropping,
    flat,
    jumps,
    rates,
    retrained,
    rises,
    settled,
    steeper,
    still_falls,
)  # fmt: skip
from .schedules_parts import (
    Compressor,
    LeNet,
    Rated,
    TopicTransformer,
    Waves,
    bars,
    few,
    friedman,
    rings,
    topics,
    waves,
)
from .verify import every, fails, learns, moved, overfits, stuck

SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop
schedules = torch.optim.lr_scheduler


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return schedules.CosineAnnealingLR(optimizer, steps)


def words(seed: int, batch: int = 64) -> dict[str, Any]:
    train, val = topics()
    return {"train": loader(train, batch, seed=seed), "val": loader(val, 256, shuffle=False)}


def full_throttle(seed: int, sick: bool) -> Fit:
    """SGD with momentum at a rate of 0.6 on convolutions without normalization."""
    return Fit(LeNet(0.6 if sick else 0.02), **loaders(digits(image=True), seed), trainer={"max_epochs": 12})


def scorched_attention(seed: int, sick: bool) -> Fit:
    """A transformer under AdamW at 0.1, a rate for small perceptrons at most."""
    return Fit(TopicTransformer(0.1 if sick else 2e-3), **words(seed), trainer={"max_epochs": 8})


def heavy_ball(seed: int, sick: bool) -> Fit:
    """A momentum of 0.99 beside a rate that is meant for 0.9."""
    net = nn.Sequential(
        nn.Linear(6, 48), Residual(48, gain=0.3), Residual(48, gain=0.3), nn.LayerNorm(48), nn.Linear(48, 1)
    )
    optimizer = partial(SGD, lr=0.04, momentum=0.99 if sick else 0.9)
    task = Rated(net, optimizer=optimizer, loss=F.mse_loss, schedule=cosine, names=("mse", "val_mse", "unused"))
    return Fit(task, **loaders(friedman(), seed, 32), trainer={"max_epochs": 9})


def crawling_convolutions(seed: int, sick: bool) -> Fit:
    """Convolutions under SGD at 0.00001: after the whole training hardly anything has happened."""
    net = LeNet(1e-5 if sick else 0.02, classes=4)
    return Fit(net, **loaders(bars(), seed, 48), trainer={"max_epochs": 12})


def whispering_adam(seed: int, sick: bool) -> Fit:
    """An LSTM under Adam at 0.00001."""
    return Fit(Waves(nn.LSTM, 1e-5 if sick else 5e-3), **loaders(waves(), seed), trainer={"max_epochs": 16})


def halved_by_batch(seed: int, sick: bool) -> Fit:
    """StepLR with a step size of epochs that is stepped with every batch: the rate halves every six batches."""
    schedule: Any = lambda optimizer, steps: schedules.StepLR(optimizer, 6, gamma=0.5)  # noqa: E731
    task = Rated(mlp(6, 64, 64, 1, act=nn.SiLU), optimizer=partial(RMSprop, lr=2e-3), loss=F.mse_loss,
                 schedule=schedule, interval="step" if sick else "epoch", names=("mse", "val_mse", "-"))  # fmt: skip
    return Fit(task, **loaders(friedman(), seed), trainer={"max_epochs": 30})


def endless_warmup(seed: int, sick: bool) -> Fit:
    """A warmup of 10000 steps in a training of 144."""
    net = TopicTransformer(2e-3, warmup=10000 if sick else 15)
    return Fit(net, **words(seed), trainer={"max_epochs": 8})


def climbs_back(seed: int, sick: bool) -> Fit:
    """A cosine for half of the training: the rate climbs back, and stands at its top again at the end."""
    schedule: Any = lambda optimizer, steps: schedules.CosineAnnealingLR(optimizer, 12 if sick else 24)  # noqa: E731
    task = Rated(mlp(6, 64, 64, 1, act=nn.Tanh), optimizer=partial(SGD, lr=0.04, momentum=0.9), loss=F.mse_loss,
                 schedule=schedule, interval="epoch", names=("train_loss", "val_loss", "-"))  # fmt: skip
    return Fit(task, **loaders(friedman(768), seed, 32), trainer={"max_epochs": 24})


def one_cycle_by_epoch(seed: int, sick: bool) -> Fit:
    """OneCycleLR, laid out in batches, is stepped once an epoch: the rate never leaves its start."""
    schedule: Any = lambda optimizer, steps: schedules.OneCycleLR(optimizer, 0.1, total_steps=steps)  # noqa: E731
    task = Rated(mlp(64, 96, 96, 10, act=nn.SiLU), optimizer=partial(SGD, lr=0.1, momentum=0.9), schedule=schedule,
                 interval="epoch" if sick else "step", names=("train/loss", "val/loss", "val/acc"))  # fmt: skip
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 10})


class Plateau(Rated):
    """Lowers its rate by ReduceLROnPlateau, looking at the validation loss after every epoch."""

    mode = "min"

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        schedule = schedules.ReduceLROnPlateau(optimizer, mode=self.mode, factor=0.1, patience=2)  # type: ignore[arg-type]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


def upside_down_plateau(seed: int, sick: bool) -> Fit:
    """ReduceLROnPlateau waits for the validation loss to rise (mode="max") and lowers the rate as it falls."""
    task = Plateau(mlp(2, 48, 48, 3), optimizer=partial(SGD, lr=0.02, momentum=0.9))
    task.mode = "max" if sick else "min"
    return Fit(task, **loaders(rings(0.2), seed), trainer={"max_epochs": 30})


def fifteen_updates(seed: int, sick: bool) -> Fit:
    """The whole training set is one batch: fifteen epochs are fifteen updates."""
    task = Rated(mlp(64, 64, 10), optimizer=partial(Adam, lr=2e-3), schedule=cosine, names=("loss", "val_loss", "acc"))
    return Fit(task, **loaders(digits(), seed, 1280 if sick else 64), trainer={"max_epochs": 15})


def single_rows(seed: int, sick: bool) -> Fit:
    """One row a batch at a rate that is fine for 32."""
    task = Rated(mlp(10, 48, 48, 1, act=nn.Tanh), optimizer=partial(SGD, lr=0.025, momentum=0.9), loss=F.smooth_l1_loss,
                 names=("huber", "val_huber", "-"))  # fmt: skip
    return Fit(task, **loaders(diabetes(), seed, 1 if sick else 32), trainer={"max_epochs": 3 if sick else 12})


def creeping_divergence(seed: int, sick: bool) -> Fit:
    """Linear regression on products of features at a rate just above what their covariance allows."""
    net = initialized(mlp(27, 1), nn.init.zeros_)
    task = Rated(net, optimizer=partial(SGD, lr=0.208 if sick else 0.1), loss=F.mse_loss)
    return Fit(task, **loaders(friedman(squares=True), seed, 256), trainer={"max_epochs": 40})


def bouncing_rate(seed: int, sick: bool) -> Fit:
    """RMSprop at 0.1: the loss leaps up every few steps and never comes to rest."""
    schedule: Any = lambda optimizer, steps: schedules.LinearLR(optimizer, 1.0, 0.3, steps)  # noqa: E731
    task = Rated(mlp(6, 48, 48, 1, act=nn.Tanh), optimizer=partial(RMSprop, lr=0.1 if sick else 3e-3), loss=F.mse_loss,
                 schedule=schedule, names=("train_loss", "valid_loss", "-"))  # fmt: skip
    return Fit(task, **loaders(friedman(), seed, 64), trainer={"max_epochs": 25})


def three_epochs(seed: int, sick: bool) -> Fit:
    """Three epochs where twenty are needed."""
    net = LeNet(0.015, milestones=(14, 18))
    return Fit(net, **loaders(digits(image=True), seed), trainer={"max_epochs": 3 if sick else 20})


def brief_forecaster(seed: int, sick: bool) -> Fit:
    """A GRU is stopped after three epochs of its fall."""
    net = Waves(nn.GRU, 4e-3, forecast=True, milestones=(18, 22))
    return Fit(net, **loaders(waves(forecast=True), seed, 96), trainer={"max_epochs": 3 if sick else 25})


def line_for_rings(seed: int, sick: bool) -> Fit:
    """A linear classifier for three rings; mended: with two hidden layers."""
    net = nn.Sequential(nn.Linear(2, 3)) if sick else mlp(2, 32, 32, 3)
    task = Rated(net, optimizer=partial(Adam, lr=5e-3), schedule=cosine, names=("train_ce", "val_ce", "val_acc"))
    return Fit(task, **loaders(rings(), seed), trainer={"max_epochs": 20})


def one_number_code(seed: int, sick: bool) -> Fit:
    """An autoencoder of digits with a code of one number; mended: of sixteen."""
    return Fit(Compressor(1 if sick else 16), **loaders(digits(), seed), trainer={"max_epochs": 20})


def decay_as_in_adamw(seed: int, sick: bool) -> Fit:
    """SGD with a weight decay of 0.1, as one reads of AdamW, where it counts times the rate."""
    optimizer = partial(SGD, lr=0.05, momentum=0.9, weight_decay=0.1 if sick else 1e-4)
    task = Rated(mlp(64, 64, 64, 10, act=nn.GELU), optimizer=optimizer, schedule=cosine)
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 12})


def nearly_all_dropped(seed: int, sick: bool) -> Fit:
    """Dropout of 0.95, the share to keep in another framework."""
    net = mlp(64, 96, 96, 10, dropout=0.95 if sick else 0.1)
    task = Rated(net, optimizer=partial(Adam, lr=2e-3), schedule=cosine, names=("train_loss", "val_loss", "val_acc"))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 12})


class Lasso(Rated):
    """Cross entropy, and in training the sum of all absolute weights."""

    strength = 0.0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_ce", loss)
        self.losses.append(float(loss.detach()))
        penalty = torch.cat([p.flatten() for p in self.net.parameters()]).abs().sum()
        return loss + self.strength * penalty


def greedy_lasso(seed: int, sick: bool) -> Fit:
    """An L1 penalty of 0.02 on every weight; mended: of 0.00001."""
    task = Lasso(mlp(2, 48, 48, 2, act=nn.ELU), optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    task.strength = 0.02 if sick else 1e-5
    return Fit(task, **loaders(moons(), seed, 32), trainer={"max_epochs": 20})


def wide_for_few(seed: int, sick: bool) -> Fit:
    """A wide network on 120 patients is trained for 40 epochs; mended: for five."""
    task = Rated(
        mlp(30, 256, 256, 2),
        optimizer=partial(Adam, lr=1e-3),
        schedule=cosine,
        names=("train_loss", "val_loss", "val_acc"),
    )
    return Fit(task, **loaders(few(cancer(), 120), seed, 10), trainer={"max_epochs": 40 if sick else 5})


PAIRS = (
    pair("full-throttle", full_throttle, accepted=("O001", "W001"),
         sick=every(fails(0.5), bad(1.5), retrained(0.6, epochs=5, lr=0.02)),
         mended=every(learns(0.4, accuracy=0.9), settled(0.4))),
    pair("scorched-attention", scorched_attention, accepted=("O001", "W001"),
         sick=every(fails(0.9), bad(0.3), retrained(0.5, epochs=4, lr=2e-3)),
         mended=every(learns(0.4, accuracy=0.93), settled(0.3))),
    pair("heavy-ball", heavy_ball, accepted=("O001", "W001", "L004"),
         sick=every(bad(0.055), retrained(0.7, epochs=9, momentum=0.9)),
         mended=every(learns(0.3), settled(0.07, rise=1.12))),
    pair("crawling-convolutions", crawling_convolutions, accepted=("O002", "W002"),
         sick=every(stuck(0.95), fails(0.5), moved(1e-9, 0.05), retrained(0.5, epochs=4, lr=0.02)),
         mended=every(learns(0.3, accuracy=0.95), settled(0.15))),
    pair("whispering-adam", whispering_adam, accepted=("O002", "W002"),
         sick=every(stuck(0.95), fails(0.5), moved(1e-9, 0.05), retrained(0.6, epochs=8, lr=5e-3)),
         mended=every(learns(0.3, accuracy=0.95), settled(0.15))),
    pair("halved-by-batch", halved_by_batch, accepted=("O004", "O002", "W002"),
         sick=every(rates(lambda r: r[len(r) // 5] < 1e-3 * r[0]), bad(0.12),
                    retrained(0.6, epochs=8, start=False, lr=2e-3)),
         mended=every(learns(0.2), settled(0.06))),
    pair("endless-warmup", endless_warmup, accepted=("O004", "O002", "W002"),
         sick=every(rates(lambda r: r.max() < 0.02 * 2e-3 and r[-1] > r[0]), fails(0.7), bad(0.9),
                    retrained(0.5, epochs=4, start=False, lr=2e-3)),
         mended=every(learns(0.4, accuracy=0.93), settled(0.3))),
    pair("climbs-back", climbs_back, accepted=("O004",),
         sick=every(rates(lambda r: r[-1] > 0.9 * r[0] > 10 * r.min()),
                    retrained(0.75, epochs=4, start=False, lr=1e-3, val=True)),
         mended=every(learns(0.2), settled(0.035))),
    pair("one-cycle-by-epoch", one_cycle_by_epoch, accepted=("O004", "O002"),
         sick=every(rates(lambda r: r.max() < 0.02), fails(0.75), retrained(0.5, epochs=4, start=False, lr=0.05)),
         mended=every(rates(lambda r: r.max() > 0.09), learns(0.3, accuracy=0.92), settled(0.3))),
    pair("upside-down-plateau", upside_down_plateau, accepted=("O004", "O002"),
         sick=every(rates(lambda r: r[len(r) // 2] < 0.02 * r[0]), bad(0.4),
                    retrained(0.6, epochs=8, start=False, lr=0.02)),
         mended=every(learns(0.3, accuracy=0.88), settled(0.3))),
    pair("fifteen-updates", fifteen_updates, accepted=("O005", "L007"),
         sick=every(rates(lambda r: len(r) == 15), fails(0.85), bad(1.0), retrained(0.4, epochs=6, batch=64, lr=2e-3)),
         mended=every(learns(0.4, accuracy=0.9), settled(0.4))),
    pair("single-rows", single_rows, accepted=("O005", "O001", "L004"),
         sick=every(rates(lambda r: len(r) > 900), bad(0.28), jumps(1.0, 0.3), retrained(0.7, epochs=6, batch=32)),
         mended=every(learns(0.8), settled(0.3, rise=1.08))),
    pair("creeping-divergence", creeping_divergence, accepted=("L003", "O001"),
         sick=every(steeper(0.208), rises(3), retrained(0.5, epochs=20, lr=0.1)),
         mended=every(learns(0.3), settled(0.1))),
    pair("bouncing-rate", bouncing_rate, accepted=("L004", "O001", "W001"),
         sick=every(jumps(0.3, 0.2), bad(0.12), retrained(0.6, epochs=8, lr=2e-3)),
         mended=every(learns(0.2), settled(0.08, rise=1.15, fall=0.85))),
    pair("three-epochs", three_epochs, accepted=("L007", "V002"),
         sick=every(still_falls(0.85), fails(0.9), retrained(0.5, epochs=6, start=False, val=True)),
         mended=every(learns(0.3, accuracy=0.9), settled(0.35))),
    pair("brief-forecaster", brief_forecaster, accepted=("L007", "V002"),
         sick=every(still_falls(0.9), retrained(0.5, epochs=8, start=False, val=True)),
         mended=every(learns(0.3), settled(0.05))),
    pair("line-for-rings", line_for_rings, accepted=("V002",),
         sick=every(fails(0.6), bad(0.9), flat(0.98)),
         mended=every(learns(0.3, accuracy=0.95), settled(0.15))),
    pair("one-number-code", one_number_code, accepted=("V002",),
         sick=every(flat(0.95), bad(0.045)), mended=every(learns(0.3), settled(0.02))),
    pair("decay-as-in-adamw", decay_as_in_adamw, accepted=("O009",),
         sick=every(fails(0.5), bad(1.5), retrained(0.5, epochs=6, weight_decay=1e-4)),
         mended=every(learns(0.3, accuracy=0.92), settled(0.3))),
    pair("nearly-all-dropped", nearly_all_dropped, accepted=("O009",), sites=("net.2", "net.5"),
         sick=every(fails(0.75), retrained(0.4, epochs=5, prepare=dropping(0.1), lr=2e-3)),
         mended=every(learns(0.3, accuracy=0.93), settled(0.3))),
    pair("greedy-lasso", greedy_lasso, accepted=("O009",),
         sick=every(fails(0.93), bad(0.22), retrained(0.4, epochs=12, lr=1e-2)),
         mended=every(learns(0.3, accuracy=0.97), settled(0.1))),
    pair("wide-for-few", wide_for_few, accepted=("V001",),
         sick=every(overfits(1.3)), mended=every(learns(0.6, accuracy=0.9), settled(0.25))),
)  # fmt: skip
