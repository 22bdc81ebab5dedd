"""Sick modes, normalization, starts and representations."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .modes_checks import (
    accuracy,
    amplified,
    constant,
    ends_above,
    ends_below,
    eval_worse,
    grown,
    left_in_eval,
    neighbours,
    never_updated,
    no_hidden_gradient,
    reported_rightly,
    reported_too_bad,
    same_direction,
    settled,
    starts_at,
    through_time,
    tiny_batches,
    worse_than_regularized,
)  # fmt: skip
from .modes_parts import (
    DigitNet,
    DropoutRegressor,
    GridLayer,
    Integrator,
    RowReader,
    TiedLanguageModel,
    chain,
    drifts,
    first_sign,
    grid,
)
from .parts import (
    Batch,
    Fit,
    Recurrent,
    Task,
    cancer,
    cnn,
    diabetes,
    digits,
    he,
    initialized,
    loader,
    loaders,
    mlp,
    wine,
    xavier,
)
from .program import pair
from .verify import every, fails, learns

SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def probe_left_in_eval(seed: int, sick: bool) -> Fit:
    """The features are put into eval mode for a probe before every epoch and trained in that mode."""
    return Fit(DigitNet(restore=not sick), **loaders(digits(image=True), seed), trainer={"max_epochs": 6})


def score_left_in_eval(seed: int, sick: bool) -> Fit:
    """A score inside the training step switches to eval mode and never back: no dropout."""
    return Fit(DropoutRegressor(restore=not sick), **loaders(diabetes(), seed, 32), trainer={"max_epochs": 30})


def score_left_in_train(seed: int, sick: bool) -> Fit:
    """A score inside the validation step switches back to train mode: validation with dropout."""
    train, val = digits()
    val_loader = loader(TensorDataset(*val[:320]), 64, shuffle=False)
    return Fit(RowReader(leave_train=sick), loader(train, 64, seed=seed), val_loader, trainer={"max_epochs": 12})


class BatchStatistics(Task):
    """Validates with the statistics of the batch."""

    def on_validation_epoch_start(self) -> None:
        self.net.train()


def sorted_validation(seed: int, sick: bool) -> Fit:
    """Validation in train mode: BatchNorm takes the statistics of four images of the same class."""
    train, val = digits()
    x, y = val.tensors[0][:200], val.tensors[1][:200]
    order = y.argsort(stable=True)
    val_loader = loader(TensorDataset(x[order], y[order]), 4, shuffle=False)
    kind = BatchStatistics if sick else Task
    net = mlp(64, 96, 96, 10, norm=nn.BatchNorm1d, act=nn.SiLU)
    task = kind(net, optimizer=partial(RMSprop, lr=1e-3), schedule=cosine)
    return Fit(task, loader(train, 64, seed=seed), val_loader, trainer={"max_epochs": 8})


def slow_statistics(seed: int, sick: bool) -> Fit:
    """BatchNorm with a momentum of 0.001, taken over from a framework that counts the other way round."""
    net = nn.Sequential()
    for i, (a, b) in enumerate(((64, 96), (96, 96), (96, 48))):
        net.add_module(f"linear{i}", nn.Linear(a, b))
        net.add_module(f"bn{i}", nn.BatchNorm1d(b, momentum=0.001 if sick else 0.1))
        net.add_module(f"act{i}", nn.ReLU())
    net.add_module("head", nn.Linear(48, 10))
    task = Task(net, optimizer=partial(SGD, lr=0.1, momentum=0.9, weight_decay=1e-4), schedule=cosine)
    return Fit(task, **loaders(digits(), seed, 48), trainer={"max_epochs": 9})


def two_rows(seed: int, sick: bool) -> Fit:
    """BatchNorm with batches of two rows and their gradients accumulated; mended: batches of 16."""
    net = mlp(13, 48, 48, 3, norm=nn.BatchNorm1d)
    task = Task(
        net,
        optimizer=partial(AdamW, lr=3e-3, weight_decay=0.1),
        schedule=cosine,
        names=("loss", "val/loss", "val/accuracy"),
    )
    trainer = {"max_epochs": 14, "accumulate_grad_batches": 8 if sick else 1}
    return Fit(task, **loaders(wine(104), seed, 2 if sick else 16), trainer=trainer)


def tied_embedding(seed: int, sick: bool) -> Fit:
    """The output matrix is the embedding as torch starts it, N(0, 1): logits of a standard deviation of 8."""
    train, val = chain()
    model = TiedLanguageModel(std=None if sick else 64**-0.5)
    return Fit(model, loader(train, 32, seed=seed), loader(val, 128, shuffle=False), trainer={"max_epochs": 10})


def counts_for_prior(seed: int, sick: bool) -> Fit:
    """The head's bias starts at the counts of the classes instead of at their logarithms."""
    data = cancer()
    net = mlp(30, 32, 32, 2, act=nn.GELU)
    counts = torch.bincount(data[0].tensors[1], minlength=2).float()
    with torch.no_grad():
        net[-1].bias.copy_(counts if sick else (counts / counts.sum()).log())  # type: ignore[index]
    return Fit(
        Task(net, optimizer=partial(SGD, lr=0.05), schedule=cosine),
        **loaders(data, seed, 25),
        trainer={"max_epochs": 20},
    )


class Penalized(Task):
    """Cross entropy and a penalty on the weights."""

    strength = 0.0

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_ce", loss)
        self.losses.append(float(loss.detach()))
        return loss + self.strength * sum(p.square().sum() for p in self.parameters() if p.ndim > 1)


def rewarded_weights(seed: int, sick: bool) -> Fit:
    """The penalty on the weights is subtracted from the loss instead of added."""
    task = Penalized(mlp(30, 32, 32, 2, act=nn.ELU), optimizer=partial(SGD, lr=0.05))
    task.strength = -0.06 if sick else 0.01
    return Fit(task, **loaders(cancer(), seed, 25), trainer={"max_epochs": 30})


def summed_neighbours(seed: int, sick: bool) -> Fit:
    """Four layers that add up the nine pixels around every pixel instead of averaging them."""
    layers = [GridLayer(3 if i == 0 else 16, 16, mean=not sick) for i in range(4)]
    net = initialized(nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, 10)), xavier)
    task = Task(net, optimizer=partial(Adam, lr=2e-3), schedule=cosine)
    return Fit(task, **loaders(grid(digits()), seed), trainer={"max_epochs": 10})


class Siamese(Task):
    """Two noisy views of an image shall have the same code; ``negatives``: and other images another one."""

    negatives = True

    def compute(self, batch: Batch) -> Tensor:
        a, b = (self.net(batch[0] + 0.15 * torch.randn_like(batch[0])) for _ in range(2))
        if self.negatives:
            return F.cross_entropy(F.normalize(a) @ F.normalize(b).T / 0.2, torch.arange(len(a)))
        return (a - b).square().sum(1).mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_loss", loss)
        if not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))


def no_negatives(seed: int, sick: bool) -> Fit:
    """A siamese network that only pulls pairs together; mended: a batch's other images are pushed away."""
    task = Siamese(mlp(64, 96, 96, 16), optimizer=partial(AdamW, lr=1e-3), schedule=cosine)
    task.negatives = not sick
    train, val = digits()
    val_loader = loader(val, 64, shuffle=False)
    return Fit(task, loader(train, 64, seed=seed), val_loader, trainer={"max_epochs": 15})


class Detector(Task):
    """Ten yes-or-no outputs, one for every digit."""

    def compute(self, batch: Batch) -> Tensor:
        x, y = batch
        return F.binary_cross_entropy_with_logits(self.net(x), F.one_hot(y, 10).float())


def rare_prior_everywhere(seed: int, sick: bool) -> Fit:
    """The bias of a rare prior, -4.6, meant for the output, is given to the hidden convolutions as well."""
    net = cnn()
    initialized(net, he)
    with torch.no_grad():
        for m in [net[0], net[2], net[-1]] if sick else [net[-1]]:
            m.bias.fill_(-2.2 if m is net[-1] else -4.6)  # type: ignore[union-attr]
        net[-1].weight.mul_(0.1)  # type: ignore[operator]
    task = Detector(net, optimizer=partial(Adam, lr=3e-3), schedule=cosine, names=("bce", "val_bce", "val_top1"))
    return Fit(task, **loaders(digits(image=True), seed), trainer={"max_epochs": 8})


def forgotten_first(seed: int, sick: bool) -> Fit:
    """A tanh RNN of 60 steps with small recurrent weights; what matters stands in the first step."""
    net = Recurrent(nn.RNN, 2, 24, 2)
    if sick:
        nn.init.normal_(net.cell.weight_hh_l0, std=0.02)
    else:
        nn.init.eye_(net.cell.weight_hh_l0)
    nn.init.zeros_(net.cell.bias_ih_l0)
    nn.init.zeros_(net.cell.bias_hh_l0)
    task = Task(net, optimizer=partial(Adam, lr=2e-3), schedule=cosine)
    return Fit(task, **loaders(first_sign(), seed, 32), trainer={"max_epochs": 12})


def growing_memory(seed: int, sick: bool) -> Fit:
    """A leaky memory whose state is multiplied by 1.15 in every one of 32 steps instead of 0.9."""
    net = nn.Sequential(Integrator(3, 24, 1.15 if sick else 0.9), nn.Linear(24, 3))
    task = Task(net, optimizer=partial(SGD, lr=0.05, momentum=0.9), schedule=cosine)
    return Fit(task, **loaders(drifts(), seed, 32), trainer={"max_epochs": 15})


good = every(learns(0.6), accuracy(0.85), settled())
PAIRS = (
    pair("probe-left-in-eval", probe_left_in_eval, sick=every(never_updated(), left_in_eval("features"), fails(0.6)),
         mended=good, accepted=("O006",), sites=("features",)),
    pair("score-left-in-eval", score_left_in_eval,
         sick=every(left_in_eval("drop"), worse_than_regularized(1.1, 0.6)),
         mended=every(learns(0.65), settled()), accepted=("O006",)),
    pair("score-left-in-train", score_left_in_train, sick=reported_too_bad(1.6), mended=every(good, reported_rightly),
         accepted=("O007",)),
    pair("sorted-validation", sorted_validation, sick=every(reported_too_bad(2.0), accuracy(0.0, 0.6)),
         mended=every(good, reported_rightly), accepted=("O007",)),
    pair("slow-statistics", slow_statistics, sick=every(eval_worse(5.0), ends_above(0.2)),
         mended=every(good, ends_below(0.1)), accepted=("V005",), sites=("net.bn",)),
    pair("two-rows", two_rows, sick=every(tiny_batches("net.1", 0.8), ends_above(0.28)),
         mended=every(learns(0.6), accuracy(0.9), settled(flat=0.88), ends_below(0.22)),
         accepted=("N001",), sites=("net.1", "net.4")),
    pair("tied-embedding", tied_embedding, sick=every(starts_at(12.0), ends_above(0.72)),
         mended=every(learns(0.4), accuracy(0.8), settled(), starts_at(4.0, 5.0), ends_below(0.67)),
         accepted=("I001", "I002"), sites=("embed", "decoder")),
    pair("counts-for-prior", counts_for_prior, sick=every(starts_at(10.0), ends_above(0.5)),
         mended=every(good, starts_at(0.5, 1.0), ends_below(0.2)), accepted=("I002", "I001"), sites=("net.4",)),
    pair("rewarded-weights", rewarded_weights, sick=every(grown(15.0), ends_above(1.0)),
         mended=every(good, ends_below(0.15)), accepted=("W007",)),
    pair("summed-neighbours", summed_neighbours, sick=every(amplified("net.0", "net.3", 50.0), ends_above(0.45)),
         mended=every(good, ends_below(0.25)), accepted=("A004", "G002"), sites=("net.",)),
    pair("no-negatives", no_negatives, sick=every(same_direction("net", 0.98), neighbours(0.0, 0.4)),
         mended=every(learns(0.7), settled(), neighbours(0.85)), accepted=("A006", "A005")),
    pair("rare-prior-everywhere", rare_prior_everywhere,
         sick=every(constant("net"), no_hidden_gradient("net.0"), fails(0.3)), mended=good,
         accepted=("A005", "A001", "I001"), sites=("net.0", "net.1", "net.2", "net.3")),
    pair("forgotten-first", forgotten_first, sick=every(through_time(0.0, 1e-12), fails(0.65)),
         mended=every(good, through_time(0.1, 100.0)), accepted=("G001",), sites=("net.cell",)),
    pair("growing-memory", growing_memory, sick=every(through_time(50.0, 1e6), fails(0.6)),
         mended=every(good, through_time(0.01, 1.0)), accepted=("G002", "A004"), sites=("net.0",)),
)  # fmt: skip
