"""Trainings whose optimizers do not have, or do not move, what they should."""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import R2Score

from .parts import Fit
from .plumbing_checks import constant, explained, hits, matching, scored, unlisted, wired
from .plumbing_parts import both, brackets, documents, ratings
from .program import pair
from .verify import every


class TopicModel(L.LightningModule):
    """Sparse word vectors with an optimizer of their own, a dense classifier with another."""

    def __init__(self, both_step: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.both_step = both_step
        self.words = nn.EmbeddingBag(400, 8, mode="mean", sparse=True)
        self.dense = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.words(x))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        optimizers: Any = self.optimizers()
        sparse, dense = optimizers
        sparse.zero_grad()
        dense.zero_grad()
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.manual_backward(loss)
        if self.both_step:
            sparse.step()
        dense.step()
        self.log("train_loss", loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        sparse = torch.optim.SparseAdam(list(self.words.parameters()), lr=1e-2)
        return [sparse, torch.optim.AdamW(self.dense.parameters(), lr=3e-3)]


def topics(seed: int, sick: bool) -> Fit:
    """Two optimizers by hand: the gradients of both are cleared, only the dense one steps."""
    return Fit(TopicModel(not sick), **both(documents(), seed, 64), trainer={"max_epochs": 8})


class DepthTagger(L.LightningModule):
    """How deep is every symbol nested."""

    def __init__(self, groups: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.groups = groups
        self.embed = nn.Embedding(6, 12)
        self.rnn = nn.GRU(12, 24, batch_first=True)
        self.norm = nn.LayerNorm(24)
        self.tag = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.tag(self.norm(self.rnn(self.embed(x))[0]))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> dict[str, Tensor]:
        logits = self(batch[0])
        loss = nn.CrossEntropyLoss()(logits.flatten(0, 1), batch[1].flatten())
        self.log("loss/train", loss)
        return {"loss": loss}

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("loss/val", nn.CrossEntropyLoss()(logits.flatten(0, 1), batch[1].flatten()))
        self.log("acc/val", (logits.argmax(-1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for module in self.modules():
            if isinstance(module, self.groups):
                for name, p in module.named_parameters(recurse=False):
                    (decayed if "weight" in name and p.ndim > 1 else plain).append(p)
        groups = [{"params": decayed, "weight_decay": 1e-2}, {"params": plain, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=1e-2)


def depth(seed: int, sick: bool) -> Fit:
    """The groups with and without decay are collected by layer type, and the list of types has no GRU."""
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.LayerNorm, nn.Embedding)
    module = DepthTagger(kinds if sick else (*kinds, nn.GRU))
    return Fit(module, **both(brackets(), seed, 48), trainer={"max_epochs": 12})


class Recommender(L.LightningModule):
    """Vectors per user and item, a small network on both and on their product."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        tables = {"user": nn.Embedding(70, 8), "item": nn.Embedding(50, 8)}
        for table in tables.values():
            nn.init.normal_(table.weight, std=0.3)
        self.tables: Any = tables if plain else nn.ModuleDict(tables)
        self.head = nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Linear(32, 1))
        self.r2 = R2Score()

    def forward(self, ids: Tensor) -> Tensor:
        u, v = self.tables["user"](ids[:, 0]), self.tables["item"](ids[:, 1])
        return self.head(torch.cat([u, v, u * v], 1)).squeeze(1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.mse_loss(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        prediction = self(batch[0])
        self.r2(prediction, batch[1])
        self.log("val_loss", F.mse_loss(prediction, batch[1]))
        self.log("val_r2", self.r2)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.02)


def recommend(seed: int, sick: bool) -> Fit:
    """The vectors of users and items lie in a dict of the module."""
    return Fit(Recommender(sick), **both(ratings(), seed, 64), trainer={"max_epochs": 16})


def hidden_tables(fit: Fit, module: Any) -> None:
    """Both tables take part in the gradient and are not among the parameters."""
    known = {id(p) for p in module.parameters()}
    x, y = next(iter(fit.train))
    F.mse_loss(module(x), y).backward()
    for table in module.tables.values():
        assert id(table.weight) not in known and id(table.weight) not in listed_ids(module)
        assert table.weight.grad is not None and float(table.weight.grad.abs().max()) > 0


def listed_ids(module: Any) -> set[int]:
    return {id(p) for o in module.trainer.optimizers for g in o.param_groups for p in g["params"]}


def sparse_gradient(fit: Fit, module: Any) -> None:
    """The word vectors do get a gradient and are listed."""
    x, y = next(iter(fit.train))
    F.cross_entropy(module(x), y).backward()
    for _, p in matching(module, ("words.",)):
        assert p.grad is not None and id(p) in listed_ids(module)


def class_score(module: Any, batch: Any) -> float:
    return hits(module(batch[0]), batch[1])


def rating_score(module: Any, batch: Any) -> float:
    return explained(module(batch[0]), batch[1])


PAIRS = [
    *pair(
        "sparse-words", topics, sick=every(constant("words."), sparse_gradient, scored(class_score, high=0.8)),
        mended=every(scored(class_score, low=0.85), wired), accepted=("W003",), sites=("words",),
    ),
    *pair(
        "bracket-depth", depth,
        sick=every(unlisted(lambda b: b[:1], "rnn."), constant("rnn."), scored(class_score, high=0.85)),
        mended=every(scored(class_score, low=0.97), wired), accepted=("W004",), sites=("rnn",),
    ),
    *pair(
        "user-item-tables", recommend, sick=every(hidden_tables, scored(rating_score, high=0.6)),
        mended=every(scored(rating_score, low=0.8), wired), accepted=("W005",), sites=("tables",),
    ),
]  # fmt: skip
