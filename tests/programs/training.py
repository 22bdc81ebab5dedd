"""Sick training: update sizes, losses that are not finite or do not fall, overfitting."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from .parts import (
    Batch,
    Fit,
    Pair,
    Recurrent,
    Task,
    cancer,
    cnn,
    diabetes,
    digits,
    he,
    initialized,
    loaders,
    mlp,
    tokens,
    wine,
)  # fmt: skip
from .program import pair
from .verify import every, fails, learns, moved, nonfinite_loss, overfits, stuck

SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop


def hot_adam(seed: int, sick: bool) -> Fit:
    """Adam with a rate of 0.3."""
    task = Task(mlp(64, 48, 48, 48, 10, act=nn.GELU), optimizer=partial(Adam, lr=0.3 if sick else 3e-3))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 10})


def hot_sgd(seed: int, sick: bool) -> Fit:
    """A tanh network under plain SGD with a rate of 8."""
    task = Task(mlp(64, 48, 48, 10, act=nn.Tanh), optimizer=partial(SGD, lr=8.0 if sick else 0.1))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 12})


class Bag(nn.Module):
    """Mean of token embeddings, one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(40, 24), mlp(24, 24, 2, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x).mean(1))


def hot_rmsprop(seed: int, sick: bool) -> Fit:
    """RMSprop with a rate of 0.5 on an embedding."""
    task = Task(Bag(), optimizer=partial(RMSprop, lr=0.5 if sick else 1e-3), names=("loss", "val_loss", "val_acc"))
    return Fit(task, **loaders(tokens(), seed), trainer={"max_epochs": 15})


def cold_sgd(seed: int, sick: bool) -> Fit:
    """SGD with a rate of 1e-7."""
    task = Task(initialized(mlp(64, 64, 64, 10), he), optimizer=partial(SGD, lr=1e-7 if sick else 0.05))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 8})


def cold_adam(seed: int, sick: bool) -> Fit:
    """A GRU under Adam with a rate of 1e-8."""
    task = Task(Recurrent(nn.GRU, 8, 32, 10), optimizer=partial(Adam, lr=1e-8 if sick else 5e-3))
    return Fit(task, **loaders(_rows(digits()), seed), trainer={"max_epochs": 6})


def _rows(data: Pair) -> Pair:
    """The rows of the images as a sequence."""
    train, val = (TensorDataset(d.tensors[0].reshape(-1, 8, 8), d.tensors[1]) for d in data)
    return train, val


def decays_by_step(seed: int, sick: bool) -> Fit:
    """A decay meant for epochs (x 0.7) that is applied after every step."""
    schedule: Any = lambda optimizer, steps: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.7)  # noqa: E731
    task = Task(
        cnn(norm=True), optimizer=partial(SGD, lr=0.01), schedule=schedule, interval="step" if sick else "epoch"
    )
    return Fit(task, **loaders(digits(image=True), seed), trainer={"max_epochs": 7})


def log_of_softmax(logits: Tensor, y: Tensor, *, safe: bool) -> Tensor:
    """Cross entropy as the logarithm of a softmax that can be exactly 0."""
    if safe:
        return F.nll_loss(F.log_softmax(logits, 1), y)
    return -(torch.log(F.softmax(logits, 1).half().float()) * F.one_hot(y, logits.shape[1])).sum(1).mean()


def zero_probability(seed: int, sick: bool) -> Fit:
    """log(softmax) by hand in half precision, where probabilities below 6e-8 are exactly 0."""
    loss = partial(log_of_softmax, safe=not sick)
    task = Task(mlp(13, 32, 3, act=nn.Tanh), optimizer=partial(Adam, lr=5e-2), loss=loss)
    return Fit(task, **loaders(wine(), seed, 32), trainer={"max_epochs": 60 if sick else 8})


class Masked(Task):
    """Mean of the errors over the rows that are valid (their last feature is positive)."""

    guard = False

    def compute(self, batch: Batch) -> Tensor:
        x, y = batch
        valid = (x[:, 0] > 0.8).float()
        error = F.smooth_l1_loss(self.net(x), y, reduction="none")[:, 0]
        return (error * valid).sum() / (valid.sum().clamp(min=1) if self.guard else valid.sum())


def empty_mask(seed: int, sick: bool) -> Fit:
    """A batch without any valid row: the masked mean is 0 / 0."""
    task = Masked(mlp(10, 32, 1, act=nn.ELU), optimizer=partial(SGD, lr=0.05))
    task.guard = not sick
    return Fit(task, **loaders(diabetes(), seed, 8), trainer={"max_epochs": 8})


def missing_targets(seed: int, sick: bool) -> Fit:
    """Two targets of the training set are NaN."""
    data = diabetes(missing=2 if sick else 0)
    task = Task(mlp(10, 32, 32, 1), optimizer=partial(Adam, lr=3e-3), loss=F.mse_loss)
    return Fit(task, **loaders(data, seed, 32), trainer={"max_epochs": 10})


class Shuffled:
    """A loader whose targets are shuffled apart from their inputs, anew in every batch."""

    def __init__(self, inner: DataLoader[Any], seed: int) -> None:
        self.inner, self.generator = inner, torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Batch]:
        for x, y in self.inner:
            yield [x, y[torch.randperm(len(y), generator=self.generator)]]

    def __len__(self) -> int:
        return len(self.inner)


def shuffled_targets(seed: int, sick: bool) -> Fit:
    """Inputs and targets are not of the same rows."""
    sets = loaders(digits(), seed)
    task = Task(mlp(64, 64, 10), optimizer=partial(Adam, lr=2e-3))
    train: Any = Shuffled(sets["train"], seed) if sick else sets["train"]
    return Fit(task, train, sets["val"], trainer={"max_epochs": 10})


class WrongParameters(Task):
    """Gives the optimizer the parameters of a copy."""

    def trained_parameters(self) -> list[nn.Parameter]:
        return [nn.Parameter(p.detach().clone()) for p in self.parameters()]


def wrong_parameters(seed: int, sick: bool) -> Fit:
    """The optimizer trains a copy of the network."""
    kind = WrongParameters if sick else Task
    task = kind(cnn(width=8), optimizer=partial(Adam, lr=3e-3), names=("train/loss", "val/loss", "val/acc"))
    return Fit(task, **loaders(digits(image=True), seed), trainer={"max_epochs": 6})


def all_zero(seed: int, sick: bool) -> Fit:
    """All weights start at zero: no hidden unit ever fires."""
    net = initialized(mlp(64, 64, 32, 10), nn.init.zeros_ if sick else he)
    return Fit(Task(net, optimizer=partial(SGD, lr=0.05)), **loaders(digits(), seed), trainer={"max_epochs": 10})


def few_rows(seed: int, sick: bool) -> Fit:
    """A large network on 120 rows, a third of them mislabelled, for long; mended: all rows, rightly labelled."""
    sets = digits(120 if sick else 1280)
    x, y = sets[0].tensors
    if sick:
        y = torch.cat([(y[:40] + 3) % 10, y[40:]])
    task = Task(mlp(64, 256, 256, 10), optimizer=partial(Adam, lr=1e-3))
    data = (TensorDataset(x, y), sets[1])
    return Fit(task, **loaders(data, seed, 24 if sick else 64), trainer={"max_epochs": 60 if sick else 8})


def large_regression(seed: int, sick: bool) -> Fit:
    """A large network learns the noise of 320 patients by heart; mended: a small one with weight decay."""
    net = mlp(10, 256, 256, 1) if sick else mlp(10, 8, 1)
    optimizer = partial(AdamW, lr=2e-3, weight_decay=0.0 if sick else 0.1)
    task = Task(net, optimizer=optimizer, loss=F.mse_loss, names=("train_mse", "val_mse", "unused"))
    return Fit(task, **loaders(diabetes(), seed, 32), trainer={"max_epochs": 40 if sick else 20})


def noisy_labels(seed: int, sick: bool) -> Fit:
    """A third of the labels is wrong and the network is large enough to learn them; mended: the labels."""
    train, val = cancer()
    x, y = train.tensors
    if sick:
        flip = torch.rand(len(y), generator=torch.Generator().manual_seed(1)) < 0.33
        y = torch.where(flip, 1 - y, y)
    task = Task(mlp(30, 128, 128, 2, act=nn.GELU), optimizer=partial(SGD, lr=0.1, momentum=0.9),
                names=("train/loss", "val/loss", "val/acc"))  # fmt: skip
    data = (TensorDataset(x, y), val)
    return Fit(task, **loaders(data, seed, 32), trainer={"max_epochs": 40 if sick else 6})


good = learns(0.6, accuracy=0.8)
PAIRS = (
    pair("hot-adam", hot_adam, sick=every(moved(5, 1e9), fails(0.6)), mended=good, accepted=("W001", "O001")),
    pair("hot-sgd", hot_sgd, sick=every(moved(5, 1e9), stuck(0.8)), mended=good,
         accepted=("W001", "A002", "O001")),
    pair("hot-rmsprop", hot_rmsprop, sick=moved(5, 1e9), mended=learns(0.85), accepted=("W001", "O001")),
    pair("cold-sgd", cold_sgd, sick=every(moved(1e-12, 1e-4), stuck()), mended=good,
         accepted=("W002", "L002", "O002")),
    pair("cold-adam", cold_adam, sick=every(moved(1e-12, 1e-4), stuck()), mended=good,
         accepted=("W002", "L002", "O002")),
    pair("decays-by-step", decays_by_step, sick=stuck(0.7), mended=learns(0.7, accuracy=0.8),
         accepted=("W002", "L002", "O004", "O002")),
    pair("zero-probability", zero_probability, sick=nonfinite_loss, mended=learns(0.8), accepted=("L001",)),
    pair("empty-mask", empty_mask, sick=nonfinite_loss, mended=learns(0.95, first_share=0.2), accepted=("L001",)),
    pair("missing-targets", missing_targets, sick=nonfinite_loss, mended=learns(0.7), accepted=("L001", "D001")),
    pair("shuffled-targets", shuffled_targets, sick=stuck(), mended=good, accepted=("L002", "D008")),
    pair("wrong-parameters", wrong_parameters, sick=every(moved(0, 0), stuck()), mended=good,
         accepted=("L002", "W002", "W004")),
    pair("all-zero", all_zero, sick=stuck(0.98), mended=good, accepted=("L002", "A001", "G001", "W006", "I001")),
    pair("few-rows", few_rows, sick=overfits(1.15), mended=good, accepted=("V001",)),
    pair("large-regression", large_regression, sick=overfits(1.2), mended=learns(0.75), accepted=("V001",)),
    pair("noisy-labels", noisy_labels, sick=overfits(1.5), mended=good, accepted=("V001",)),
)  # fmt: skip
