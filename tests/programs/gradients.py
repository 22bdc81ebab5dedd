"""Sick gradients: vanishing, exploding, not finite."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .parts import (
    Batch,
    Fit,
    Pair,
    Recurrent,
    Residual,
    Task,
    diabetes,
    digits,
    he,
    initialized,
    loaders,
    mlp,
    xavier,
)  # fmt: skip
from .program import pair
from .verify import every, exploding, learns, nonfinite_gradient, stuck, vanishing

SGD, Adam = torch.optim.SGD, torch.optim.Adam
DEEP = (64,) * 9 + (10,)


def deep_sigmoid(seed: int, sick: bool) -> Fit:
    """Eight sigmoid layers: every one multiplies the gradient by less than a quarter."""
    net = mlp(*DEEP, act=nn.Sigmoid) if sick else initialized(mlp(*DEEP), he)
    return Fit(Task(net, optimizer=partial(SGD, lr=0.05)), **loaders(digits(), seed), trainer={"max_epochs": 10})


def tiny_start(seed: int, sick: bool) -> Fit:
    """A deep ReLU network started with N(0, 0.01)."""
    net = initialized(mlp(*DEEP[2:]), partial(nn.init.normal_, std=0.01) if sick else he)
    task = Task(net, optimizer=partial(SGD, lr=0.02, momentum=0.9), names=("loss", "val/loss", "val/accuracy"))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 8})


def tiny_conv(seed: int, sick: bool) -> Fit:
    """Six tanh convolutions started with N(0, 0.01)."""
    layers: list[nn.Module] = []
    for i in range(6):
        layers += [nn.Conv2d(1 if i == 0 else 8, 8, 3, padding=1), nn.Tanh()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))
    initialized(net, partial(nn.init.normal_, std=0.01) if sick else xavier)
    task = Task(net, optimizer=partial(SGD, lr=0.05))
    return Fit(task, **loaders(digits(image=True), seed), trainer={"max_epochs": 5})


def hot_start(seed: int, sick: bool) -> Fit:
    """A deep ReLU network started with N(0, 0.5): every layer multiplies by three."""
    net = initialized(mlp(*DEEP[2:]), partial(nn.init.normal_, std=0.5) if sick else he)
    task = Task(net, optimizer=partial(SGD, lr=1e-2))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 10 if sick else 30, "gradient_clip_val": 1.0})


def hot_recurrence(seed: int, sick: bool) -> Fit:
    """A ReLU RNN over 16 pieces of an image whose recurrent matrix is 1.6 I instead of I."""
    net = Recurrent(nn.RNN, 4, 32, 10, nonlinearity="relu")
    with torch.no_grad():
        net.cell.weight_hh_l0.copy_(torch.eye(32) * (1.6 if sick else 1.0))
        net.cell.weight_ih_l0.mul_(0.5)
        net.cell.bias_hh_l0.zero_()
        net.cell.bias_ih_l0.zero_()
    train, val = digits()
    data: Pair = (_pieces(train), _pieces(val))
    task = Task(net, optimizer=partial(Adam, lr=1e-3))
    return Fit(task, **loaders(data, seed), trainer={"max_epochs": 6 if sick else 24})


def _pieces(data: TensorDataset) -> TensorDataset:
    x, y = data.tensors
    return TensorDataset(x.reshape(-1, 16, 4), y)


def residual_without_norm(seed: int, sick: bool) -> Fit:
    """Sixteen residual blocks without a norm and with full branches: every block doubles the variance twice over."""
    blocks = [Residual(64, norm=not sick, gain=2.0 if sick else 1.0) for _ in range(16)]
    norm = nn.Identity() if sick else nn.LayerNorm(64)
    task = Task(nn.Sequential(*blocks, norm, nn.Linear(64, 10)), optimizer=partial(Adam, lr=1e-3))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 4})


class Twins(Task):
    """Distance of two views of the same row (the second is the same where ``noise`` is 0) against other rows."""

    eps = 0.0

    def compute(self, batch: Batch) -> Tensor:
        x = batch[0]
        near = torch.sqrt(((self.net(x) - self.net(x.clone())) ** 2).sum(1) + self.eps)
        far = torch.sqrt(((self.net(x) - self.net(x.roll(1, 0))) ** 2).sum(1) + 1e-6)
        return F.relu(1.0 + near - far).mean()


def root_of_zero(seed: int, sick: bool) -> Fit:
    """sqrt of a distance that is exactly 0: the loss is fine, its gradient is 0 * inf."""
    task = Twins(mlp(64, 64, 16), optimizer=partial(SGD, lr=0.05), names=("train_loss", "val_loss", "unused"))
    task.eps = 0.0 if sick else 1e-6
    train, _ = digits()
    return Fit(task, loaders((train, train), seed)["train"], trainer={"max_epochs": 4})


def root_loss(prediction: Tensor, y: Tensor, *, safe: bool) -> Tensor:
    """Squared error behind a root where the prediction is positive, and behind a line elsewhere."""
    root = torch.sqrt(prediction.clamp(min=0.01) if safe else prediction)
    return ((torch.where(prediction > 0.01, root, 0.1 + prediction) - y) ** 2).mean()


class Spread(nn.Module):
    """(x - mean) / (std + eps) over the features of a row; a row of equal values has std 0."""

    def __init__(self, inside: float) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        std = torch.sqrt(x.var(1, keepdim=True) + self.inside)
        return (x - x.mean(1, keepdim=True)) / (std + 1e-5)


def spread_of_equals(seed: int, sick: bool) -> Fit:
    """Own LayerNorm with the epsilon outside of the root, and a row whose hidden values are all equal (zeros)."""
    net = nn.Sequential(nn.Linear(64, 48, bias=False), Spread(0.0 if sick else 1e-5), nn.ReLU(), nn.Linear(48, 10))
    train, val = digits()
    x = train.tensors[0].clone()
    x[11] = 0.0
    task = Task(net, optimizer=partial(Adam, lr=2e-3))
    return Fit(task, **loaders((TensorDataset(x, train.tensors[1]), val), seed), trainer={"max_epochs": 8})


def where_not(seed: int, sick: bool) -> Fit:
    """torch.where hides the infinite branch from the loss, not from its gradient."""
    loss = partial(root_loss, safe=not sick)
    task = Task(mlp(10, 32, 32, 1, act=nn.Tanh), optimizer=partial(Adam, lr=5e-3), loss=loss)
    return Fit(task, **loaders(diabetes(), seed, 32), trainer={"max_epochs": 15})


good = learns(0.6, accuracy=0.8)
PAIRS = (
    pair("deep-sigmoid", deep_sigmoid, sick=every(vanishing(1e-3), stuck()), mended=good,
         accepted=("G001",), sites=("net.",)),
    pair("tiny-start", tiny_start, sick=every(vanishing(1e-3), stuck()), mended=good,
         accepted=("G001", "A001", "I001"), sites=("net.",)),
    pair("tiny-conv", tiny_conv, sick=every(vanishing(1e-3), stuck()), mended=learns(0.9),
         accepted=("G001", "I001"), sites=("net.",)),
    pair("hot-start", hot_start, sick=exploding(20), mended=learns(0.7),
         accepted=("G002", "I001"), sites=("net.",)),
    pair("hot-recurrence", hot_recurrence, sick=exploding(100), mended=learns(0.8),
         accepted=("G002", "I001"), sites=("net.",)),
    pair("residual-without-norm", residual_without_norm, sick=exploding(100), mended=good,
         accepted=("G002", "I001", "A004"), sites=("net.",)),
    pair("root-of-zero", root_of_zero, sick=nonfinite_gradient("net.0.weight"), mended=learns(0.8),
         accepted=("G003",), sites=("net.",)),
    pair("spread-of-equals", spread_of_equals, sick=nonfinite_gradient("net.0.weight"), mended=good,
         accepted=("G003",), sites=("net.",)),
    pair("where-not", where_not, sick=nonfinite_gradient("net."), mended=learns(0.7),
         accepted=("G003",), sites=("net.",)),
)  # fmt: skip
