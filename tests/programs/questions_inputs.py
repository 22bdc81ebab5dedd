"""First scripts whose tables, labels and splits were not looked at before they went into a network."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from . import questions_data as data
from .parts import Fit, digits, loader, loaders, split
from .program import pair
from .questions_checks import accuracy, answers, columns, ended, explained, recalled
from .questions_parts import LastState, LeNet, Script, TextCNN, net
from .verify import every

SGD, Adam, AdamW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW


def bytes_into_tanh(seed: int, sick: bool) -> Fit:
    """Pixels of 0 to 255 go as they are into tanh layers, under Adam."""
    module = Script(net(64, 64, 32, 10, act=nn.Tanh), nn.CrossEntropyLoss(), partial(SGD, lr=0.05, momentum=0.9))
    return Fit(module, **loaders(digits(scale=15.9375 if sick else 1 / 16), seed), trainer={"max_epochs": 14})


def houses_as_in_the_file(seed: int, sick: bool) -> Fit:
    """Years, square metres and metres to the sea beside a number of rooms, unscaled, under Adam."""
    module = Script(net(5, 64, 32, 1, act=nn.GELU), nn.MSELoss(), partial(Adam, lr=2e-3), log="mse")
    return Fit(module, **loaders(data.houses(standardized=not sick), seed, 32), trainer={"max_epochs": 25})


def seconds_since_1970(seed: int, sick: bool) -> Fit:
    """A time stamp in seconds beside standardized features; the mended script takes it off and scales it to years."""
    x, y = data.estates()
    x = (x - x.mean(0)) / x.std(0)
    stamp = 1.6e9 + 3.15e7 * np.random.default_rng(1).uniform(0, 3, len(x))
    x = np.concatenate([x, stamp[:, None] if sick else (stamp[:, None] - 1.6e9) / 3.15e7], 1)
    sets = split(x, y, train=1024, kind=torch.float32)
    module = Script(net(6, 48, 48, 1), nn.L1Loss(), partial(AdamW, lr=3e-3), log="mae")
    return Fit(module, **loaders(sets, seed, 32), trainer={"max_epochs": 25})


def score_of_patients(seed: int, sick: bool) -> Fit:
    """Diabetes as it comes: targets of 25 to 346 for a network that starts at 0 and steps with Adam's 0.001."""
    sets = data.patients() if sick else data.patients(mean=152.0, unit=77.0)
    module = Script(net(10, 16, 1), nn.MSELoss(), partial(Adam, lr=1e-3), log="mse")
    return Fit(module, **loaders(sets, seed, 16), trainer={"max_epochs": 30})


def sensor_with_gaps(seed: int, sick: bool) -> Fit:
    """One sensor of three was off now and then, and the file says NaN there."""
    module = Script(LastState(nn.LSTM, 3, 24, 1), nn.SmoothL1Loss(), partial(Adam, lr=3e-3))
    return Fit(module, **loaders(data.rides(gaps=sick), seed, 50), trainer={"max_epochs": 12})


def all_words_unknown(seed: int, sick: bool) -> Fit:
    """The vocabulary is in lower case, the texts are not: every word becomes the unknown one."""
    module = Script(TextCNN(122, 4), nn.CrossEntropyLoss(), partial(Adam, lr=2e-3), log="ce")
    return Fit(module, **loaders(data.sentences(known=0.0 if sick else 1.0), seed, 32), trainer={"max_epochs": 10})


def few_have_left(seed: int, sick: bool) -> Fit:
    """Three in a hundred customers have left; cross-entropy without weights finds nearly none of them."""
    weight = None if sick else torch.tensor([1.0, 24.0])
    module = Script(nn.Linear(15, 2), nn.CrossEntropyLoss(weight=weight), partial(Adam, lr=5e-3))
    return Fit(module, **loaders(data.churn(), seed, 64), trainer={"max_epochs": 12})


def normed(*sizes: int) -> nn.Sequential:
    """Linear, BatchNorm and SiLU, several times, and a linear layer to one number."""
    layers: list[nn.Module] = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


def sorted_by_price(seed: int, sick: bool) -> Fit:
    """The table is sorted by price, the target, and the loader does not shuffle."""
    train, val = data.houses()
    order = train.tensors[1][:, 0].argsort()
    train = TensorDataset(*(t[order] for t in train.tensors))
    module = Script(normed(5, 48, 48), nn.MSELoss(), partial(Adam, lr=3e-3), log="mse")
    batches: dict[str, DataLoader[Any]] = {"train": loader(train, 32, seed=seed, shuffle=not sick),
                                           "val": loader(val, 512, shuffle=False)}  # fmt: skip
    return Fit(module, **batches, trainer={"max_epochs": 20})


def label_among_the_features(seed: int, sick: bool) -> Fit:
    """The column of the label was not dropped from the table of features."""
    r = np.random.default_rng(2)
    x, y = datasets.make_classification(1500, 12, n_informative=8, n_classes=3, class_sep=1.4, random_state=9)
    x = (x - x.mean(0)) / x.std(0)
    extra = (y - y.mean()) / y.std() if sick else r.normal(size=len(y))
    sets = split(np.concatenate([x, extra[:, None]], 1), y, train=1200)
    module = Script(net(13, 48, 3), nn.CrossEntropyLoss(), partial(Adam, lr=3e-3, weight_decay=1e-3))
    return Fit(module, **loaders(sets, seed, 32), trainer={"max_epochs": 20})


def oversampled_before_split(seed: int, sick: bool) -> Fit:
    """Rare rows were repeated to balance the classes before the split: validation holds copies of training."""
    train, val = data.churn(0.1)
    x, y = (torch.cat([a, b]) for a, b in zip(train.tensors, val.tensors, strict=True))

    def balanced(rows: Any) -> Any:
        rare = rows[y[rows] == 1]
        return torch.cat([rows, rare.repeat(max((len(rows) - 2 * len(rare)) // len(rare), 0))])

    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    if sick:
        rows = balanced(order)
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))]
        first, second = rows[:4000], rows[4000:]
    else:
        first, second = balanced(order[:2300]), order[2300:]
    batches = loaders((TensorDataset(x[first], y[first]), TensorDataset(x[second], y[second])), seed, 64)
    module = Script(net(15, 24, 2), nn.CrossEntropyLoss(), partial(Adam, lr=3e-3, weight_decay=3e-3))
    return Fit(module, **batches, trainer={"max_epochs": 12})


def fourteen_points(seed: int, sick: bool) -> Fit:
    """A deep network on 14 noisy points of a curve, for 500 steps."""
    rows = 14 if sick else 800
    module = Script(net(1, 64, 64, 64, 1, act=nn.Tanh), nn.MSELoss(), partial(Adam, lr=5e-3), log="mse")
    return Fit(
        module, **loaders(data.wiggle(rows), seed, 7 if sick else 64), trainer={"max_epochs": 250 if sick else 25}
    )


def permuted_pixels(seed: int, sick: bool) -> Fit:
    """Images reshaped from (rows, columns, images) without moving the axis: every image is a mash of all."""
    x, y = datasets.load_digits(return_X_y=True)
    images = x.reshape(-1, 8, 8).transpose(1, 2, 0) / 16
    images = images.reshape(-1, 1, 8, 8) if sick else images.transpose(2, 0, 1)[:, None]
    module = Script(LeNet(8, 10), nn.CrossEntropyLoss(), partial(AdamW, lr=3e-3))
    return Fit(module, **loaders(split(images, y, train=1280), seed, 64), trainer={"max_epochs": 14})


def stands_still(fit: Fit, module: Any) -> None:
    """The output is the same for every text."""
    assert answers(fit, module)[0].std(0).max() < 1e-5


def given_away(fit: Fit, module: Any) -> None:
    """The last column and the label have a correlation of 1, and the network fails without that column."""
    x, y = fit.val.dataset.tensors  # type: ignore[union-attr]
    assert np.corrcoef(x[:, -1], y)[0, 1] > 0.999
    with torch.no_grad():
        bare = torch.cat([x[:, :-1], torch.zeros(len(x), 1)], 1)
        share = float((module(bare).argmax(1) == y).float().mean())
    assert share < 0.7, share


def shared(low: float, high: float) -> Any:
    """The share of the validation rows that are training rows as well lies in between."""

    def check(fit: Fit, module: Any) -> None:
        train = {tuple(row.tolist()) for row in fit.train.dataset.tensors[0]}
        found = np.mean([tuple(row.tolist()) in train for row in fit.val.dataset.tensors[0]])  # type: ignore[union-attr]
        assert low <= found <= high, found

    return check


def in_order(fit: Fit, module: Any) -> None:
    """The batches come in the order of the targets, in every epoch."""
    means = [float(b[1].mean()) for b in fit.train]
    assert means == sorted(means)


def not_finite(fit: Fit, module: Any) -> None:
    """Few rows hold NaN, and so do the loss and the weights after them."""
    x = torch.cat([b[0] for b in fit.train])
    share = float(x.isnan().flatten(1).any(1).float().mean())
    assert 0 < share < 0.02 and not np.isfinite(module.losses).all(), share
    assert not all(p.isfinite().all() for p in module.parameters())


PAIRS = (
    pair("bytes-into-tanh", bytes_into_tanh, accepted=("D002",), sick=every(columns(above=100), accuracy(0, 0.85)),
         mended=every(accuracy(0.94), ended())),
    pair("houses-as-in-the-file", houses_as_in_the_file, accepted=("D002",),
         sick=every(columns(above=1900, uneven=1000), explained(-99, 0.75)), mended=every(explained(0.9), ended())),
    pair("seconds-since-1970", seconds_since_1970, accepted=("D002",),
         sick=every(columns(above=1e9), explained(-1e20, 0.3)),
         mended=every(explained(0.9), ended())),
    pair("score-of-patients", score_of_patients, accepted=("D004",), sick=explained(-9, 0.1),
         mended=every(explained(0.28), ended())),
    pair("sensor-with-gaps", sensor_with_gaps, accepted=("D001",), sick=not_finite,
         mended=every(explained(0.85), ended())),
    pair("all-words-unknown", all_words_unknown, accepted=("D003", "D008", "A005"),
         sick=every(stands_still, accuracy(0, 0.35)),
         mended=every(accuracy(0.85), ended())),
    pair("few-have-left", few_have_left, accepted=("D005",),
         sick=recalled(0, 0.2), mended=every(recalled(0.55, 1), ended())),
    pair("sorted-by-price", sorted_by_price, accepted=("D006",), sick=every(in_order, explained(-99, 0.75)),
         mended=every(explained(0.9), ended())),
    pair("label-among-the-features", label_among_the_features, accepted=("D009",), sick=given_away,
         mended=every(accuracy(0.8), ended())),
    pair("oversampled-before-split", oversampled_before_split, accepted=("V004", "D007"), sick=shared(0.4, 0.95),
         mended=every(shared(0, 0), ended())),
    pair("fourteen-points", fourteen_points, accepted=("V001",),
         sick=every(explained(0.9, on="train"), explained(-99, 0.6)), mended=every(explained(0.7), ended())),
    pair("permuted-pixels", permuted_pixels, accepted=("D008", "L002"), sick=accuracy(0, 0.2),
         mended=every(accuracy(0.95), ended())),
)  # fmt: skip
