"""Sick activations: dead units, saturated units, activations that are not finite."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .parts import Fit, Pair, Task, cancer, cnn, digits, he, initialized, loaders, mlp, tokens, xavier
from .program import pair
from .verify import dead, every, learns, nonfinite_output, saturated

SGD, Adam, AdamW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW


def dead_by_bias(seed: int, sick: bool) -> Fit:
    """Somebody set the biases of most units of one layer to -10."""
    net = initialized(mlp(64, 64, 64, 64, 10), he)
    if sick:
        net[2].bias.data[:48] = -10.0  # type: ignore[index]
    return Fit(Task(net), **loaders(digits(), seed), trainer={"max_epochs": 10})


def dead_by_rate(seed: int, sick: bool) -> Fit:
    """A learning rate that kills units in the first steps."""
    task = Task(initialized(mlp(64, 64, 64, 64, 64, 10), he), optimizer=partial(SGD, lr=1.5 if sick else 0.05))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 10})


def dead_channels(seed: int, sick: bool) -> Fit:
    """Adam with a hundred times its usual rate kills the channels of a small CNN."""
    task = Task(cnn(), optimizer=partial(Adam, lr=0.2 if sick else 2e-3))
    return Fit(task, **loaders(digits(image=True), seed), trainer={"max_epochs": 8})


def dead_by_sign(seed: int, sick: bool) -> Fit:
    """Weights drawn from U(-a, 0) instead of U(-a, a): with pixels >= 0 the first layer can hardly fire."""
    net = initialized(mlp(64, 96, 48, 10), he)
    a = (6 / 64) ** 0.5
    nn.init.uniform_(net[0].weight, -a, -0.001 if sick else a)  # type: ignore[index]
    return Fit(Task(net, optimizer=partial(AdamW, lr=1e-3)), **loaders(digits(), seed), trainer={"max_epochs": 8})


def saturated_by_start(seed: int, sick: bool) -> Fit:
    """tanh behind weights of N(0, 1)."""
    start = partial(nn.init.normal_, std=1.0) if sick else xavier
    net = initialized(mlp(64, 64, 64, 64, 10, act=nn.Tanh), start)
    return Fit(Task(net, optimizer=partial(SGD, lr=0.05)), **loaders(digits(), seed), trainer={"max_epochs": 10})


def saturated_by_input(seed: int, sick: bool) -> Fit:
    """Sigmoids on features that go up to 4000, not standardized."""
    task = Task(mlp(30, 32, 32, 2, act=nn.Sigmoid), optimizer=partial(Adam, lr=5e-3))
    return Fit(task, **loaders(cancer(standardized=not sick), seed, 32), trainer={"max_epochs": 25})


def saturated_conv(seed: int, sick: bool) -> Fit:
    """A tanh CNN on pixels 0..255 with weights of N(0, 1)."""
    net = initialized(cnn(act=nn.Tanh), partial(nn.init.normal_, std=1.0) if sick else xavier)
    task = Task(net, optimizer=partial(SGD, lr=0.02, momentum=0.9))
    data = digits(scale=255 / 16 if sick else 1 / 16, image=True)
    return Fit(task, **loaders(data, seed), trainer={"max_epochs": 8})


class Log(nn.Module):
    """log(x + eps)."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x + self.eps)


def log_of_zero(seed: int, sick: bool) -> Fit:
    """The logarithm of pixels of which many are 0."""
    task = Task(nn.Sequential(Log(0.0 if sick else 1.0), *mlp(64, 64, 10)), optimizer=partial(Adam, lr=2e-3))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 6 if sick else 10})


class Standardize(nn.Module):
    """(x - mean) / (std + eps) per feature of the batch; some pixels never change, so their std is 0."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.std(0) + self.eps)


def zero_by_zero(seed: int, sick: bool) -> Fit:
    """Own normalization of the input without an epsilon: 0 / 0 where a pixel is constant."""
    net = nn.Sequential(Standardize(0.0 if sick else 0.1), *initialized(mlp(64, 48, 48, 10, act=nn.GELU), xavier))
    return Fit(Task(net, optimizer=partial(AdamW, lr=2e-3)), **loaders(digits(), seed), trainer={"max_epochs": 8})


class Attention(nn.Module):
    """Token embedding, one masked attention layer (0 is padding), mean, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 32, padding_idx=0)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        e = self.embedding(x)
        attended = self.attention(e, e, e, key_padding_mask=x == 0)[0]
        return self.head(self.norm(e + attended).mean(1))


def empty_sequence(seed: int, sick: bool) -> Fit:
    """One sequence of the training set is empty: attention over nothing but padding is NaN."""
    train, val = tokens()
    x = train.tensors[0].clone()
    x[5, 0 if sick else 2 :] = 0
    data: Pair = (TensorDataset(x, train.tensors[1]), val)
    task = Task(Attention(), loss=F.cross_entropy, optimizer=partial(Adam, lr=3e-3))
    return Fit(task, **loaders(data, seed, 32), trainer={"max_epochs": 6})


good = learns(0.6, accuracy=0.8)
PAIRS = (
    pair("dead-by-bias", dead_by_bias, sick=dead("net.3", share=0.7, at_start=True), mended=good,
         accepted=("A001", "I001"), sites=("net.3", "net.2")),
    pair("dead-by-rate", dead_by_rate, sick=dead("net.1", "net.3", "net.5", "net.7", share=0.4, at_start=False),
         mended=good, accepted=("A001", "W001", "O001"), sites=("net.",)),
    pair("dead-channels", dead_channels, sick=dead("net.1", "net.3", share=0.4, at_start=False), mended=good,
         accepted=("A001", "W001", "O001"), sites=("net.",)),
    pair("dead-by-sign", dead_by_sign, sick=dead("net.1", share=0.7, at_start=True), mended=good,
         accepted=("A001", "I001"), sites=("net.1", "net.0")),
    pair("saturated-by-start", saturated_by_start, sick=saturated("net.3", 0.5), mended=good,
         accepted=("A002", "I001"), sites=("net.1", "net.3", "net.5", "net.0", "net.2", "net.4")),
    pair("saturated-by-input", saturated_by_input, sick=saturated("net.1", 0.7), mended=good,
         accepted=("A002", "D002"), sites=("net.1", "net.0")),
    pair("saturated-conv", saturated_conv, sick=saturated("net.1", 0.7), mended=good,
         accepted=("A002", "I001", "D002"), sites=("net.1", "net.0", "net.3", "net.2")),
    pair("log-of-zero", log_of_zero, sick=nonfinite_output("net.0"), mended=good,
         accepted=("A003",), sites=("net.0",)),
    pair("zero-by-zero", zero_by_zero, sick=nonfinite_output("net.0"), mended=good,
         accepted=("A003",), sites=("net.0",)),
    pair("empty-sequence", empty_sequence, sick=nonfinite_output("net.head"), mended=every(learns(0.8)),
         accepted=("A003",), sites=("net.attention",)),
)  # fmt: skip
