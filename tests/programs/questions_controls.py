"""Healthy controls as tutorials and first scripts have them: nothing wrong with any of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Accuracy, MeanMetric

from . import questions_data as data
from .parts import Fit, cancer, digits, loaders, split, wine
from .program import healthy
from .questions_checks import accuracy, ended, explained, positive, steps
from .questions_parts import Encoder, LastState, LeNet, Script, TextCNN, net
from .questions_proofs import apart, beats, better_than_mean, stays
from .verify import every

optim, schedulers = torch.optim, torch.optim.lr_scheduler


class LitDigits(L.LightningModule):
    """The classifier of the tutorials, with torchmetrics and save_hyperparameters."""

    def __init__(self, hidden: int = 64, lr: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.l1, self.l2 = nn.Linear(64, hidden), nn.Linear(hidden, 10)
        self.train_acc, self.val_acc = (Accuracy(task="multiclass", num_classes=10) for _ in range(2))
        self.mean_loss = MeanMetric()
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.l2(torch.relu(self.l1(x.view(x.size(0), -1))))

    def training_step(self, batch: Any, batch_nb: int) -> dict[str, Tensor]:
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        self.train_acc(logits, y)
        self.losses.append(loss.item())
        self.log("train/loss", loss)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True)
        return {"loss": loss}

    def validation_step(self, batch: Any, batch_nb: int) -> None:
        x, y = batch
        self.val_acc.update(self(x), y)
        self.mean_loss.update(F.cross_entropy(self(x), y))

    def on_validation_epoch_end(self) -> None:
        self.log("val/acc", self.val_acc.compute())
        self.log("val/loss", self.mean_loss.compute())
        self.val_acc.reset()
        self.mean_loss.reset()

    def configure_optimizers(self) -> Any:
        return optim.Adam(self.parameters(), lr=self.hparams["lr"])


def first_tutorial(seed: int) -> Fit:
    return Fit(LitDigits(), **loaders(digits(image=True), seed, 32), trainer={"max_epochs": 20})


def half_precision(seed: int) -> Fit:
    """bfloat16 by autocast."""
    module = Script(LeNet(12, 4), nn.CrossEntropyLoss(), partial(optim.AdamW, lr=2e-3))
    return Fit(module, **loaders(data.stripes(), seed, 40), trainer={"max_epochs": 10, "precision": "bf16-mixed"})


def two_speeds(seed: int) -> Fit:
    """A trunk that has been trained before goes on at a tenth of the rate of its new head."""
    model = net(64, 64, 64, 10)
    before = optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(6):
        for x, y in loaders(digits(), seed)["train"]:
            before.zero_grad()
            F.cross_entropy(model(x), y).backward()
            before.step()
    model[-1] = nn.Linear(64, 5)

    def optimize(params: Any) -> Any:
        groups = [{"params": model[:-1].parameters(), "lr": 2e-4}, {"params": model[-1].parameters()}]
        return optim.Adam(groups, lr=2e-3)

    module = Script(model, lambda output, y: F.cross_entropy(output, y // 2), optimize)
    return Fit(module, **loaders(digits(), seed), trainer={"max_epochs": 12})


def stocks(seed: int) -> Fit:
    """Nearly all of the target is noise: a linear model finds the little that is not."""
    r = np.random.default_rng(31)
    x = r.normal(size=(4000, 8))
    y = x @ r.normal(size=(8, 1)) * 0.15 + r.normal(size=(4000, 1))
    sets = split(x, y, train=3200, kind=torch.float32)
    module = Script(nn.Linear(8, 1), nn.MSELoss(), partial(optim.SGD, lr=0.01, weight_decay=1e-3), log="mse")
    return Fit(module, **loaders(sets, seed, 64), trainer={"max_epochs": 8})


class WordVectors(Script):
    """Skip-grams with negative samples."""

    def __init__(self) -> None:
        super().__init__(nn.Embedding(122, 12), F.binary_cross_entropy_with_logits, partial(optim.Adam, lr=1e-2))
        self.context = nn.Embedding(122, 12)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        text, _ = batch
        word, near, far = text[:, :-1], text[:, 1:], torch.randint(2, 122, text[:, 1:].shape)
        hit = (self.model(word) * self.context(near)).sum(-1)
        miss = (self.model(word) * self.context(far)).sum(-1)
        loss = -F.logsigmoid(hit).mean() - F.logsigmoid(-miss).mean()
        self.losses.append(loss.item())
        self.log("sgns", loss)
        return loss


def word_vectors(seed: int) -> Fit:
    return Fit(WordVectors(), loaders(data.sentences(), seed, 32)["train"], trainer={"max_epochs": 25})


class Mixture(Script):
    """The density of the next value as a mixture of three normal ones; the loss may be negative."""

    def __init__(self) -> None:
        super().__init__(LastState(nn.GRU, 3, 24, 9), self.likelihood, self.decayed, log="nll")

    @staticmethod
    def decayed(params: Any) -> Any:
        optimizer = optim.Adam(params, lr=5e-3)
        return [optimizer], [schedulers.StepLR(optimizer, 5, gamma=0.4)]

    @staticmethod
    def likelihood(output: Tensor, y: Tensor) -> Tensor:
        weight, mean, log_scale = output.chunk(3, dim=1)
        normal = torch.distributions.Normal(mean, log_scale.clamp(-4, 4).exp())
        return -torch.logsumexp(weight.log_softmax(1) + normal.log_prob(y), 1).mean()


def mixture_density(seed: int) -> Fit:
    return Fit(Mixture(), **loaders(data.rides(scale=0.2), seed, 50), trainer={"max_epochs": 15})


class Triplets(Script):
    """Distances of images of the same and of another digit; the loss comes to rest at about 0."""

    def __init__(self) -> None:
        super().__init__(net(64, 64, 16), nn.TripletMarginLoss(margin=0.5), partial(optim.Adam, lr=1e-3))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        code = F.normalize(self(x), dim=1)
        equal = (y[:, None] == y) & ~torch.eye(len(y), dtype=torch.bool)
        near = equal.float().add(1e-6).multinomial(1)[:, 0]
        far = (y[:, None] != y).float().multinomial(1)[:, 0]
        loss = self.criterion(code, code[near], code[far])
        self.losses.append(loss.item())
        self.log("triplet", loss)
        return loss


def triplets(seed: int) -> Fit:
    return Fit(Triplets(), loaders(digits(), seed, 64)["train"], trainer={"max_epochs": 20})


class StepsByHand(Script):
    """Manual optimization as the documentation has it: clear, backward, clip, step, and the schedule's own step."""

    def __init__(self) -> None:
        super().__init__(net(13, 32, 3, act=nn.SELU), nn.CrossEntropyLoss(), partial(optim.SGD, lr=0.05, momentum=0.9))
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        loss = super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, gradient_clip_val=5.0, gradient_clip_algorithm="norm")
        optimizer.step()
        schedule: Any = self.lr_schedulers()
        schedule.step()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimize(self.parameters())
        return [optimizer], [schedulers.CosineAnnealingLR(optimizer, int(self.trainer.max_epochs or 1) * 8)]


def steps_by_hand(seed: int) -> Fit:
    return Fit(StepsByHand(), **loaders(wine(), seed, 16), trainer={"max_epochs": 15})


def one_cycle_text(seed: int) -> Fit:
    """A transformer under OneCycleLR, stepped per step, with accumulation and a generous clip."""

    def optimize(params: Any) -> Any:
        optimizer = optim.AdamW(params, lr=4e-3, weight_decay=0.05)
        schedule = schedulers.OneCycleLR(optimizer, max_lr=4e-3, total_steps=12 * 25)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    module = Script(Encoder(122, 4, depth=1), nn.CrossEntropyLoss(label_smoothing=0.1), optimize)
    options = {"max_epochs": 12, "accumulate_grad_batches": 2, "gradient_clip_val": 1.0}
    return Fit(module, **loaders(data.sentences(), seed, 24), trainer=options)


def three_steps(seed: int) -> Fit:
    """fast_dev_run to see that it runs."""
    module = Script(TextCNN(122, 4), nn.CrossEntropyLoss(), partial(optim.Adam, lr=1e-3))
    return Fit(module, **loaders(data.sentences(), seed, 32), trainer={"fast_dev_run": 3})


def eight_steps(seed: int) -> Fit:
    """A smoke run of a few limited batches."""
    module = Script(LastState(nn.LSTM, 3, 16, 1), nn.MSELoss(), partial(optim.RMSprop, lr=1e-3), log="mse")
    options = {"max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 1}
    return Fit(module, **loaders(data.rides(), seed, 32), trainer=options)


def four_flowers(seed: int) -> Fit:
    """Batches of four."""
    module = Script(net(4, 12, 3, act=nn.Tanh), nn.CrossEntropyLoss(), partial(optim.SGD, lr=0.03))
    return Fit(module, **loaders(data.flowers(), seed, 4), trainer={"max_epochs": 30})


def goes_on(seed: int) -> Fit:
    """A model that has converged before goes on at a low rate: there is nothing left to gain."""
    module = Script(net(30, 16, 1), lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y.float()),
                    partial(optim.SGD, lr=1e-3))  # fmt: skip
    before = optim.Adam(module.parameters(), lr=3e-3, weight_decay=1e-3)
    for _ in range(30):
        for x, y in loaders(cancer(), seed, 40)["train"]:
            before.zero_grad()
            module.criterion(module(x), y).backward()
            before.step()
    return Fit(module, **loaders(cancer(), seed, 40), trainer={"max_epochs": 8})


def sparse_codes(seed: int) -> Fit:
    """An autoencoder of images in 0..1 that ends in a sigmoid."""
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 64), nn.Sigmoid())
    module = Script(model, nn.BCELoss(), partial(optim.NAdam, lr=3e-3), log="bce")
    return Fit(module, **loaders(data.pictures(), seed, 50), trainer={"max_epochs": 25})


def adagrad_plateau(seed: int) -> Fit:
    """Adagrad, and a patient ReduceLROnPlateau on the validation loss."""

    def optimize(params: Any) -> Any:
        optimizer = optim.Adagrad(params, lr=0.05)
        plateau = schedulers.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_mae"}}

    module = Script(net(5, 64, 64, 1, act=nn.Mish), nn.L1Loss(), optimize, log="mae")
    return Fit(module, **loaders(data.houses(), seed, 32), trainer={"max_epochs": 25})


def weighted_churn(seed: int) -> Fit:
    """One customer in ten has left, and counts nine times."""
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0]))
    module = Script(
        nn.Sequential(nn.BatchNorm1d(15), *net(15, 16, 2)), criterion, partial(optim.Adam, lr=3e-3, weight_decay=3e-3)
    )
    return Fit(module, **loaders(data.churn(0.1), seed, 100), trainer={"max_epochs": 14})


HEALTHY = (
    healthy("first-tutorial", first_tutorial, every(accuracy(0.94), ended())),
    healthy("half-precision", half_precision, every(accuracy(0.93), ended())),
    healthy("two-speeds", two_speeds, beats(0.5)),
    healthy("mostly-noise", stocks, every(explained(0.08, 0.4), explained(0.08, 0.4, on="train"))),
    healthy("word-vectors", word_vectors, apart),
    healthy("mixture-density", mixture_density, every(beats(0.5), ended(0.15))),
    healthy("triplets", triplets, every(beats(0.2), ended())),
    healthy("steps-by-hand", steps_by_hand, every(accuracy(0.94), ended())),
    healthy("one-cycle-text", one_cycle_text, every(accuracy(0.85), ended())),
    healthy("three-steps", three_steps, steps(3, 3)),
    healthy("eight-steps", eight_steps, steps(8, 8)),
    healthy("four-flowers", four_flowers, every(accuracy(0.9), ended())),
    healthy("goes-on", goes_on, every(accuracy(0.93, decide=positive), stays)),
    healthy("sparse-codes", sparse_codes, every(better_than_mean, ended())),
    healthy("adagrad-plateau", adagrad_plateau, every(explained(0.92), ended())),
    healthy("weighted-churn", weighted_churn, every(accuracy(0.7), ended())),
)
