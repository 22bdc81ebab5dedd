"""Healthy controls with targets of all kinds: counts, tails, grades, lifetimes; small and unusual optimizations."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .parts import Fit, cancer, loader, loaders, mlp
from .program import healthy
from .research_checks import calm, ends, hits
from .research_data import linear_targets, spirals
from .research_parts import Rated
from .sequences import cosine
from .verify import every, learns

Adam, AdamW, SGD = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD


def visits(seed: int) -> Fit:
    """Counts, of the logarithm of their rate."""
    task = Rated(mlp(8, 32, 1, act=nn.ELU), loss=F.poisson_nll_loss, optimizer=partial(Adam, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(linear_targets("visits"), seed), trainer={"max_epochs": 12})


def huber_of_tails(seed: int) -> Fit:
    """Targets whose noise has no variance, under Huber's loss."""
    task = Rated(mlp(8, 24, 1, act=nn.Tanh), loss=F.smooth_l1_loss, optimizer=partial(AdamW, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(linear_targets("tails"), seed), trainer={"max_epochs": 12})


def of_thresholds(out: Tensor, y: Tensor) -> Tensor:
    """Four yes or no: is the grade above k."""
    return F.binary_cross_entropy_with_logits(out, (y[:, None] > torch.arange(4)).float())


def grades_by_thresholds(seed: int) -> Fit:
    """Grades 0..4 by the four questions whether they are above 0, 1, 2, 3."""
    task = Rated(mlp(8, 32, 4), loss=of_thresholds, optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders(linear_targets("grades"), seed), trainer={"max_epochs": 12})


def partial_likelihood(out: Tensor, y: Tensor) -> Tensor:
    """Cox: the risk of who dies against that of all who live as long."""
    order = y[:, 0].argsort(descending=True)
    risk, died = out[order, 0], y[order, 1]
    return -((risk - risk.logcumsumexp(0)) * died).sum() / died.sum()


def proportional_hazards(seed: int) -> Fit:
    """Lifetimes, some of them censored."""
    task = Rated(mlp(8, 16, 1, act=nn.Tanh), loss=partial_likelihood, optimizer=partial(Adam, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(linear_targets("lifetimes"), seed), trainer={"max_epochs": 10})


def row_by_row(seed: int) -> Fit:
    """Batches of one row at a small rate that falls, logistic regression."""
    train, val = cancer()
    task = Rated(nn.Linear(30, 2), optimizer=partial(SGD, lr=0.01), schedule=cosine)
    return Fit(task, **loaders((TensorDataset(*train[:150]), val), seed, 1), trainer={"max_epochs": 5})


def arms_of_spirals(seed: int) -> Fit:
    """Three arms of a spiral under Adam."""
    task = Rated(mlp(2, 64, 64, 3), optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders(spirals(), seed, 50), trainer={"max_epochs": 25})


def exclusive_or(seed: int) -> Fit:
    """The four corners, noisy, and a network of eight units."""
    g = torch.Generator().manual_seed(4)
    corner = torch.randint(0, 2, (640, 2), generator=g)
    x, y = 2.0 * corner - 1 + 0.2 * torch.randn(640, 2, generator=g), corner.sum(1) % 2
    sets = TensorDataset(x[:512], y[:512]), TensorDataset(x[512:], y[512:])
    task = Rated(mlp(2, 8, 2, act=nn.Tanh), optimizer=partial(Adam, lr=3e-2), schedule=cosine)
    return Fit(task, **loaders(sets, seed, 32), trainer={"max_epochs": 15})


def curvature_on_all_rows(seed: int) -> Fit:
    """LBFGS on all rows at once, with a penalty: twenty steps are enough."""
    train, val = cancer()
    net = nn.Linear(30, 2)
    task = Rated(net, loss=lambda out, y: F.cross_entropy(out, y) + 1e-2 * net.weight.square().sum(),
                 optimizer=partial(torch.optim.LBFGS, lr=0.5, max_iter=4))  # fmt: skip
    return Fit(task, loader(train, 400, seed=seed), loader(val, 200, shuffle=False), {"max_epochs": 20})


fair = every(learns(0.95), calm(flat=0.1))
HEALTHY = (
    healthy("visits", visits, fair),
    healthy("huber-of-tails", huber_of_tails, every(learns(0.9), calm(flat=0.1))),
    healthy("grades-by-thresholds", grades_by_thresholds, every(learns(0.6), calm())),
    healthy("proportional-hazards", proportional_hazards, fair),
    healthy("row-by-row", row_by_row, every(learns(0.6), calm(), hits(0.93))),
    healthy("arms-of-spirals", arms_of_spirals, every(learns(0.5), calm(1.2), hits(0.93))),
    healthy("exclusive-or", exclusive_or, every(learns(0.5), calm(), ends(0, 0.1), hits(0.95))),
    healthy("curvature-on-all-rows", curvature_on_all_rows, every(learns(0.7), calm(), hits(0.93))),
)
