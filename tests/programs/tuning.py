"""Sick fine-tuning, several tasks, teachers and averages."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .modes_checks import loss_of
from .parts import Batch, Fit, Pair, digits, loaders, mlp
from .program import pair
from .research_checks import calm, hits
from .research_data import measured
from .research_parts import Rated
from .sequences import cosine
from .verify import every, learns, moved, outputs
from .wiring_checks import constant, forgotten, no_gradient

Adam, AdamW, SGD = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD


def pretrained(net: nn.Module, data: Pair, steps: int = 150) -> nn.Module:
    """Train a classifier with plain torch."""
    x, y = data[0].tensors
    optimizer = Adam(net.parameters(), lr=5e-3)
    for step in range(steps):
        rows = torch.arange(64 * step, 64 * step + 64) % len(x)
        optimizer.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    return net


def part_of_digits(low: int, high: int) -> Pair:
    """The digits of ``low`` to ``high``, counted from 0."""
    keep = [(s.tensors[1] >= low) & (s.tensors[1] < high) for s in digits(image=True)]
    both = zip(digits(image=True), keep, strict=True)
    return tuple(TensorDataset(s.tensors[0][k], s.tensors[1][k] - low) for s, k in both)  # type: ignore[return-value]


def small_cnn() -> nn.Sequential:
    """Two convolutions with norms and a dense layer."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Flatten(), nn.Linear(384, 32))  # fmt: skip


class Tuned(Rated):
    """A backbone that was trained on something else, an activation and a new head."""

    blind = False

    def __init__(self, backbone: nn.Module, head: nn.Module, **options: Any) -> None:
        super().__init__(nn.Identity(), **options)
        self.backbone, self.head = backbone, head
        self.kept = [*self.parameters()]

    def forward(self, x: Tensor) -> Tensor:
        if self.blind:
            with torch.no_grad():
                z = self.backbone(x)
        else:
            z = self.backbone(x)
        return self.head(F.relu(z))

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self(batch[0])
        self.val_losses.append(float(F.cross_entropy(out, batch[1])))
        self.val_accuracies.append(float((out.argmax(1) == batch[1]).float().mean()))
        self.log("val/loss", self.val_losses[-1])
        self.log("val/acc", self.val_accuracies[-1])


class OldParameters(Tuned):
    """Gives the optimizer the parameters that it noted when it was made."""

    def trained_parameters(self) -> list[nn.Parameter]:
        return self.kept


def too_hot_for_pretrained(seed: int, sick: bool) -> Fit:
    """A convolutional backbone that knows 0..4 is tuned to 5..9 under AdamW at 0.5; mended: 0.002."""
    backbone = small_cnn()
    pretrained(nn.Sequential(backbone, nn.ReLU(), nn.Linear(32, 5)), part_of_digits(0, 5), 60)
    optimizer = partial(AdamW, lr=0.5 if sick else 2e-3)
    task = Tuned(backbone, nn.Linear(32, 5), optimizer=optimizer, schedule=None if sick else cosine)
    return Fit(task, **loaders(part_of_digits(5, 10), seed, 32), trainer={"max_epochs": 8})


def head_exchanged_too_late(seed: int, sick: bool) -> Fit:
    """The head is exchanged after the list of parameters for the optimizer was made: the new one is not in it."""
    task = OldParameters(mlp(64, 48, 6), nn.Linear(6, 5), optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    task.head = nn.Linear(6, 10)
    with torch.no_grad():
        task.head.weight.mul_(0.1)
    if not sick:
        task.kept = [*task.parameters()]
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 18})


def backbone_under_no_grad(seed: int, sick: bool) -> Fit:
    """A backbone that is to be trained runs under no_grad: it stays random, and yet an optimizer holds it."""
    task = Tuned(mlp(64, 32, 10, act=nn.GELU), mlp(10, 24, 10), optimizer=partial(AdamW, lr=1e-2), schedule=cosine)
    task.blind = sick
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 15})


class Adapted(nn.Module):
    """A frozen layer and what an adapter adds to it."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.adapter = nn.Sequential(nn.Linear(layer.in_features, rank), nn.ReLU(), nn.Linear(rank, layer.out_features))
        nn.init.zeros_(self.adapter[2].weight)
        nn.init.zeros_(self.adapter[2].bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.adapter(x)


def adapters_frozen_as_well(seed: int, sick: bool) -> Fit:
    """The backbone is frozen after the adapters were put into it instead of before: only the head is trained."""
    train, val = digits()
    large: Any = [TensorDataset(s.tensors[0], (s.tensors[1] >= 5).long()) for s in (train, val)]
    net = pretrained(mlp(64, 32, 8, 2), large)
    if not sick:
        net.requires_grad_(False)
    net[0], net[2] = Adapted(net[0], 12), Adapted(net[2], 16)
    if sick:
        net.requires_grad_(False)
    task = Tuned(net[:3], nn.Linear(8, 10), optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders((train, val), seed), trainer={"max_epochs": 25})


def adapters_want_nothing(fit: Fit, module: Any) -> None:
    """No adapter wants a gradient, all are as they were and add nothing, and the head was trained."""
    inside = {n: p for n, p in module.named_parameters() if ".adapter." in n}
    assert len(inside) == 8 and not any(p.requires_grad for p in inside.values())
    assert all(torch.equal(p, fit.start[n]) for n, p in inside.items())
    assert not float(outputs(fit, module, "backbone.0.adapter").abs().max())
    assert not torch.equal(module.head.weight, fit.start["head.weight"])


class TwoTasks(Rated):
    """The digit, and the ink of its image, of one trunk; ``scale`` divides the ink."""

    def __init__(self, scale: float, **options: Any) -> None:
        super().__init__(mlp(64, 48, 11), **options)
        self.scale = scale

    def compute(self, batch: Batch) -> Tensor:
        out = self.net(batch[0])
        middle = 310.0 if self.scale > 1 else 0.0
        return F.cross_entropy(out[:, 1:], batch[2]) + F.mse_loss(out[:, :1], (batch[1] - middle) / self.scale)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.val_losses.append(float(self.compute(batch)))
        self.val_accuracies.append(float((self.net(batch[0])[:, 1:].argmax(1) == batch[2]).float().mean()))
        self.log_dict({"val_loss": self.val_losses[-1], "digit/accuracy": self.val_accuracies[-1]})


def ink_drowns_the_digit(seed: int, sick: bool) -> Fit:
    """Two tasks in one loss: squared errors of raw ink (about 310) beside a cross-entropy of about 2."""
    task = TwoTasks(1.0 if sick else 45.0, optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders(measured(), seed), trainer={"max_epochs": 12})


def one_task_drowns(fit: Fit, module: Any) -> None:
    """At the start the squared error is over 1000 times the cross-entropy, in value and in gradient at the trunk."""
    x, ink, y = next(iter(fit.train))
    module.load_state_dict(fit.start)
    out = module.net(x)
    first, second = F.mse_loss(out[:, :1], ink), F.cross_entropy(out[:, 1:], y)
    weight = module.net[0].weight
    a, b = (torch.autograd.grad(v, weight, retain_graph=True)[0].norm() for v in (first, second))
    assert first > 1000 * second and a > 100 * b, (float(first), float(second), float(a), float(b))


class Averaging(Rated):
    """Validates a moving average of the weights; ``buffers``: and of the statistics of its norms."""

    def __init__(self, net: nn.Module, *, buffers: bool, **options: Any) -> None:
        super().__init__(net, **options)
        self.average, self.buffers_too = copy.deepcopy(net).requires_grad_(False), buffers

    def on_train_batch_end(self, *args: Any) -> None:
        for a, p in zip(self.average.parameters(), self.net.parameters(), strict=True):
            a.lerp_(p.detach(), 0.1)
        if self.buffers_too:
            for a, b in zip(self.average.buffers(), self.net.buffers(), strict=True):
                a.copy_(b)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        out = self.average(batch[0])
        self.val_losses.append(float(F.cross_entropy(out, batch[1])))
        self.val_accuracies.append(float((out.argmax(1) == batch[1]).float().mean()))
        self.log_dict({"ema/loss": self.val_losses[-1], "ema/accuracy": self.val_accuracies[-1]})


def average_without_buffers(seed: int, sick: bool) -> Fit:
    """The moving average takes over the weights, not BatchNorm's statistics: they stay 0 and 1."""
    net = nn.Sequential(nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 48), nn.BatchNorm1d(48),
                        nn.ReLU(), nn.Linear(48, 10))  # fmt: skip
    task = Averaging(net, buffers=not sick, optimizer=partial(AdamW, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 12})


def statistics_never_came(fit: Fit, module: Any) -> None:
    """The average's norms have seen nothing; its loss is five times that of the trained network in eval mode."""
    assert all(int(m.num_batches_tracked) == 0 for m in module.average if isinstance(m, nn.BatchNorm1d))
    right = loss_of(module, fit.val, train=False)
    assert module.val_losses[-1] > 5 * right, (module.val_losses[-1], right)


good = every(learns(0.6), calm())
PAIRS = (
    pair("too-hot-for-pretrained", too_hot_for_pretrained, accepted=("O001", "W001"),
         sick=every(moved(1.5, 1e9), hits(0, 0.9)), mended=every(good, moved(1e-3, 1.5), hits(0.97))),
    pair("head-exchanged-too-late", head_exchanged_too_late, accepted=("W004",), sites=("head",),
         sick=every(constant("head."), forgotten("head."), hits(0, 0.8)), mended=every(good, hits(0.9))),
    pair("backbone-under-no-grad", backbone_under_no_grad, accepted=("G004",), sites=("backbone",),
         sick=every(no_gradient("backbone."), hits(0, 0.85)), mended=every(good, hits(0.9))),
    pair("adapters-frozen-as-well", adapters_frozen_as_well, accepted=("O008",), sites=("backbone",),
         sick=every(adapters_want_nothing, hits(0, 0.75)), mended=every(good, hits(0.85))),
    pair("ink-drowns-the-digit", ink_drowns_the_digit, accepted=("D004", "H007"),
         sick=every(hits(0, 0.7), one_task_drowns), mended=every(good, hits(0.93))),
    pair("average-without-buffers", average_without_buffers, accepted=("V005",), sites=("average",),
         sick=statistics_never_came, mended=every(good, hits(0.95))),
)  # fmt: skip
