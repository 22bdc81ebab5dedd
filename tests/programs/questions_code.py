"""First scripts whose modules, optimizers and starts are not what they look like."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import questions_data as data
from .parts import Fit, digits, loaders
from .program import pair
from .questions_checks import accuracy, ended, explained, unmoved
from .questions_parts import LeNet, Script, net
from .questions_proofs import (
    affine,
    faded,
    far_from_chance,
    not_registered,
    nothing_held,
    piled_up,
    untouched_statistics,
)
from .verify import every

SGD, Adam = torch.optim.SGD, torch.optim.Adam


class ByHand(Script):
    """Manual optimization; ``clear`` calls zero_grad."""

    def __init__(self, *, clear: bool) -> None:
        super().__init__(net(64, 40, 40, 10), nn.CrossEntropyLoss(), partial(SGD, lr=0.1))
        self.automatic_optimization, self.clear = False, clear
        self.used: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        if self.clear:
            optimizer.zero_grad()
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        self.used.append(sum(float(p.grad.norm()) for p in self.parameters() if p.grad is not None))
        optimizer.step()


def nothing_cleared(seed: int, sick: bool) -> Fit:
    """automatic_optimization=False, and no zero_grad in training_step."""
    return Fit(ByHand(clear=not sick), **loaders(digits(), seed, 32), trainer={"max_epochs": 14})


class Replaced(Script):
    """The head of a network is replaced; the optimizer is made in __init__, before (``early``) or after that."""

    def __init__(self, *, early: bool) -> None:
        super().__init__(LeNet(12, 1000), nn.CrossEntropyLoss(), partial(Adam, lr=2e-3))
        if early:
            self.optimizer = self.optimize(self.model.fc2.parameters())
        self.model.fc2 = nn.Linear(48, 4)
        if not early:
            self.optimizer = self.optimize(self.parameters())

    def configure_optimizers(self) -> Any:
        return self.optimizer


def optimizer_of_old_head(seed: int, sick: bool) -> Fit:
    """The optimizer holds the head that was thrown away."""
    return Fit(Replaced(early=sick), **loaders(data.stripes(), seed, 32), trainer={"max_epochs": 10})


class Experts(nn.Module):
    """Small networks side by side, kept in a list or an nn.ModuleList, and a linear layer over what they say."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        experts = [nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1)) for _ in range(4)]
        self.experts: Any = experts if plain else nn.ModuleList(experts)
        self.out = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([expert(x) for expert in self.experts], dim=1))


def experts_in_a_list(seed: int, sick: bool) -> Fit:
    """Sub-networks in a Python list."""
    module = Script(Experts(plain=sick), nn.MSELoss(), partial(Adam, lr=1e-2), log="mse")
    return Fit(module, **loaders(data.houses(), seed, 32), trainer={"max_epochs": 22})


class AutoEncoder(nn.Module):
    """30 measurements to 3 and back; ``cut`` runs the encoder under torch.no_grad."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__()
        self.encoder, self.decoder, self.cut = net(30, 24, 3, act=nn.ELU), net(3, 24, 30, act=nn.ELU), cut

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.cut):
            code = self.encoder(x)
        return self.decoder(code)


def encoder_under_no_grad(seed: int, sick: bool) -> Fit:
    """The encoder of an autoencoder runs under torch.no_grad."""
    module = Script(AutoEncoder(cut=sick), nn.MSELoss(), partial(Adam, lr=5e-3))
    return Fit(module, **loaders(data.measurements(), seed, 32), trainer={"max_epochs": 40})


def never_pretrained(seed: int, sick: bool) -> Fit:
    """All but the linear layers are frozen as for fine-tuning, but no trained weights were ever loaded."""
    model = nn.Sequential()
    for i, (a, b) in enumerate([(1, 4), (4, 4), (4, 4)]):
        model.add_module(f"conv{i}", nn.Conv2d(a, b, 3, padding=1, bias=False))
        model.add_module(f"norm{i}", nn.BatchNorm2d(b, affine=False))
        model.add_module(f"act{i}", nn.ReLU())
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flat", nn.Flatten())
    model.add_module("fc", nn.Linear(4, 4))
    for name, p in model.named_parameters():
        p.requires_grad = "fc" in name or not sick
    module = Script(model, nn.CrossEntropyLoss(), partial(Adam, lr=1e-2))
    return Fit(module, **loaders(data.stripes(), seed, 32), trainer={"max_epochs": 14})


class Tower(nn.Module):
    """Ten layers of 32 with BatchNorm; ``features`` was written for inference and says eval()."""

    def __init__(self, *, inference: bool) -> None:
        super().__init__()
        sizes = [64] + 10 * [32]
        blocks = [
            nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU())
            for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        ]
        self.trunk, self.head, self.inference = nn.Sequential(*blocks), nn.Linear(32, 10), inference

    def forward(self, x: Tensor) -> Tensor:
        if self.inference:
            self.trunk.eval()
        return self.head(self.trunk(x))


def features_for_inference(seed: int, sick: bool) -> Fit:
    """forward puts its trunk into eval mode, so that BatchNorm divides by statistics that nobody ever took."""
    module = Script(Tower(inference=sick), nn.CrossEntropyLoss(), partial(SGD, lr=0.03, momentum=0.5), log="ce")
    return Fit(module, **loaders(digits(), seed, 32), trainer={"max_epochs": 10})


def twenty_layers(seed: int, sick: bool) -> Fit:
    """Twenty linear layers with ReLU as torch initializes them; the mended script initializes for ReLU."""
    model = net(64, *(19 * [40]), 10)
    if not sick:
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.xavier_normal_(model[-1].weight)
    module = Script(model, nn.CrossEntropyLoss(), partial(SGD, lr=0.01, momentum=0.5))
    return Fit(module, **loaders(digits(), seed, 32), trainer={"max_epochs": 16})


def standard_normal_start(seed: int, sick: bool) -> Fit:
    """nn.init.normal_ without a deviation, thus 1, for the weights of a LeNet."""
    module = Script(LeNet(8, 10), nn.CrossEntropyLoss(), partial(Adam, lr=2e-3))
    for p in module.parameters():
        if p.ndim > 1 and sick:
            nn.init.normal_(p)
    return Fit(module, **loaders(digits(image=True), seed, 64), trainer={"max_epochs": 14})


class Regressor(nn.Module):
    """Linear, BatchNorm, (SiLU), Dropout, twice, and a linear layer."""

    def __init__(self, *, bent: bool) -> None:
        super().__init__()
        self.fc1, self.bn1, self.fc2, self.bn2 = (
            nn.Linear(5, 64),
            nn.BatchNorm1d(64),
            nn.Linear(64, 64),
            nn.BatchNorm1d(64),
        )
        self.out, self.drop, self.bent = nn.Linear(64, 1), nn.Dropout(0.05), bent

    def forward(self, x: Tensor) -> Tensor:
        for fc, bn in ((self.fc1, self.bn1), (self.fc2, self.bn2)):
            x = bn(fc(x))
            x = self.drop(F.silu(x) if self.bent else x)
        return self.out(x)


def activations_forgotten(seed: int, sick: bool) -> Fit:
    """forward goes from linear layer to BatchNorm to dropout to linear layer."""

    def optimize(params: Any) -> Any:
        optimizer = Adam(params, lr=5e-3)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 8, gamma=0.3)]

    module = Script(Regressor(bent=not sick), nn.MSELoss(), optimize, log="mse")
    return Fit(module, **loaders(data.houses(), seed, 32), trainer={"max_epochs": 20})


PAIRS = (
    pair("nothing-cleared", nothing_cleared, accepted=("O003",), sick=every(piled_up, accuracy(0, 0.85)),
         mended=every(accuracy(0.93), ended())),
    pair("optimizer-of-old-head", optimizer_of_old_head, accepted=("W004",), sick=every(nothing_held, accuracy(0, 0.5)),
         mended=every(accuracy(0.93), ended())),
    pair("experts-in-a-list", experts_in_a_list, accepted=("W005",), sites=("model",),
         sick=every(not_registered, explained(-1, 0.85)), mended=every(explained(0.9), ended())),
    pair("encoder-under-no-grad", encoder_under_no_grad, accepted=("G004", "W003"), sites=("model.encoder",),
         sick=every(unmoved("model.encoder"), explained(-1, 0.71)), mended=every(explained(0.72), ended())),
    pair("never-pretrained", never_pretrained, accepted=("O008",), sites=("model.conv",),
         sick=every(unmoved("model.conv"), accuracy(0, 0.85)), mended=every(accuracy(0.92), ended())),
    pair("features-for-inference", features_for_inference, accepted=("O006", "V005"), sites=("model.trunk",),
         sick=every(untouched_statistics, accuracy(0, 0.5)), mended=every(accuracy(0.93), ended())),
    pair("twenty-layers", twenty_layers, accepted=("G001", "I001"),
         sick=every(faded("model.0.weight", "model.38.weight", 1e-2), accuracy(0, 0.3)),
         mended=every(accuracy(0.84), ended())),
    pair("standard-normal-start", standard_normal_start, accepted=("I001", "I002"),
         sick=every(far_from_chance(30), accuracy(0, 0.9)), mended=every(accuracy(0.93), ended())),
    pair("activations-forgotten", activations_forgotten, accepted=("A007", "V002"), sites=("model",),
         sick=every(affine, explained(-1, 0.88)), mended=every(explained(0.92), ended())),
)  # fmt: skip
