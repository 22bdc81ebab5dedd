"""Losses written by hand of tensor operations: six wrong ones, with their mended twins, and eight right ones.

All of them have names such that :func:`tests.programs.split.half` puts them into the half on which limits are set.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from . import heads_parts, losses_data, questions_data, research_data, written_parts as w
from .losses_checks import maximizes, never_below, no_probability_below_half, not_single_labels, within, without_bound
from .missed_checks import ends, falls, keeps, well
from .missed_parts import fitted, standard_digits
from .parts import Fit, cancer, cnn, loader, mlp
from .program import Program, healthy, pair
from .questions_checks import ended, steps
from .verify import Check, every


def normed(seed: int, sick: bool) -> Fit:
    """The forward pass ends in exp over sum, and the loss takes the logarithm of a sum of exp of it."""
    net = cnn(norm=True)
    module = w.Written(w.Then(net, w.shares) if sick else net, w.gathered, lr=5e-3)
    return fitted(module, standard_digits(image=True), seed, 64, max_epochs=12)


def squashed(seed: int, sick: bool) -> Fit:
    """The forward pass ends in a sigmoid, and the loss is the stable form for raw outputs."""
    net = mlp(30, 12, 1, act=nn.GELU)
    module = w.Written(w.Then(net, torch.sigmoid) if sick else net, w.stable, w.above(0.5 if sick else 0.0), decay=0.05)
    return fitted(module, cancer(), seed, 32, max_epochs=18)


def divergence(seed: int, sick: bool) -> Fit:
    """What the loss takes for the logarithms of probabilities are raw outputs."""

    def agrees(z: Tensor, p: Tensor) -> Tensor:
        return (z.argmax(1) == p.argmax(1)).float().mean()

    train, val = (TensorDataset(*s.columns.values()) for s in losses_data.soft_answers())
    loss = w.relative_entropy if sick else lambda z, p: w.relative_entropy(z.log_softmax(1), p)
    return fitted(w.Written(mlp(12, 48, 5, act=nn.SiLU), loss, agrees), (train, val), seed, 100, max_epochs=18)


def labels(seed: int, sick: bool) -> Fit:
    """A sample has several labels, and they compete for one sum of probabilities."""
    net = nn.Sequential(nn.EmbeddingBag(60, 24, mode="sum"), nn.LayerNorm(24), nn.ReLU(), nn.Linear(24, 8))
    module = w.Written(net, w.one_simplex if sick else w.each_label, w.above(0.0), lr=1e-2)
    return fitted(module, heads_parts.topics(), seed, 128, max_epochs=14)


def likelihood(seed: int, sick: bool) -> Fit:
    """The likelihood is picked by an index, and nobody put a minus before it."""
    net = nn.Sequential(
        nn.Conv1d(1, 16, 7, stride=2, padding=3), nn.ReLU(), nn.Conv1d(16, 24, 5, stride=2, padding=2), nn.ReLU(),
        nn.Conv1d(24, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(72, 4),
    )  # fmt: skip
    module = w.Written(net, w.indexed if sick else lambda z, y: -w.indexed(z, y), lr=4e-3)
    return fitted(module, heads_parts.waves(), seed, 64, max_epochs=16)


def segments(width: int, **options: Any) -> nn.Sequential:
    """Return convolutions that keep the size, for images of one channel."""
    convs = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, **options), nn.ReLU()]
    return nn.Sequential(*convs, nn.Conv2d(width, 1, 3, padding=1))


def dice(seed: int, sick: bool) -> Fit:
    """The overlap of masks is the loss as it is."""
    module = w.Written(segments(10), w.overlap if sick else lambda z, y: 1 - w.overlap(z, y), w.covered, lr=1e-2)
    return fitted(module, w.specks(), seed, 48, max_epochs=10)


def onehot(seed: int) -> Fit:
    """One-hot rows times log-probabilities, on three arms of a spiral."""
    module = w.Written(mlp(2, 48, 48, 3, act=nn.Tanh), w.product, lr=1e-2)
    return fitted(module, research_data.spirals(), seed, 60, max_epochs=24)


def smoothing(seed: int) -> Fit:
    """A tenth of the target goes to all classes, on digits as rows."""
    module = w.Written(mlp(64, 64, 10, norm=nn.BatchNorm1d, dropout=0.1), w.smoothed)
    return fitted(module, standard_digits(), seed, 64, max_epochs=14)


def rare(seed: int) -> Fit:
    """Hard rows count more, where one customer in seven leaves."""

    def found(z: Tensor, y: Tensor) -> Tensor:
        said, true = z.squeeze(1) > 0, y > 0
        return 2 * (said & true).sum() / (said.sum() + true.sum())

    module = w.Written(mlp(15, 32, 1, act=nn.GELU), w.focal, found, lr=1e-2, decay=0.05)
    return fitted(module, questions_data.churn(0.15), seed, 96, max_epochs=10)


def masks(seed: int) -> Fit:
    """One minus the soft overlap, on discs."""
    module = w.Written(segments(8, padding_mode="replicate"), lambda z, y: 1 - w.overlap(z, y), w.covered, lr=1e-2)
    return fitted(module, losses_data.discs(), seed, 32, max_epochs=8)


def ragged(seed: int) -> Fit:
    """Tags of sentences of 6 to 20 words; what stands behind their ends does not count."""

    def known(z: Tensor, y: Tensor) -> Tensor:
        return (z.argmax(-1) == y)[y >= 0].float().mean()

    g, sets = torch.Generator().manual_seed(5), []
    for x, y in (s.tensors for s in heads_parts.tagged()):
        behind = torch.arange(20) >= torch.randint(6, 21, (len(x), 1), generator=g)
        sets.append(TensorDataset(x.masked_fill(behind, 40), y.masked_fill(behind, -1)))
    module = w.Written(w.Tagger(41, 5), w.padded, known, lr=1e-2)
    return fitted(module, (sets[0], sets[1]), seed, 64, max_epochs=14)


def widths(seed: int) -> Fit:
    """A mean and the logarithm of a variance for every row."""

    def explained(out: Tensor, y: Tensor) -> Tensor:
        return 1 - (y - out[:, 0]).pow(2).mean() / y.var()

    module = w.Written(mlp(4, 32, 32, 2, act=nn.Tanh), w.gaussian, explained)
    return fitted(module, heads_parts.spread(), seed, 128, max_epochs=20)


def gratings(width: int) -> nn.Sequential:
    """Return a network for 12x12 gratings."""
    convs = [nn.Conv2d(1, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, width, 3), nn.ReLU()]
    return nn.Sequential(*convs, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * width, 4))


def student(seed: int) -> Fit:
    """A small network learns the answers of a larger one that has been trained before."""
    data, teacher = questions_data.stripes(), gratings(16)
    optimizer = torch.optim.Adam(teacher.parameters(), 5e-3)
    for _ in range(4):
        for x, y in loader(data[0], 64, seed=seed):
            optimizer.zero_grad()
            F.cross_entropy(teacher(x), y).backward()
            optimizer.step()
    teacher.zero_grad()
    return fitted(w.Taught(gratings(8), teacher, w.distilled), data, seed, 52, max_epochs=12)


def praise(seed: int) -> Fit:
    """Answers are drawn and paid for; their likelihoods are weighted by the standardized pay."""
    net = nn.Sequential(nn.EmbeddingBag(122, 24), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 4))
    return fitted(w.Written(net, w.praised, lr=2e-2), questions_data.sentences(), seed, 80, max_epochs=20)


def good(score: float, ratio: float = 0.5) -> Check:
    """Both losses come down and stay there, the training is over, and the score of the validation is high."""
    return every(well("train_loss", "val_loss", ratio), ended(), ends("val_score", above=score), steps(150, 400))


LONG = steps(150, 400)
PROGRAMS: list[Program] = [
    *pair("exp-over-sum", normed, sick=every(within(0, 1), never_below(1.46), LONG), mended=good(0.95),
          accepted=("H001",)),
    *pair("log1p-of-shares", squashed, sick=every(within(0, 1), no_probability_below_half, never_below(0.3), LONG),
          mended=good(0.94), accepted=("H002",)),
    *pair("relative-entropy-by-hand", divergence, sick=every(without_bound(1), LONG), mended=good(0.85),
          accepted=("H003", "L005")),
    *pair("topics-compete", labels, sick=every(not_single_labels(0.5), LONG), mended=good(0.8, 0.7),
          accepted=("H005",)),
    *pair("likelihood-indexed", likelihood,
          sick=every(maximizes(F.cross_entropy), ends("val_score", below=0.3), ends("val_loss", below=-5), LONG),
          mended=good(0.9), accepted=("L006", "L005")),
    *pair("overlap-minimized", dice,
          sick=every(falls("train_loss", 0.3), ends("val_score", below=0.05), LONG), mended=good(0.7),
          accepted=("L006",)),
    healthy("onehot-product", onehot, good(0.93)),
    healthy("smoothing-by-hand", smoothing, good(0.95)),
    healthy("focal-by-hand", rare, good(0.7)),
    healthy("one-minus-overlap", masks, good(0.8)),
    healthy("padding-ignored", ragged, good(0.95, 0.2)),
    healthy("gaussian-by-hand", widths, every(falls("train_loss", 0.4), keeps("val_loss"), ended(), LONG,
                                              ends("val_score", above=0.8))),
    healthy("taught-by-hand", student, good(0.9)),
    healthy("praise-and-blame", praise, every(ends("val_score", above=0.9), LONG)),
]  # fmt: skip
