"""One module and many losses of tensor operations, as people write them who do not call the ready ones."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .missed_parts import Graded, cut, rows
from .parts import Pair

Loss = Callable[[Tensor, Tensor], Tensor]


def hits(z: Tensor, y: Tensor) -> Tensor:
    return (z.argmax(-1) == y).float().mean()


class Written(Graded):
    """A network, a loss and a grade that are plain functions of output and target; Adam and a cosine to zero."""

    names: ClassVar[tuple[str, str, str]] = ("train_loss", "val_loss", "val_score")

    def __init__(self, net: nn.Module, loss: Loss, grade: Loss = hits, *, lr: float = 5e-3, decay: float = 0.0) -> None:
        super().__init__()
        self.net, self.loss, self.graded, self.lr, self.decay = net, loss, grade, lr, decay

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def objective(self, out: Tensor, y: Tensor) -> Tensor:
        return self.loss(out, y)

    def grade(self, out: Tensor, y: Tensor) -> Tensor:
        return self.graded(out, y)

    def configure_optimizers(self) -> Any:
        trained = [p for p in self.parameters() if p.requires_grad]
        return self.cosine(torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.decay), warm=5)

    @property
    def losses(self) -> list[float]:
        return self.seen[self.names[0]]

    @property
    def val_losses(self) -> list[float]:
        return self.seen[self.names[1]]


class Taught(Written):
    """A frozen network is asked in every step, and its answer is the target."""

    def __init__(self, net: nn.Module, teacher: nn.Module, loss: Loss) -> None:
        super().__init__(net, loss)
        self.teacher = teacher.requires_grad_(False).eval()

    def answer(self, x: Tensor) -> Tensor:
        self.teacher.eval()
        with torch.no_grad():
            return self.teacher(x)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(self(batch[0]), self.answer(batch[0]))
        self.put("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        out = self(batch[0])
        self.put("val_loss", self.loss(out, self.answer(batch[0])))
        self.put("val_score", hits(out, batch[1]))


class Then(nn.Module):
    """A network whose answer goes through a function."""

    def __init__(self, net: nn.Module, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.end = net, end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.net(x))


class Tagger(nn.Module):
    """A tag for every word, of a recurrent cell."""

    def __init__(self, words: int, tags: int, width: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(words, 16, padding_idx=words - 1)
        self.rnn, self.head = nn.GRU(16, width, batch_first=True), nn.Linear(width, tags)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.words(x))[0])


def shares(z: Tensor) -> Tensor:
    e = torch.exp(z - z.amax(1, keepdim=True))
    return e / e.sum(1, keepdim=True)


def gathered(z: Tensor, y: Tensor) -> Tensor:
    return (z.logsumexp(1) - z.gather(1, y[:, None])[:, 0]).mean()


def stable(z: Tensor, t: Tensor) -> Tensor:
    z, t = z.squeeze(1), t.float()
    return (z.clamp(min=0) - z * t + torch.log1p(torch.exp(-z.abs()))).mean()


def relative_entropy(q: Tensor, p: Tensor) -> Tensor:
    return (torch.xlogy(p, p) - p * q).sum(1).mean()


def one_simplex(z: Tensor, y: Tensor) -> Tensor:
    return -(y * z.log_softmax(1)).sum(1).mean()


def each_label(z: Tensor, y: Tensor) -> Tensor:
    p = torch.sigmoid(z).clamp(1e-6, 1 - 1e-6)
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def indexed(z: Tensor, y: Tensor) -> Tensor:
    return z.log_softmax(1)[torch.arange(len(y)), y].mean()


def overlap(z: Tensor, y: Tensor) -> Tensor:
    p = torch.sigmoid(z).flatten(1)
    y = y.flatten(1)
    return ((2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)).mean()


def product(z: Tensor, y: Tensor) -> Tensor:
    return -(F.one_hot(y, z.shape[1]) * z.log_softmax(1)).sum(1).mean()


def smoothed(z: Tensor, y: Tensor, rest: float = 0.1) -> Tensor:
    log_p = z - z.logsumexp(1, keepdim=True)
    return -((1 - rest) * log_p.gather(1, y[:, None])[:, 0] + rest * log_p.mean(1)).mean()


def focal(z: Tensor, y: Tensor, gamma: float = 2.0, alpha: float = 0.6) -> Tensor:
    p, t = torch.sigmoid(z.squeeze(1)), y.float()
    right = p * t + (1 - p) * (1 - t)
    return -((alpha * t + (1 - alpha) * (1 - t)) * (1 - right) ** gamma * right.clamp(min=1e-7).log()).mean()


def padded(z: Tensor, y: Tensor) -> Tensor:
    known = (y >= 0).float()
    picked = z.log_softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return -(picked * known).sum() / known.sum()


def gaussian(out: Tensor, y: Tensor) -> Tensor:
    mean, log_var = out.unbind(1)
    return 0.5 * (log_var + (y - mean) ** 2 * torch.exp(-log_var)).mean()


def distilled(z: Tensor, q: Tensor, heat: float = 2.0) -> Tensor:
    p, log_p, log_q = (q / heat).softmax(1), (q / heat).log_softmax(1), (z / heat).log_softmax(1)
    return heat**2 * (p * (log_p - log_q)).sum(1).mean()


def praised(z: Tensor, y: Tensor) -> Tensor:
    """Draw an answer a row; those that got more than the batch did on average are made more likely."""
    drawn = torch.multinomial(z.detach().softmax(1), 1)
    reward = (drawn[:, 0] == y).float() + 0.3 * torch.randn(len(y))
    weight = (reward - reward.mean()) / (reward.std() + 1e-6)
    return -(weight * z.log_softmax(1).gather(1, drawn)[:, 0]).mean()


def above(limit: float) -> Loss:
    return lambda z, y: ((z.reshape(y.shape) > limit) == (y > 0.5)).float().mean()


def covered(z: Tensor, y: Tensor) -> Tensor:
    """Return intersection over union."""
    a, b = z > 0, y > 0.5
    return (a & b).sum() / (a | b).sum()


@lru_cache
def specks() -> Pair:
    """Noisy 14x14 images of one or two small bright blobs, and where they are."""
    g = np.random.default_rng(31)
    at, wide = g.uniform(2, 12, (1200, 2, 2, 1, 1)), g.uniform(1.2, 2.2, (1200, 2, 1, 1))
    i, j = np.mgrid[:14, :14]
    blob = np.exp(-((i - at[:, :, 0]) ** 2 + (j - at[:, :, 1]) ** 2) / (2 * wide**2))
    blob[:, 1] *= g.random((1200, 1, 1)) < 0.5
    height = blob.max(1)
    image = 1.5 * height + 0.25 * g.normal(size=height.shape)
    return cut(rows(((image - image.mean()) / image.std())[:, None], (height > 0.6)[:, None].astype(float)), 960)
