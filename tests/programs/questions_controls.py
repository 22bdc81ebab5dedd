"""Healthy controls as tutorials and first scripts have them: nothing wrong with any of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import questions_data as data
from .parts import Fit, cancer, digits, loaders, split, wine
from .program import healthy
from .questions_checks import accuracy, ended, explained, positive, steps
from .questions_modules import LitDigits, Mixture, StepsByHand, Triplets, WordVectors
from .questions_parts import Encoder, LastState, LeNet, Script, TextCNN, net
from .questions_proofs import apart, beats, better_than_mean, stays
from .verify import every

optim, schedulers = torch.optim, torch.optim.lr_scheduler


def first_tutorial(seed: int) -> Fit:
    return Fit(LitDigits(), **loaders(digits(image=True), seed, 32), trainer={"max_epochs": 20})


def half_precision(seed: int) -> Fit:
    """bfloat16 by autocast."""
    module = Script(LeNet(12, 4), nn.CrossEntropyLoss(), partial(optim.AdamW, lr=2e-3))
    return Fit(module, **loaders(data.stripes(), seed, 40), trainer={"max_epochs": 10, "precision": "bf16-mixed"})


def two_speeds(seed: int) -> Fit:
    """A trunk that has been trained before goes on at a tenth of the rate of its new head."""
    model = net(64, 64, 64, 10)
    before = optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(6):
        for x, y in loaders(digits(), seed)["train"]:
            before.zero_grad()
            F.cross_entropy(model(x), y).backward()
            before.step()
    model[-1] = nn.Linear(64, 5)

    def optimize(params: Any) -> Any:
        groups = [{"params": model[:-1].parameters(), "lr": 2e-4}, {"params": model[-1].parameters()}]
        return optim.Adam(groups, lr=2e-3)

    module = Script(model, lambda output, y: F.cross_entropy(output, y // 2), optimize)
    return Fit(module, **loaders(digits(), seed), trainer={"max_epochs": 12})


def stocks(seed: int) -> Fit:
    """Nearly all of the target is noise: a linear model finds the little that is not."""
    r = np.random.default_rng(31)
    x = r.normal(size=(4000, 8))
    y = x @ r.normal(size=(8, 1)) * 0.15 + r.normal(size=(4000, 1))
    sets = split(x, y, train=3200, kind=torch.float32)
    module = Script(nn.Linear(8, 1), nn.MSELoss(), partial(optim.SGD, lr=0.01, weight_decay=1e-3), log="mse")
    return Fit(module, **loaders(sets, seed, 64), trainer={"max_epochs": 8})


def word_vectors(seed: int) -> Fit:
    return Fit(WordVectors(), loaders(data.sentences(), seed, 32)["train"], trainer={"max_epochs": 25})


def mixture_density(seed: int) -> Fit:
    return Fit(Mixture(), **loaders(data.rides(scale=0.2), seed, 50), trainer={"max_epochs": 15})


def triplets(seed: int) -> Fit:
    return Fit(Triplets(), loaders(digits(), seed, 64)["train"], trainer={"max_epochs": 20})


def steps_by_hand(seed: int) -> Fit:
    return Fit(StepsByHand(), **loaders(wine(), seed, 16), trainer={"max_epochs": 15})


def one_cycle_text(seed: int) -> Fit:
    """A transformer under OneCycleLR, stepped per step, with accumulation and a generous clip."""

    def optimize(params: Any) -> Any:
        optimizer = optim.AdamW(params, lr=4e-3, weight_decay=0.05)
        schedule = schedulers.OneCycleLR(optimizer, max_lr=4e-3, total_steps=12 * 25)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    module = Script(Encoder(122, 4, depth=1), nn.CrossEntropyLoss(label_smoothing=0.1), optimize)
    options = {"max_epochs": 12, "accumulate_grad_batches": 2, "gradient_clip_val": 1.0}
    return Fit(module, **loaders(data.sentences(), seed, 24), trainer=options)


def three_steps(seed: int) -> Fit:
    """fast_dev_run to see that it runs."""
    module = Script(TextCNN(122, 4), nn.CrossEntropyLoss(), partial(optim.Adam, lr=1e-3))
    return Fit(module, **loaders(data.sentences(), seed, 32), trainer={"fast_dev_run": 3})


def eight_steps(seed: int) -> Fit:
    """A smoke run of a few limited batches."""
    module = Script(LastState(nn.LSTM, 3, 16, 1), nn.MSELoss(), partial(optim.RMSprop, lr=1e-3), log="mse")
    options = {"max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 1}
    return Fit(module, **loaders(data.rides(), seed, 32), trainer=options)


def four_flowers(seed: int) -> Fit:
    """Batches of four."""
    module = Script(net(4, 12, 3, act=nn.Tanh), nn.CrossEntropyLoss(), partial(optim.SGD, lr=0.03))
    return Fit(module, **loaders(data.flowers(), seed, 4), trainer={"max_epochs": 30})


def goes_on(seed: int) -> Fit:
    """A model that has converged before goes on at a low rate: there is nothing left to gain."""
    module = Script(net(30, 16, 1), lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y.float()),
                    partial(optim.SGD, lr=1e-3))  # fmt: skip
    before = optim.Adam(module.parameters(), lr=3e-3, weight_decay=1e-3)
    for _ in range(30):
        for x, y in loaders(cancer(), seed, 40)["train"]:
            before.zero_grad()
            module.criterion(module(x), y).backward()
            before.step()
    return Fit(module, **loaders(cancer(), seed, 40), trainer={"max_epochs": 8})


def sparse_codes(seed: int) -> Fit:
    """An autoencoder of images in 0..1 that ends in a sigmoid."""
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 64), nn.Sigmoid())
    module = Script(model, nn.BCELoss(), partial(optim.NAdam, lr=3e-3), log="bce")
    return Fit(module, **loaders(data.pictures(), seed, 50), trainer={"max_epochs": 25})


def adagrad_plateau(seed: int) -> Fit:
    """Adagrad, and a patient ReduceLROnPlateau on the validation loss."""

    def optimize(params: Any) -> Any:
        optimizer = optim.Adagrad(params, lr=0.05)
        plateau = schedulers.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_mae"}}

    module = Script(net(5, 64, 64, 1, act=nn.Mish), nn.L1Loss(), optimize, log="mae")
    return Fit(module, **loaders(data.houses(), seed, 32), trainer={"max_epochs": 25})


def weighted_churn(seed: int) -> Fit:
    """One customer in ten has left, and counts nine times."""
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0]))
    module = Script(
        nn.Sequential(nn.BatchNorm1d(15), *net(15, 16, 2)), criterion, partial(optim.Adam, lr=3e-3, weight_decay=3e-3)
    )
    return Fit(module, **loaders(data.churn(0.1), seed, 100), trainer={"max_epochs": 14})


HEALTHY = (
    healthy("first-tutorial", first_tutorial, every(accuracy(0.94), ended())),
    healthy("half-precision", half_precision, every(accuracy(0.93), ended())),
    healthy("two-speeds", two_speeds, beats(0.5)),
    healthy("mostly-noise", stocks, every(explained(0.08, 0.4), explained(0.08, 0.4, on="train"))),
    healthy("word-vectors", word_vectors, apart),
    healthy("mixture-density", mixture_density, every(beats(0.5), ended(0.15))),
    healthy("triplets", triplets, every(beats(0.2), ended())),
    healthy("steps-by-hand", steps_by_hand, every(accuracy(0.94), ended())),
    healthy("one-cycle-text", one_cycle_text, every(accuracy(0.85), ended())),
    healthy("three-steps", three_steps, steps(3, 3)),
    healthy("eight-steps", eight_steps, steps(8, 8)),
    healthy("four-flowers", four_flowers, every(accuracy(0.9), ended())),
    healthy("goes-on", goes_on, every(accuracy(0.93, decide=positive), stays)),
    healthy("sparse-codes", sparse_codes, every(better_than_mean, ended())),
    healthy("adagrad-plateau", adagrad_plateau, every(explained(0.92), ended())),
    healthy("weighted-churn", weighted_churn, every(accuracy(0.7), ended())),
)
