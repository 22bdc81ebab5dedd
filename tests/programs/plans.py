"""Sick plans of training and of sampling: schedules, clipping, accumulation, modes, samplers, weights of a loss."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from .modes_checks import left_in_eval, reported_rightly, reported_too_bad
from .parts import Batch, Fit, cnn, digits, loaders, mlp
from .program import pair
from .research_checks import calm, ends, hits, rates
from .research_data import uneven
from .research_parts import Rated
from .sequences import cosine
from .verify import every, learns, moved
from .wiring_checks import norm_of_gradient

Adam, AdamW, SGD = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD


def cycle_for_another_run(seed: int, sick: bool) -> Fit:
    """OneCycleLR is told 20 times the steps of this run: the rate is still in its rise when training ends."""
    plan = torch.optim.lr_scheduler.OneCycleLR
    task = Rated(cnn(norm=True), optimizer=partial(SGD, lr=0.1, momentum=0.9),
                 schedule=lambda o, n: plan(o, 0.01, total_steps=(20 if sick else 1) * n, div_factor=1e3))  # fmt: skip
    return Fit(task, **loaders(digits(image=True), seed), trainer={"max_epochs": 8})


def power_of_epochs(seed: int, sick: bool) -> Fit:
    """PolynomialLR over "12", the number of epochs, is stepped with every batch: the rate is 0 after 12 batches."""
    plan = torch.optim.lr_scheduler.PolynomialLR
    task = Rated(mlp(64, 64, 64, 10, norm=nn.LayerNorm), optimizer=partial(AdamW, lr=2e-3),
                 schedule=lambda o, n: plan(o, 12 if sick else n, power=0.9))  # fmt: skip
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 12})


def every_entry_clipped(seed: int, sick: bool) -> Fit:
    """Every entry of the gradient is clipped to 0.00001 under SGD; mended: to 0.5."""
    trainer = {"max_epochs": 12, "gradient_clip_algorithm": "value", "gradient_clip_val": 1e-5 if sick else 0.5}
    task = Rated(cnn(norm=True, act=nn.SiLU), optimizer=partial(SGD, lr=0.05, momentum=0.9), schedule=cosine)
    return Fit(task, **loaders(digits(image=True), seed), trainer=trainer)


def hardly_an_entry_below(fit: Fit, module: Any) -> None:
    """The gradient's norm is 100 times what the clipping lets through at the most, at the end."""
    most = 1e-5 * sum(p.numel() for p in module.parameters()) ** 0.5
    assert norm_of_gradient(fit, module) > 100 * most, (norm_of_gradient(fit, module), most)


def accumulates_an_epoch(seed: int, sick: bool) -> Fit:
    """Gradients of 64 batches are accumulated where an epoch has 20: one update an epoch; mended: of one."""
    trainer = {"max_epochs": 12, "accumulate_grad_batches": 64 if sick else 1}
    task = Rated(mlp(64, 64, 10, act=nn.GELU), optimizer=partial(AdamW, lr=3e-3), schedule=cosine)
    return Fit(task, **loaders(digits(), seed), trainer=trainer)


def few_updates(fit: Fit, module: Any) -> None:
    """Twelve epochs made twelve updates."""
    assert module.trainer.global_step == 12 and len(module.losses) == 12 * 20


class Taught(Rated):
    """A student of a fixed teacher; ``whole``: the line that puts the teacher into eval mode names the module."""

    def __init__(self, net: nn.Module, *, whole: bool, **options: Any) -> None:
        super().__init__(net, **options)
        self.whole = whole
        self.teacher = nn.Sequential(mlp(64, 64, 10), nn.Dropout(0.1)).requires_grad_(False)
        x, y = digits()[0].tensors
        teacher = self.teacher.requires_grad_(True)
        optimizer = Adam(teacher.parameters(), lr=5e-3)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(teacher(x), y).backward()
            optimizer.step()
        self.teacher.requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        if self.whole:
            self.eval()
        else:
            self.teacher.eval()

    def compute(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            aim = self.teacher(batch[0]).softmax(1)
        out = self.net(batch[0])
        return 0.5 * F.cross_entropy(out, aim) + 0.5 * F.cross_entropy(out, batch[1])


def evaluates_the_student(seed: int, sick: bool) -> Fit:
    """self.eval() instead of self.teacher.eval(): the norms of the student learn no statistics and do not norm."""
    layers: list[nn.Module] = []
    for i in range(7):
        layers += [nn.Linear(64 if i == 0 else 32, 32), nn.BatchNorm1d(32), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(32, 10))
    task = Taught(net, whole=sick, optimizer=partial(SGD, lr=0.05, momentum=0.5), schedule=cosine)
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 10})


class NeverEvaluated(Rated):
    """Overrides the hook that puts the model into eval mode, for something else, and does not call it."""

    announce = True

    def on_validation_model_eval(self) -> None:
        if self.announce:
            self.started = self.global_step
        else:
            super().on_validation_model_eval()


def eval_hook_overridden(seed: int, sick: bool) -> Fit:
    """on_validation_model_eval is overridden without its super(): validation with dropout of a half."""
    net = mlp(64, 48, 48, 10, dropout=0.5)
    task = NeverEvaluated(net, optimizer=partial(AdamW, lr=5e-3), schedule=cosine)
    task.announce = sick
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 15})


def divided_by_the_data(seed: int, sick: bool) -> Fit:
    """The mean of the batch is divided by the number of training rows once more, under SGD."""
    rows = 1280.0 if sick else 1.0
    task = Rated(mlp(64, 48, 10, act=nn.ELU), loss=lambda out, y: F.cross_entropy(out, y) / rows,
                 optimizer=partial(SGD, lr=0.1, momentum=0.9), schedule=cosine)  # fmt: skip
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 12})


def weights_of_classes_for_rows(seed: int, sick: bool) -> Fit:
    """WeightedRandomSampler gets the weights of the ten classes, not of the rows: it draws the first ten rows only."""
    train, val = digits()
    y = train.tensors[1]
    of_class = 1.0 / torch.bincount(y).float()
    generator = torch.Generator().manual_seed(seed)
    sampler = WeightedRandomSampler(of_class if sick else of_class[y], len(y), generator=generator)
    task = Rated(mlp(64, 48, 10), optimizer=partial(Adam, lr=5e-3), schedule=cosine)
    sets = loaders((train, val), seed)
    sets["train"] = DataLoader(train, batch_size=64, sampler=sampler, drop_last=True)
    return Fit(task, **sets, trainer={"max_epochs": 8})


def distinct_rows(low: int, high: int) -> Any:
    """An epoch shows between ``low`` and ``high`` different rows."""

    def check(fit: Fit, module: Any) -> None:
        rows = torch.cat([batch[0] for batch in fit.train]).flatten(1)
        count = len(torch.unique(rows, dim=0))
        assert low <= count <= high, f"{count} different rows of {len(rows)}"

    return check


class Simulated(Dataset[Any]):
    """Draws a row when it is asked for: three noisy oscillations to be told apart; ``seeded`` anew for every row."""

    def __init__(self, rows: int, *, seeded: bool, seed: int) -> None:
        self.rows, self.seeded, self.seed = rows, seeded, seed

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        rng = np.random.default_rng(self.seed + (index % 3 if self.seeded else index))
        kind = int(rng.integers(0, 3)) if not self.seeded else index % 3
        time = np.linspace(0, 4 * np.pi, 32) * (1.0, 1.4, 1.9)[kind] + rng.uniform(0, 2 * np.pi)
        return torch.as_tensor(np.sin(time) + 0.5 * rng.normal(size=32)).float(), kind


def generator_made_per_row(seed: int, sick: bool) -> Fit:
    """The generator of random numbers is made anew, with the same seed, for every row of a class."""
    task = Rated(mlp(32, 64, 64, 3), optimizer=partial(AdamW, lr=2e-3), schedule=cosine)
    sets: Any = (Simulated(768, seeded=sick, seed=7), Simulated(256, seeded=False, seed=5000))
    return Fit(task, **loaders(sets, seed), trainer={"max_epochs": 10})


def weighted_by_frequency(seed: int, sick: bool) -> Fit:
    """The weights of the loss are the frequencies of the classes instead of their inverses."""
    train, val = uneven()
    share = torch.bincount(train.tensors[1]).float() / len(train)
    weight = share / share.sum() * 3 if sick else (1 / share) / (1 / share).sum() * 3
    task = Rated(mlp(6, 32, 3, act=nn.Tanh), loss=partial(F.cross_entropy, weight=weight),
                 optimizer=partial(Adam, lr=5e-3), schedule=cosine)  # fmt: skip
    return Fit(task, **loaders((train, val), seed), trainer={"max_epochs": 10})


good = every(learns(0.6), calm())
PAIRS = (
    pair("cycle-for-another-run", cycle_for_another_run, accepted=("O004", "O002"),
         sick=every(rates(lambda r: bool((np.diff(r) > 0).all() and r[-1] < 0.002)), ends(0.3)),
         mended=every(good, hits(0.95))),
    pair("power-of-epochs", power_of_epochs, accepted=("O004", "O002"),
         sick=every(rates(lambda r: bool((r[12:] == 0).all())), hits(0, 0.8)), mended=every(good, hits(0.93))),
    pair("every-entry-clipped", every_entry_clipped, accepted=("G005",),
         sick=every(hardly_an_entry_below, moved(0, 0.1), ends(0.5)), mended=every(good, hits(0.95))),
    pair("accumulates-an-epoch", accumulates_an_epoch, accepted=("O005", "L007"),
         sick=every(few_updates, ends(1.0)), mended=every(good, hits(0.93))),
    pair("evaluates-the-student", evaluates_the_student, accepted=("O006",), sites=("net",),
         sick=every(left_in_eval("net"), hits(0, 0.6)), mended=every(good, hits(0.93))),
    pair("eval-hook-overridden", eval_hook_overridden, accepted=("O007",),
         sick=reported_too_bad(2.0), mended=every(good, reported_rightly, hits(0.93))),
    pair("divided-by-the-data", divided_by_the_data, accepted=("H007", "W002", "O002"),
         sick=every(moved(0, 0.1), hits(0, 0.7)), mended=every(good, hits(0.93))),
    pair("weights-of-classes-for-rows", weights_of_classes_for_rows, accepted=("D007",),
         sick=every(distinct_rows(5, 10), hits(0, 0.7)), mended=every(good, distinct_rows(600, 1280), hits(0.93))),
    pair("generator-made-per-row", generator_made_per_row, accepted=("D007",),
         sick=every(distinct_rows(3, 3), hits(0, 0.7)), mended=every(good, distinct_rows(700, 768), hits(0.85))),
    pair("weighted-by-frequency", weighted_by_frequency, accepted=("D005",),
         sick=hits(0, 0.5), mended=every(calm(), hits(0.7))),
)  # fmt: skip
