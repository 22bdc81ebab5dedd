"""First scripts that step too far, too little or too seldom."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import questions_data as data
from .parts import Fit, cancer, digits, loaders
from .program import pair
from .questions_checks import accuracy, ended, explained, shift, steps, still_falling
from .questions_parts import Encoder, LeNet, Script, TextCNN, net
from .verify import every

optim, schedulers = torch.optim, torch.optim.lr_scheduler


def adadelta_of_keras(seed: int, sick: bool) -> Fit:
    """Adadelta at 0.001, as it stands in other frameworks, where torch has 1.0."""
    module = Script(LeNet(12, 4), nn.CrossEntropyLoss(), partial(optim.Adadelta, lr=1e-3 if sick else 1.0))
    return Fit(module, **loaders(data.stripes(), seed, 32), trainer={"max_epochs": 12})


def restless_transformer(seed: int, sick: bool) -> Fit:
    """Adam at 0.1 for a small transformer."""

    def optimize(params: Any) -> Any:
        optimizer = optim.Adam(params, lr=0.1 if sick else 2e-3)
        return {"optimizer": optimizer, "lr_scheduler": schedulers.ExponentialLR(optimizer, 0.85)}

    module = Script(Encoder(122, 4), nn.CrossEntropyLoss(label_smoothing=0.05), optimize)
    return Fit(module, **loaders(data.sentences(), seed, 48), trainer={"max_epochs": 10})


def line_out_of_bounds(seed: int, sick: bool) -> Fit:
    """A linear regression by SGD whose loss doubles until it is infinite."""
    module = Script(nn.Linear(10, 1), nn.MSELoss(), partial(optim.SGD, lr=0.6 if sick else 0.02), log="mse")
    return Fit(module, **loaders(data.patients(mean=152.0, unit=77.0), seed, 32), trainer={"max_epochs": 20})


def noam(optimizer: Any, warmup: int) -> Any:
    """The rate rises over ``warmup`` steps and falls with the root of the steps afterwards."""
    return schedulers.LambdaLR(optimizer, lambda s: min((s + 1) / warmup, (warmup / (s + 1)) ** 0.5))


def warmup_of_the_paper(seed: int, sick: bool) -> Fit:
    """4000 steps of warmup, as the paper has it, in a training of 250 steps."""

    def optimize(params: Any) -> Any:
        optimizer = optim.AdamW(params, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
        return [optimizer], [{"scheduler": noam(optimizer, 4000 if sick else 40), "interval": "step"}]

    module = Script(Encoder(122, 4, depth=1), F.cross_entropy, optimize)
    return Fit(module, **loaders(data.sentences(), seed, 48), trainer={"max_epochs": 10})


def impatient_plateau(seed: int, sick: bool) -> Fit:
    """ReduceLROnPlateau without patience on the loss of single batches: the rate is gone before anything is learnt."""

    def optimize(params: Any) -> Any:
        optimizer = optim.SGD(params, lr=0.1, momentum=0.9)
        plateau = schedulers.ReduceLROnPlateau(optimizer, factor=0.1 if sick else 0.5, patience=0 if sick else 3)
        when = {"interval": "step", "monitor": "train_loss"} if sick else {"monitor": "val_loss"}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, **when}}

    module = Script(net(64, 48, 48, 10, act=nn.Tanh), nn.CrossEntropyLoss(), optimize)
    return Fit(module, **loaders(digits(), seed, 32), trainer={"max_epochs": 16})


def two_epochs_of_text(seed: int, sick: bool) -> Fit:
    """Two epochs of a text classifier that needs twenty."""
    module = Script(TextCNN(122, 4, width=32), nn.CrossEntropyLoss(), partial(optim.Adam, lr=1.5e-3, weight_decay=1e-4))
    return Fit(module, **loaders(data.sentences(), seed, 64), trainer={"max_epochs": 2 if sick else 25})


def whole_table_at_once(seed: int, sick: bool) -> Fit:
    """batch_size=len(train): one step an epoch."""
    module = Script(net(5, 64, 64, 1, act=nn.SiLU), nn.MSELoss(), partial(optim.Adam, lr=1e-3), log="mse")
    return Fit(module, **loaders(data.houses(), seed, 1024 if sick else 32), trainer={"max_epochs": 30})


def decayed_to_nothing(seed: int, sick: bool) -> Fit:
    """weight_decay=1 under SGD pulls every weight to zero faster than the loss pulls it away."""
    optimizer = partial(optim.SGD, lr=0.05, momentum=0.9, weight_decay=1.0 if sick else 1e-4)
    return Fit(Script(net(30, 32, 32, 2, act=nn.ELU), nn.CrossEntropyLoss(), optimizer),
               **loaders(cancer(), seed, 20), trainer={"max_epochs": 16})  # fmt: skip


def exploded(fit: Fit, module: Any) -> None:
    """The loss ends more than a million times above its start."""
    assert not module.losses[-1] < 1e6 * module.losses[0], (module.losses[0], module.losses[-1])


def rates(low: float, high: float) -> Any:
    """The learning rate that is left lies in between."""

    def check(fit: Fit, module: Any) -> None:
        rate = module.trainer.optimizers[0].param_groups[0]["lr"]
        assert low <= rate <= high, rate

    return check


def shrunken(fit: Fit, module: Any) -> None:
    """All weight matrices are less than a hundredth of their start."""
    for n, p in module.named_parameters():
        assert p.ndim < 2 or p.norm() < 0.01 * fit.start[n].norm(), (n, float(p.norm()))


def at_chance(fit: Fit, module: Any) -> None:
    """The last losses are not below those of a guess by the classes' shares."""
    assert np.mean(module.losses[-25:]) > 0.9 * np.log(4), np.mean(module.losses[-25:])


PAIRS = (
    pair("adadelta-of-keras", adadelta_of_keras, accepted=("O002", "W002"), sick=every(shift(0, 0.1), accuracy(0, 0.6)),
         mended=every(accuracy(0.93), ended())),
    pair("restless-transformer", restless_transformer, accepted=("O001", "W001"),
         sick=every(at_chance, accuracy(0, 0.45)),
         mended=every(accuracy(0.85), ended())),
    pair("line-out-of-bounds", line_out_of_bounds, accepted=("O001", "L003"), sick=exploded,
         mended=every(explained(0.28), ended())),
    pair("warmup-of-the-paper", warmup_of_the_paper, accepted=("O004", "O002"),
         sick=every(rates(0, 3e-4), still_falling(0.15)), mended=every(accuracy(0.85), ended())),
    pair("impatient-plateau", impatient_plateau, accepted=("O004", "O002"),
         sick=every(rates(0, 1e-6), accuracy(0, 0.85)),
         mended=every(accuracy(0.93), ended())),
    pair("two-epochs-of-text", two_epochs_of_text, accepted=("L007", "V002"),
         sick=every(still_falling(0.05), accuracy(0, 0.78)), mended=every(accuracy(0.85), ended())),
    pair("whole-table-at-once", whole_table_at_once, accepted=("O005", "L007"),
         sick=every(steps(30, 30), still_falling(0.08), explained(-1, 0.85)), mended=every(explained(0.92), ended())),
    pair("decayed-to-nothing", decayed_to_nothing, accepted=("O009",), sick=every(shrunken, accuracy(0, 0.75)),
         mended=every(accuracy(0.93), ended())),
)  # fmt: skip
