"""Healthy controls of great variety in kind and style: nothing wrong with any of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from .ordinary_modules import Distilled, LanguageModel, LitResNet, LittleUNet, Siamese, Tagger, TwoTasks
from .ordinary_more import GCN, Flow, LeastSquaresGAN, Oscillator, QLearner, QuantileTable, SecondOrder
from .ordinary_parts import (
    Couples,
    Rows,
    chain,
    communities,
    enlarged,
    fitted,
    padded,
    replay,
    sales,
    sentences,
    settled,
    shapes,
    tabular,
)  # fmt: skip
from .parts import Fit, Pair, cnn, digits, loader, split
from .program import healthy
from .verify import every, learns, weights_of_start


def simple(
    kind: Callable[[], L.LightningModule], data: Callable[[], Any], *, epochs: int, batch: int = 64, collate: Any = None
) -> Callable[[int], Fit]:
    """Return a builder: a module, a training and a validation set, one validation batch."""

    def build(seed: int) -> Fit:
        train, val = data()
        shuffled = torch.Generator().manual_seed(seed)
        return Fit(
            kind(),
            DataLoader(train, batch, shuffle=True, drop_last=True, generator=shuffled, collate_fn=collate),
            DataLoader(val, len(val), collate_fn=collate),
            trainer={"max_epochs": epochs},
        )

    return build


def couples() -> Any:
    return tuple(Couples(data, fixed=i == 1) for i, data in enumerate(digits()))


def distillation(seed: int) -> Fit:
    """A convolutional teacher, trained first, and a small student."""
    teacher = cnn(norm=True)
    x, y = digits(image=True)[0].tensors
    optimizer = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    for _ in range(60):
        part = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        F.cross_entropy(teacher(x[part]), y[part]).backward()
        optimizer.step()
    return simple(lambda: Distilled(teacher), partial(digits, image=True), epochs=14)(seed)


def inked() -> Any:
    """Digits with the amount of ink in them, standardized."""
    found = []
    for data in digits(image=True):
        x, y = data.tensors
        found.append(Rows(image=x, digit=y, ink=(x.sum((1, 2, 3)) - 19.5) / 2.7))
    return tuple(found)


def wave() -> Pair:
    """Points along a wave: a density whose entropy is -0.20 nats."""
    noise = torch.randn(2048, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.6, 0.08])
    points = noise + torch.stack([torch.zeros(2048), 0.6 * torch.sin(2.5 * noise[:, 0])], 1)
    return TensorDataset(points[:1536]), TensorDataset(points[1536:])


def graph(seed: int) -> Fit:
    """Half of the nodes are known, a quarter validates."""
    order = torch.randperm(360, generator=torch.Generator().manual_seed(0))
    return simple(lambda: GCN(*communities()), lambda: (order[:180], order[180:]), epochs=30, batch=45)(seed)  # type: ignore[arg-type, return-value]


def surface(train: int = 400) -> Pair:
    """A wave over a square, with noise."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (train + 300, 2))
    y = np.sin(3 * x[:, :1]) * x[:, 1:] + 0.1 * rng.normal(size=(len(x), 1))
    return split(x, y, train=train, kind=torch.float32)


def times() -> Pair:
    """Random times to train on, a grid to validate."""
    train = torch.rand(1024, 1, generator=torch.Generator().manual_seed(0))
    return TensorDataset(train), TensorDataset(torch.linspace(0, 1, 101)[:, None])


def crowd(seed: int) -> Fit:
    """Points along the wave for a generator, without validation."""
    x = wave()[0].tensors[0][:1024] * 1.5
    return Fit(LeastSquaresGAN(), loader(TensorDataset(x), 64, seed=seed), trainer={"max_epochs": 30})


def walker(seed: int) -> Fit:
    """Stored transitions, without validation."""
    return Fit(QLearner(), loader(replay(), 64, seed=seed), trainer={"max_epochs": 20})


# -- checks of their own ---------------------------------------------------------------------------------


def imitates(fit: Fit, module: Any) -> None:
    """The generator's points are distributed like the data: their energy distance is small."""
    real = fit.train.dataset.tensors[0]  # type: ignore[attr-defined]

    def distance() -> float:
        torch.manual_seed(0)
        with torch.no_grad():
            fake: Tensor = module.sample(1024)
        a, b, c = (torch.cdist(u, v).mean() for u, v in ((real, fake), (real, real), (fake, fake)))
        return float(2 * a - b - c)

    end = distance()
    with weights_of_start(fit, module):
        start = distance()
    assert end < 0.12 * start, f"{start:.4f} -> {end:.4f}"


def arrives(fit: Fit, module: Any) -> None:
    """The values are those of value iteration, and the best action always leads nearer to the corner."""
    size, discount = 5, module.discount
    places = [(a, b) for a in range(size) for b in range(size)]
    after = [[tuple(np.clip((a + i, b + j), 0, size - 1)) for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1))]
             for a, b in places]  # fmt: skip
    index = {place: n for n, place in enumerate(places)}
    following = np.array([[index[(int(a), int(b))] for a, b in row] for row in after])
    distance = np.array([sum(p) for p in places])
    reward = np.where(distance[following] > distance[:, None], 1.0, -1.0)
    q = np.zeros((size * size, 4))
    for _ in range(200):
        q = reward + discount * q.max(1)[following]
    with torch.no_grad():
        found = module((torch.tensor(places).float() - 2) / 2).numpy()
    error = float(np.sqrt(((found - q) ** 2).mean()))
    assert error < 0.3 * q.std(), f"error {error:.3f}, spread {q.std():.3f}"
    best = found.argmax(1)
    right = np.take_along_axis(reward, best[:, None], 1)[:-1] > 0
    assert right.all(), f"{int((~right).sum())} places lead away"


def below_zero(fit: Fit, module: Any) -> None:
    """The likelihood of the validation set ends below zero, near the entropy."""
    assert module.val_losses[-1] < -0.1, module.val_losses[-1]


def near_entropy(fit: Fit, module: Any) -> None:
    """The language model knows all but what cannot be known (0.90 nats)."""
    assert module.val_losses[-1] < 1.06, module.val_losses[-1]


def covers(fit: Fit, module: Any) -> None:
    """About four fifths of the targets lie between the first and the last quantile."""
    assert 0.7 < module.val_accuracies[-1] < 0.88, module.val_accuracies[-1]


def solves(fit: Fit, module: Any) -> None:
    """The solution is the cosine, to a hundredth of its variance."""
    assert module.val_losses[-1] < 0.005, module.val_losses[-1]


def to_the_noise(fit: Fit, module: Any) -> None:
    """The validation error is the noise (variance 0.01) and little more."""
    assert module.val_losses[-1] < 0.0135, module.val_losses[-1]


HEALTHY = (
    healthy("basic-blocks", simple(LitResNet, enlarged, epochs=6),
            every(learns(0.3, accuracy=0.95), settled)),
    healthy("siamese-pairs", simple(Siamese, couples, epochs=14), every(learns(0.4, accuracy=0.9), settled)),
    healthy("distillation", distillation, every(learns(0.3, accuracy=0.92), settled)),
    healthy("two-tasks", simple(TwoTasks, inked, epochs=12), every(learns(0.4, accuracy=0.93), settled)),
    healthy("segmentation", simple(LittleUNet, shapes, epochs=10, batch=32),
            every(learns(0.5, accuracy=0.8), settled)),
    healthy("sequence-tagging", simple(Tagger, sentences, epochs=6, batch=30, collate=padded),
            every(learns(0.3, accuracy=0.97), settled)),
    healthy("causal-language-model", simple(LanguageModel, chain, epochs=10),
            every(learns(0.6), near_entropy, settled, fitted(0.1))),
    healthy("least-squares-gan", crowd, imitates),
    healthy("q-learning", walker, every(learns(0.4), arrives)),
    healthy("coupling-flow", simple(Flow, wave, epochs=16), every(learns(0.7), below_zero, settled)),
    healthy("message-passing", graph, every(learns(0.6, accuracy=0.85), settled)),
    healthy("tabular-quantiles", simple(QuantileTable, sales, epochs=14, collate=tabular),
            every(learns(0.6), covers, settled)),
    healthy("second-order", simple(SecondOrder, surface, epochs=30, batch=400),
            every(learns(0.3), to_the_noise, settled)),
    healthy("residual-of-an-equation", simple(Oscillator, times, epochs=24),
            every(learns(0.1), solves, settled)),
)  # fmt: skip
