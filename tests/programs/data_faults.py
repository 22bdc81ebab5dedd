"""Sick data: what is read, scaled, split and augmented wrongly before the network ever sees it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from . import data_sets as sets
from .data_checks import (
    broken_rows,
    classes_in_batch,
    confused,
    constant_share,
    distinct,
    huge_in_validation,
    leaks,
    neighbours_disagree,
    never_reached,
    overlap,
    recall,
    scales,
    shifted,
    true_accuracy,
    unseen,
)
from .data_modules import Alarm, ArrowNet, BeatNet, CellTyper, Forecaster, RowTransformer, SalesNet
from .parts import Fit, Task, cnn, digits, loader, loaders, mlp
from .program import pair
from .verify import every, fails, stuck
from .wiring_checks import ends_above, settled

SGD, Adam, AdamW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def days_without_sale(seed: int, sick: bool) -> Fit:
    """A ratio of columns is 0 / 0, thus NaN, in a few rows."""
    data: Any = sets.shops(fill=not sick)
    return Fit(SalesNet(), **loaders(data, seed), trainer={"max_epochs": 14})


def log_of_no_counts(seed: int, sick: bool) -> Fit:
    """Logarithms of counts without the plus one: a rare zero becomes minus infinity."""
    return Fit(CellTyper(), **loaders(sets.genes(plus_one=not sick), seed), trainer={"max_epochs": 10})


def wine_as_it_is(seed: int, sick: bool) -> Fit:
    """The thirteen features of wine under SGD without any scaling."""
    x, z = sets.raw_wine()
    if not sick:
        mean, std = x.tensors[0].mean(0), x.tensors[0].std(0)
        x, z = (TensorDataset((d.tensors[0] - mean) / std, d.tensors[1]) for d in (x, z))
    task = Task(mlp(13, 24, 3), optimizer=partial(SGD, lr=0.05, weight_decay=1e-2), schedule=cosine)
    return Fit(task, **loaders((x, z), seed, 16), trainer={"max_epochs": 40})


def kelvin_into_gru(seed: int, sick: bool) -> Fit:
    """Temperatures go into a GRU in kelvin."""
    module = Forecaster("GRU", 1, 24, loss="MSELoss", rate=1e-2)
    return Fit(module, **loaders(sets.weather(celsius=not sick), seed), trainer={"max_epochs": 16})


def lamp_never_lit(seed: int, sick: bool) -> Fit:
    """A feature without any spread in the training set is divided by its deviation plus 1e-8."""
    data = sets.machines(drop=not sick)
    net = mlp(12 if sick else 11, 48, 48, 3, act=nn.SELU)
    task = Task(net, optimizer=partial(AdamW, lr=1e-2, weight_decay=0.1), schedule=cosine)
    return Fit(task, **loaders(data, seed), trainer={"max_epochs": 12})


def whole_number_division(seed: int, sick: bool) -> Fit:
    """Pixels of 0 to 240 are divided by 255 as whole numbers: every image is black."""
    net = cnn(act=nn.ReLU)
    task = Task(net, optimizer=partial(Adam, lr=3e-3), schedule=cosine, names=("train/loss", "val/loss", "val/acc"))
    return Fit(task, **loaders(sets.bytes_of_digits(whole=sick), seed), trainer={"max_epochs": 14})


def unknown_categories(seed: int, sick: bool) -> Fit:
    """The names in the file end in a blank, so that none is known and all one-hot columns stay 0."""
    task = Task(mlp(26, 32, 1, act=nn.Mish), optimizer=partial(SGD, lr=0.02, momentum=0.9, weight_decay=1e-3),
                loss=F.mse_loss, schedule=cosine, names=("mse", "val_mse", "-"))  # fmt: skip
    return Fit(task, **loaders(sets.offers(strip=not sick), seed), trainer={"max_epochs": 12})


def house_prices(seed: int, sick: bool) -> Fit:
    """Prices of houses in dollars are the targets of a network that starts at 0 and takes small steps."""
    data: Any = sets.houses(scaled=not sick)
    module = SalesNet(target="price", rate=3e-3, inputs=8)
    return Fit(module, **loaders(data, seed), trainer={"max_epochs": 16})


def beats_a_minute(seed: int, sick: bool) -> Fit:
    """An LSTM that starts at 0 is to answer 72 plus or minus 8 under an absolute error."""
    module = Forecaster("LSTM", 3, 24, loss="SmoothL1Loss", rate=5e-3)
    return Fit(module, **loaders(sets.heartbeats(scaled=not sick), seed), trainer={"max_epochs": 16})


def rare_failures(seed: int, sick: bool) -> Fit:
    """Two in a hundred rows are positive and count no more than the others: none is ever found."""
    train, val = sets.failures()
    batches = {"train": loader(train, 256, seed=seed), "val": loader(val, 4096, shuffle=False)}
    return Fit(Alarm(None if sick else 49.0), **batches, trainer={"max_epochs": 8})


def sorted_by_digit(seed: int, sick: bool) -> Fit:
    """The training set is sorted by class, as folders are, and nobody shuffles it."""
    train, val = digits(image=True)
    order = train.tensors[1].argsort(stable=True)
    ordered = TensorDataset(*(t[order] for t in train.tensors))
    optimizer = partial(SGD, lr=0.02, momentum=0.9, weight_decay=1e-3)
    task = Task(cnn(act=nn.ELU, width=8), optimizer=optimizer, schedule=cosine)
    batches = {"train": loader(ordered, 32, seed=seed, shuffle=not sick), "val": loader(val, 1024, shuffle=False)}
    return Fit(task, **batches, trainer={"max_epochs": 10})


def one_window_each(seed: int, sick: bool) -> Fit:
    """The index of the window is divided where its remainder was meant: the same 8 windows come all the time."""
    x, y = sets.hearts()
    train = sets.Windows(x[:8], y[:8], wrong=sick)
    val = TensorDataset(x[8:].flatten(0, 1), y[8:].flatten())
    batches: Any = {"train": loader(train, 32, seed=seed), "val": loader(val, 1024, shuffle=False)}
    return Fit(BeatNet(), **batches, trainer={"max_epochs": 11})


def in_order_of_names(seed: int, sick: bool) -> Fit:
    """Images in the order of their names, labels in that of their numbers: they are not of the same rows."""
    net = mlp(64, 16, 10, act=nn.SiLU)
    task = Task(net, optimizer=partial(SGD, lr=0.1, momentum=0.9, weight_decay=1e-3), schedule=cosine)
    return Fit(task, **loaders(sets.by_name(natural=not sick), seed, 32), trainer={"max_epochs": 12})


def date_of_leaving(seed: int, sick: bool) -> Fit:
    """A column that is only known when the target is: it is there in training and empty in validation."""
    net = mlp(11 if sick else 10, 64, 64, 2, act=nn.GELU)
    task = Task(net, optimizer=partial(AdamW, lr=3e-3, weight_decay=0.3), schedule=cosine)
    return Fit(task, **loaders(sets.customers(leak=sick), seed), trainer={"max_epochs": 14})


def validated_on_known_rows(seed: int, sick: bool) -> Fit:
    """The validation rows are split off, but the training loader gets the whole set."""
    whole = sets.noisy_digits()[0]
    train = whole if sick else Subset(whole, range(800))
    task = Task(mlp(64, 64, 10, dropout=0.3), optimizer=partial(AdamW, lr=2e-3, weight_decay=0.3), schedule=cosine)
    val: DataLoader[Any] = loader(Subset(whole, range(800, 1100)), 1024, shuffle=False)
    return Fit(task, loader(train, 32, seed=seed), val, trainer={"max_epochs": 14})


def divided_twice(seed: int, sick: bool) -> Fit:
    """The validation images are brought to 0..1 twice before they are normalized."""
    return Fit(RowTransformer(), **loaders(sets.in_rows(twice=sick), seed), trainer={"max_epochs": 12})


def mirrored_arrows(seed: int, sick: bool) -> Fit:
    """Random mirroring turns arrows to the left into arrows to the right, and leaves their labels."""
    return Fit(ArrowNet(mirror=sick), **loaders(sets.arrows(), seed), trainer={"max_epochs": 12})


def true_digits() -> tuple[Tensor, ...]:
    return sets.by_name(natural=True)[1].tensors


def unseen_digits() -> tuple[Tensor, ...]:
    return sets.noisy_digits()[1].tensors


PAIRS = (
    pair("days-without-sale", days_without_sale, accepted=("D001",), sick=broken_rows(2, 15),
         mended=settled(below=0.2)),
    pair("log-of-no-counts", log_of_no_counts, accepted=("D001",), sick=broken_rows(4, 150),
         mended=settled(accuracy=0.85)),
    pair("wine-as-it-is", wine_as_it_is, accepted=("D002",), sick=every(scales(uneven=500), fails(0.75)),
         mended=settled(accuracy=0.88)),
    pair("kelvin-into-gru", kelvin_into_gru, accepted=("D002",), sick=every(scales(offset=20), ends_above(0.5)),
         mended=settled(below=0.1)),
    pair("lamp-never-lit", lamp_never_lit, accepted=("D003", "V006"),
         sick=every(huge_in_validation(7, 1e6), ends_above(100)), mended=settled(accuracy=0.85)),
    pair("whole-number-division", whole_number_division, accepted=("D003", "D008"),
         sick=every(constant_share(1), fails(0.2)), mended=settled(accuracy=0.95)),
    pair("unknown-categories", unknown_categories, accepted=("D003",),
         sick=every(constant_share(0.9, 0.95), ends_above(0.6)), mended=settled(below=0.15)),
    pair("house-prices", house_prices, accepted=("D004",), sick=never_reached(0.1, 2), mended=settled(below=0.12)),
    pair("beats-a-minute", beats_a_minute, accepted=("D004",), sick=never_reached(0.8, 5), mended=settled(below=0.1)),
    pair("rare-failures", rare_failures, accepted=("D005",), sick=recall(0, 0.1),
         mended=every(recall(0.7), settled(ratio=0.8))),
    pair("sorted-by-digit", sorted_by_digit, accepted=("D006",), sick=every(classes_in_batch(2), fails(0.6)),
         mended=settled(accuracy=0.95)),
    pair("one-window-each", one_window_each, accepted=("D007",), sick=every(distinct(8, 900), fails(0.75)),
         mended=settled(accuracy=0.92)),
    pair("in-order-of-names", in_order_of_names, accepted=("D008", "L002"),
         sick=every(neighbours_disagree(0.2), stuck(0.85), true_accuracy(0, 0.25, true_digits)),
         mended=every(settled(accuracy=0.9), true_accuracy(0.9, 1, true_digits))),
    pair("date-of-leaving", date_of_leaving, accepted=("D009", "V006"),
         sick=every(leaks(10, 0.05), fails(0.85), ends_above(0.35)), mended=settled(accuracy=0.85)),
    pair("validated-on-known-rows", validated_on_known_rows, accepted=("V004",),
         sick=every(overlap(0.9), unseen(1.4, 9, unseen_digits)),
         mended=every(overlap(0, 0), unseen(0.8, 1.2, unseen_digits), settled(accuracy=0.8))),
    pair("divided-twice", divided_twice, accepted=("V006",), sick=every(shifted(0.2), fails(0.5)),
         mended=settled(accuracy=0.93)),
    pair("mirrored-arrows", mirrored_arrows, accepted=("D008", "V002"),
         sick=every(confused(0, 1, 0.6), confused(2, 3, 0.6), fails(0.65)), mended=settled(accuracy=0.95)),
)  # fmt: skip
