"""First scripts whose last layer, loss and targets do not belong together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import questions_data as data
from .parts import Fit, digits, loaders
from .program import pair
from .questions_checks import accuracy, ended, explained, outside, positive, shift
from .questions_parts import LastState, LeNet, Script, net
from .questions_proofs import (
    all_pairs,
    below_zero,
    bounded,
    diverged,
    mixed,
    never_no,
    reconstructs,
    silent_classes,
)
from .verify import every

SGD, Adam, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop


def relu_on_scores(seed: int, sick: bool) -> Fit:
    """F.relu goes around the last layer of a LeNet as around all others, before nn.CrossEntropyLoss."""
    module = Script(LeNet(8, 10, relu_last=sick), nn.CrossEntropyLoss(), partial(SGD, lr=0.02, momentum=0.9), log="ce")
    return Fit(module, **loaders(digits(image=True), seed, 32), trainer={"max_epochs": 12})


def sigmoid_on_score(seed: int, sick: bool) -> Fit:
    """A sigmoid at the end of a regression of 0.25 to 3.46."""
    model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1), *([nn.Sigmoid()] if sick else []))
    module = Script(model, nn.MSELoss(), partial(Adam, lr=3e-3, weight_decay=1e-3), log="mse")
    return Fit(module, **loaders(data.patients(unit=100.0), seed, 16), trainer={"max_epochs": 25})


def tanh_on_decoder(seed: int, sick: bool) -> Fit:
    """An autoencoder of standardized measurements, which go to 6, ends in tanh."""
    encoder = net(30, 32, 12, act=nn.LeakyReLU)
    decoder = nn.Sequential(nn.Linear(12, 32), nn.LeakyReLU(), nn.Linear(32, 30), *([nn.Tanh()] if sick else []))
    module = Script(nn.Sequential(encoder, decoder), F.mse_loss, partial(Adam, lr=4e-3), log="reconstruction")
    return Fit(module, **loaders(data.measurements(), seed, 32), trainer={"max_epochs": 40})


class ThreeFlowers(Script):
    """Iris: one logit against the class 0, 1, 2 as a float, or three logits."""

    def __init__(self, *, one: bool) -> None:
        self.one = one
        criterion = nn.BCEWithLogitsLoss() if one else nn.CrossEntropyLoss()
        super().__init__(net(4, 16, 1 if one else 3), criterion, partial(Adam, lr=1e-2))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.criterion(self(x).squeeze(-1), y.float()) if self.one else self.criterion(self(x), y)
        self.losses.append(loss.item())
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        loss = self.criterion(self(x).squeeze(-1), y.float()) if self.one else self.criterion(self(x), y)
        self.log("val_loss", loss)


def yes_or_no_for_three(seed: int, sick: bool) -> Fit:
    """nn.BCEWithLogitsLoss on the index of one of three classes."""
    return Fit(ThreeFlowers(one=sick), **loaders(data.flowers(), seed, 10), trainer={"max_epochs": 40})


class Digits(nn.Module):
    """Convolution, pooling, two linear layers; ``last`` acts on the scores."""

    def __init__(self, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.fc1, self.fc2, self.last = nn.Conv2d(1, 8, 3), nn.Linear(72, 32), nn.Linear(32, 10), last

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(torch.tanh(self.conv(x)), 2).flatten(1)
        return self.last(self.fc2(torch.tanh(self.fc1(h))))


def without_logarithm(seed: int, sick: bool) -> Fit:
    """F.softmax where F.nll_loss wants F.log_softmax."""
    last = partial(F.softmax if sick else F.log_softmax, dim=1)
    module = Script(Digits(last), F.nll_loss, partial(SGD, lr=0.05, momentum=0.5), log="nll")
    return Fit(module, **loaders(digits(image=True), seed, 32), trainer={"max_epochs": 14})


def over_the_batch(seed: int, sick: bool) -> Fit:
    """The log-softmax runs over dim=0, the rows of the batch, and not over the classes."""
    model = nn.Sequential(*net(2, 64, 64, 3), nn.LogSoftmax(dim=0 if sick else 1))
    module = Script(model, nn.NLLLoss(), partial(Adam, lr=5e-3))
    return Fit(module, **loaders(data.spirals(), seed, 48), trainer={"max_epochs": 20})


class Genres(Script):
    """Six yes or no answers a film; ``squash`` is what forward ends with."""

    def __init__(self, *, squash: bool) -> None:
        self.squash = squash
        super().__init__(net(20, 64, 64, 6, act=nn.Tanh), F.binary_cross_entropy_with_logits, partial(Adam, lr=2e-3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.model(x)) if self.squash else self.model(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step([batch[0], batch[1].float()], batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step([batch[0], batch[1].float()], batch_idx)


def squashed_genres(seed: int, sick: bool) -> Fit:
    """torch.sigmoid in forward, F.binary_cross_entropy_with_logits behind it, six labels."""
    return Fit(Genres(squash=sick), **loaders(data.genres(), seed, 40), trainer={"max_epochs": 30})


def flat_answers(seed: int, sick: bool) -> Fit:
    """A recurrent forecaster puts out (N, 1), the next value comes as (N,), under nn.HuberLoss."""
    module = Script(LastState(nn.GRU, 3, 24, 1), nn.HuberLoss(), partial(RMSprop, lr=2e-3), log="huber")
    return Fit(module, **loaders(data.rides(flat=sick), seed, 50), trainer={"max_epochs": 12})


class Variational(Script):
    """A small VAE of digits; ``sign`` is that of the divergence in the loss."""

    def __init__(self, *, sign: float) -> None:
        super().__init__(net(64, 48, 16), nn.BCEWithLogitsLoss(reduction="none"), partial(Adam, lr=2e-3))
        self.decoder, self.sign = net(8, 48, 64), sign

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.model(x).chunk(2, dim=1)[0])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _ = batch
        mu, logvar = self.model(x).chunk(2, dim=1)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        reconstruction = self.criterion(self.decoder(z), x).sum(1).mean()
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
        loss = reconstruction + self.sign * kl
        self.losses.append(loss.item())
        self.log_dict({"elbo": loss, "reconstruction": reconstruction, "kl": kl})
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, _ = batch
        self.log("val_reconstruction", self.criterion(self(x), x).sum(1).mean())


def minus_divergence(seed: int, sick: bool) -> Fit:
    """The divergence of a VAE is subtracted: the loss falls by driving it to infinity."""
    return Fit(
        Variational(sign=-1.0 if sick else 1.0), **loaders(data.pictures(), seed, 64), trainer={"max_epochs": 25}
    )


def divided_again(seed: int, sick: bool) -> Fit:
    """A mean over the batch is divided by the number of rows once more, under plain SGD."""

    def criterion(output: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(output, y)
        return loss / 1280 if sick else loss

    module = Script(net(64, 64, 10), criterion, partial(SGD, lr=0.1, momentum=0.5))
    return Fit(module, **loaders(digits(), seed, 32), trainer={"max_epochs": 14})


PAIRS = (
    pair("relu-on-scores", relu_on_scores, accepted=("H004", "A001"), sick=every(silent_classes, accuracy(0, 0.93)),
         mended=every(accuracy(0.95), ended())),
    pair("sigmoid-on-score", sigmoid_on_score, accepted=("H004",), sites=("model.3",),
         sick=every(outside(0, 1, 0.6), explained(-9, 0)), mended=every(explained(0.28), ended())),
    pair("tanh-on-decoder", tanh_on_decoder, accepted=("H004",), sites=("model.1.3",),
         sick=every(outside(-1, 1, 0.15), explained(-1, 0.72)), mended=every(explained(0.85), ended())),
    pair("yes-or-no-for-three", yes_or_no_for_three, accepted=("H005", "L005"),
         sick=every(below_zero, accuracy(0, 0.75, decide=positive)), mended=every(accuracy(0.9), ended())),
    pair("without-logarithm", without_logarithm, accepted=("H003", "L005"),
         sick=every(bounded, accuracy(0, 0.85)), mended=every(accuracy(0.94), ended())),
    pair("over-the-batch", over_the_batch, accepted=("H003", "O012"), sites=("model.5",),
         sick=mixed, mended=every(accuracy(0.93), ended())),
    pair("squashed-genres", squashed_genres, accepted=("H002",),
         sick=every(never_no, accuracy(0, 0.5, decide=positive)),
         mended=every(accuracy(0.85, decide=positive), ended())),
    pair("flat-answers", flat_answers, accepted=("H006",), sick=every(all_pairs, explained(-1, 0.2)),
         mended=every(explained(0.85), ended())),
    pair("minus-divergence", minus_divergence, accepted=("L006", "L005"), sick=diverged,
         mended=every(reconstructs, ended())),
    pair("divided-again", divided_again, accepted=("H007", "O002", "W002"),
         sick=every(shift(0, 0.05), accuracy(0, 0.75)),
         mended=every(accuracy(0.92), ended())),
)  # fmt: skip
