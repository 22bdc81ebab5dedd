"""Sick losses: an output that does not fit its loss, a loss that does not fit its targets, a wrong size or sign."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .losses_checks import (
    broadcasts,
    collapsed,
    explains,
    explains_little,
    falls_short,
    maximizes,
    never_below,
    no_probability_below_half,
    not_single_labels,
    numbers_for_classes,
    settled,
    sharper,
    sums,
    unsure,
    within,
    without_bound,
)  # fmt: skip
from .losses_data import discs, friedman, soft_answers, topics, votes, waves
from .losses_parts import ByHand, Forecaster, ImageClassifier, RowReader, Segmenter, Student, Tagger
from .parts import Batch, Fit, Residual, Task, cancer, digits, loader, loaders, mlp, moons
from .program import pair
from .verify import every, fails, learns, stuck

SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Decay to zero over the whole training."""
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def drop(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A fifth of the rate after two thirds of the training."""
    return torch.optim.lr_scheduler.StepLR(optimizer, max(2 * steps // 3, 1), gamma=0.2)


def softmax_in_cnn(seed: int, sick: bool) -> Fit:
    """The classifier ends in nn.Softmax and nn.CrossEntropyLoss applies it again."""
    return Fit(ImageClassifier(softmax=sick), **loaders(digits(image=True), seed), trainer={"max_epochs": 11})


def sigmoid_for_classes(seed: int, sick: bool) -> Fit:
    """The scores of ten exclusive classes go through a sigmoid before the cross-entropy."""
    return Fit(RowReader(squash=sick), **loaders(digits(image=True), seed), trainer={"max_epochs": 14})


class Screening(Task):
    """A yes or no from 30 measurements: the probability, or the logit, goes to nn.BCEWithLogitsLoss."""

    def __init__(self, *, sigmoid: bool) -> None:
        layers = [nn.Linear(30, 24), nn.LayerNorm(24), nn.ReLU(), nn.Linear(24, 1)]
        super().__init__(nn.Sequential(*layers, *([nn.Sigmoid()] if sigmoid else [])), schedule=cosine,
                         optimizer=partial(RMSprop, lr=1e-3, weight_decay=1e-2))  # fmt: skip
        self.criterion = nn.BCEWithLogitsLoss()

    def compute(self, batch: Batch) -> Tensor:
        return self.criterion(self.net(batch[0])[:, 0], batch[1].float())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        probability = torch.sigmoid(self(batch[0])[:, 0])
        accuracy = ((probability > 0.5) == (batch[1] == 1)).float().mean()
        self.log("val_loss", loss)
        self.log("val_acc", accuracy, prog_bar=True)
        if not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            self.val_accuracies.append(float(accuracy))


def sigmoid_twice(seed: int, sick: bool) -> Fit:
    """The network ends in nn.Sigmoid and nn.BCEWithLogitsLoss applies it again: no probability is below a half."""
    return Fit(Screening(sigmoid=sick), **loaders(cancer(), seed, 32), trainer={"max_epochs": 20})


def logits_to_nll(seed: int, sick: bool) -> Fit:
    """nn.NLLLoss gets logits where it wants log-probabilities: they grow without bound."""
    layers = [nn.Linear(64, 32), Residual(32, gain=0.5), Residual(32, gain=0.5), nn.Linear(32, 10)]
    net = nn.Sequential(*layers, *([] if sick else [nn.LogSoftmax(dim=1)]))
    task = Task(net, loss=nn.NLLLoss(), optimizer=partial(AdamW, lr=2e-3, weight_decay=0.05), schedule=cosine,
                names=("train/nll", "valid/nll", "valid/acc"))  # fmt: skip
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 10})


def softmax_to_divergence(seed: int, sick: bool) -> Fit:
    """F.kl_div gets probabilities where it wants their logarithms: the student puts all on one class."""
    train, val = soft_answers()
    return Fit(Student(log=not sick), loader(train, 64, seed=seed), loader(val, 1024, shuffle=False),
               trainer={"max_epochs": 15})  # fmt: skip


def relu_on_regression(seed: int, sick: bool) -> Fit:
    """The last layer has a ReLU like all others, but half of the targets are negative."""
    net = mlp(8, 64, 64, 1)
    task = Task(nn.Sequential(*net, nn.ReLU()) if sick else net, loss=F.mse_loss, schedule=cosine,
                optimizer=partial(SGD, lr=0.02, momentum=0.5), names=("train_mse", "val_mse", "unused"))  # fmt: skip
    return Fit(task, **loaders(friedman(), seed, 32), trainer={"max_epochs": 12})


def tanh_on_forecast(seed: int, sick: bool) -> Fit:
    """A forecast goes through tanh, but a third of the standardized series lies beyond 1."""
    return Fit(Forecaster(squash=sick), **loaders(waves(), seed), trainer={"max_epochs": 12})


class Grader(Task):
    """Which digit it is: as one number to be met by mean squares, or as one of ten classes."""

    def __init__(self, *, number: bool) -> None:
        self.number = number
        super().__init__(mlp(64, 48, 32, 1 if number else 10, act=nn.ELU), schedule=cosine,
                         optimizer=partial(Adam, lr=3e-3), names=("loss/train", "loss/val", "acc/val"))  # fmt: skip

    def compute(self, batch: Batch) -> Tensor:
        x, y = batch
        return F.mse_loss(self(x).squeeze(1), y.float()) if self.number else F.cross_entropy(self(x), y)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, y = batch
        loss, output = self.compute(batch), self(x)
        accuracy = ((output.squeeze(1).round() if self.number else output.argmax(1)) == y).float().mean()
        self.log_dict({self.names[1]: loss, self.names[2]: accuracy})
        if not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            self.val_accuracies.append(float(accuracy))


def squares_of_classes(seed: int, sick: bool) -> Fit:
    """The squared error between one output and the index of the class, as if the classes were quantities."""
    return Fit(Grader(number=sick), **loaders(digits(), seed), trainer={"max_epochs": 16})


def one_class_for_many(seed: int, sick: bool) -> Fit:
    """Cross-entropy, which is for one class of many, on texts that have several topics or none."""
    task = Tagger(nn.CrossEntropyLoss() if sick else nn.BCEWithLogitsLoss())
    return Fit(task, **loaders(topics(), seed, 40), trainer={"max_epochs": 10})


def column_minus_row(seed: int, sick: bool) -> Fit:
    """Predictions (N, 1) minus targets (N,) make N x N errors: the network learns the mean."""
    net = nn.Sequential(nn.Linear(8, 40), nn.SiLU(), nn.Linear(40, 40), nn.SiLU(), nn.Linear(40, 1))
    return Fit(ByHand(net), **loaders(friedman(flat=sick), seed, 32), trainer={"max_epochs": 8})


def summed_loss(seed: int, sick: bool) -> Fit:
    """reduction="sum" over batches of 128 at a rate that suits the mean."""
    criterion = nn.CrossEntropyLoss(reduction="sum" if sick else "mean")
    net = mlp(64, 48, 48, 48, 10, norm=nn.BatchNorm1d, act=nn.Tanh)
    task = Task(net, loss=criterion, schedule=drop, optimizer=partial(SGD, lr=0.03, momentum=0.9))
    return Fit(task, **loaders(digits(), seed, 128), trainer={"max_epochs": 16})


class OneProbability(Task):
    """One probability, nn.BCELoss."""

    def compute(self, batch: Batch) -> Tensor:
        return F.binary_cross_entropy(self.net(batch[0]), batch[1].float().unsqueeze(1))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        accuracy = (self.net(batch[0]).round().squeeze(1) == batch[1]).float().mean()
        self.log("val/bce", loss)
        self.log("val/acc", accuracy)
        if not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            self.val_accuracies.append(float(accuracy))


def softmax_over_one(seed: int, sick: bool) -> Fit:
    """A softmax over one unit, which is always 1, for a yes or no."""
    net = nn.Sequential(*mlp(2, 32, 32, 1, act=nn.LeakyReLU), nn.Softmax(dim=1) if sick else nn.Sigmoid())
    task = OneProbability(net, optimizer=partial(Adam, lr=5e-3), schedule=cosine, names=("bce", "unused", "unused"))
    return Fit(task, **loaders(moons(noise=0.15), seed, 32), trainer={"max_epochs": 20})


class Reader(nn.Module):
    """Token and place embeddings, one transformer layer, the mean over the places."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.place = nn.Parameter(0.1 * torch.randn(12, 16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
        self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, text: Tensor) -> Tensor:
        return self.out(self.norm(self.layer(self.embedding(text) + self.place)).mean(1))


def likelihood(logits: Tensor, y: Tensor, *, sign: int) -> Tensor:
    """The mean log-likelihood by hand, times ``sign``."""
    return sign * torch.log_softmax(logits, dim=-1).gather(1, y[:, None]).mean()


def forgotten_minus(seed: int, sick: bool) -> Fit:
    """The log-likelihood written by hand lacks its minus and is minimized."""
    task = Task(Reader(), loss=partial(likelihood, sign=1 if sick else -1), schedule=cosine,
                optimizer=partial(AdamW, lr=5e-3), names=("train_nll", "val_nll", "val_acc"))  # fmt: skip
    return Fit(task, **loaders(votes(), seed, 80), trainer={"max_epochs": 8})


def dice_for_loss(seed: int, sick: bool) -> Fit:
    """The Dice coefficient itself is minimized instead of what it lacks to 1."""
    return Fit(Segmenter(coefficient=sick), **loaders(discs(), seed, 32), trainer={"max_epochs": 8})


good = every(learns(0.5, accuracy=0.9), settled)
PAIRS = (
    pair("softmax-in-cnn", softmax_in_cnn, sick=every(within(0, 1), never_below(1.46), fails(0.85)), mended=good,
         accepted=("H001",), sites=("classifier.4",)),
    pair("sigmoid-for-classes", sigmoid_for_classes,
         sick=every(within(0, 1), never_below(1.46), unsure(0.24), fails(0.9)), mended=good, accepted=("H001",)),
    pair("sigmoid-twice", sigmoid_twice, sick=every(within(0, 1), no_probability_below_half, fails(0.7)), mended=good,
         accepted=("H002",), sites=("net.4",)),
    pair("logits-to-nll", logits_to_nll, sick=every(without_bound(100), fails(0.5)), mended=good, accepted=("H003",)),
    pair("softmax-to-divergence", softmax_to_divergence, sick=sharper(0.5), mended=every(learns(0.2), settled),
         accepted=("H003",), sites=("final",)),
    pair("relu-on-regression", relu_on_regression, sick=every(falls_short(0, 1e9, 0.4), explains_little(0.6)),
         mended=every(learns(0.5), explains(0.8), settled), accepted=("H004",), sites=("net.5",)),
    pair("tanh-on-forecast", tanh_on_forecast, sick=every(falls_short(-1, 1, 0.25), explains_little(0.9)),
         mended=every(learns(0.5), explains(0.95), settled), accepted=("H004",)),
    pair("squares-of-classes", squares_of_classes, sick=every(numbers_for_classes, fails(0.5)), mended=good,
         accepted=("H005",)),
    pair("one-class-for-many", one_class_for_many, sick=every(not_single_labels(0.5), fails(0.8)), mended=good,
         accepted=("H005",)),
    pair("column-minus-row", column_minus_row, sick=every(broadcasts, explains_little(0.1), stuck()),
         mended=every(learns(0.5), explains(0.8), settled), accepted=("H006",)),
    pair("summed-over-batch", summed_loss, sick=every(sums, fails(0.7)), mended=good, accepted=("H007", "O001")),
    pair("softmax-over-one", softmax_over_one, sick=every(collapsed, stuck(), fails(0.6)), mended=good,
         accepted=("A005", "H004"), sites=("net.5",)),
    pair("forgotten-minus", forgotten_minus, sick=every(maximizes(F.cross_entropy), fails(0.5)), mended=good,
         accepted=("L006", "L005")),
    pair("dice-for-loss", dice_for_loss, sick=every(maximizes(F.binary_cross_entropy_with_logits), fails(0.1)),
         mended=every(learns(0.5, accuracy=0.8), settled), accepted=("L006",)),
)  # fmt: skip
