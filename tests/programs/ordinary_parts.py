"""Data, checks and the common base of the healthy controls in ordinary.py and lookalikes.py."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, TensorDataset

from .parts import Batch, Fit, Pair, digits, split
from .verify import Check

Table = dict[str, Tensor]


class Notes(L.LightningModule):
    """Notes the losses and scores of its steps for the verification."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.val_losses: list[float] = []
        self.val_accuracies: list[float] = []

    def note(self, loss: Tensor, score: Any = None) -> None:
        """Remember one step."""
        if self.trainer.training:
            self.losses.append(float(loss.detach()))
        elif not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            if score is not None:
                self.val_accuracies.append(float(score))

    def down_to(self, optimizer: torch.optim.Optimizer, share: float = 0.0) -> dict[str, Any]:
        """Return the optimizer with a cosine down to ``share`` of its rate at the end."""
        rate, steps = optimizer.param_groups[0]["lr"], int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=share * rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


# -- checks ----------------------------------------------------------------------------------------------


def settled(fit: Fit, module: Any, *, rise: float = 0.05, fall: float = 0.03) -> None:
    """The validation loss neither rose after its minimum (by 5 % of it) nor still fell in the last fifth."""
    losses = np.asarray(module.val_losses)
    n = len(losses)
    assert n >= 5 and np.isfinite(losses).all(), losses
    width, best = max(n // 5, 2), losses.min()
    descent = max(losses[0], module.losses[0]) - best
    end, last = losses[-max(n // 10, 2) :].mean(), losses[-width:].mean()
    before = losses[-2 * width : -width].mean()
    allowed = max(rise * abs(best), 0.005 * descent)
    assert end - best <= allowed, f"rose: best {best:.4g}, end {end:.4g}, allowed {allowed:.3g}"
    assert before - last <= fall * descent, f"still falls: {before:.4g} -> {last:.4g}"


def fitted(tolerance: float) -> Check:
    """The loss of the last training steps is no more than ``tolerance`` (relative) below the validation loss."""

    def check(fit: Fit, module: Any) -> None:
        train, val = np.mean(module.losses[-len(module.losses) // 10 :]), np.mean(module.val_losses[-3:])
        assert val - train <= tolerance * abs(val), f"training {train:.4g}, validation {val:.4g}"

    return check


# -- data ------------------------------------------------------------------------------------------------


class Rows(Dataset[Table]):
    """Rows as dictionaries."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: int) -> Table:
        return {name: column[i] for name, column in self.columns.items()}


class Couples(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Two images and whether they show the same digit; the partner is drawn anew at every look, if ``fixed`` is not."""

    def __init__(self, data: TensorDataset, *, fixed: bool) -> None:
        self.images, self.labels = data.tensors
        self.places = [torch.where(self.labels == k)[0] for k in range(10)]
        self.generator = torch.Generator().manual_seed(0)
        self.fixed = [self.draw(i) for i in range(len(self.labels))] if fixed else None

    def draw(self, i: int) -> int:
        """Return the partner of row ``i``: of its own class in every second case."""
        step = int(torch.randint(-9, 10, (1,), generator=self.generator))
        places = self.places[(int(self.labels[i]) + max(step, 0)) % 10]
        return int(places[int(torch.randint(len(places), (1,), generator=self.generator))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        j = self.fixed[i] if self.fixed else self.draw(i)
        return self.images[i], self.images[j], (self.labels[i] == self.labels[j]).float()


@lru_cache
def enlarged() -> Pair:
    """Digits as three standardized channels of 16x16."""
    sets = []
    for data in digits(image=True):
        x = F.interpolate((data.tensors[0] - 0.3) / 0.38, size=(16, 16), mode="bilinear", align_corners=False)
        sets.append(TensorDataset(x.repeat(1, 3, 1, 1), data.tensors[1]))
    return sets[0], sets[1]


@lru_cache
def shapes(train: int = 640) -> Pair:
    """Noisy 16x16 images with a disc (1) and a square frame (2) before a background (0); the mask is the target."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:16, :16]
    x, y = np.zeros((train + 160, 1, 16, 16)), np.zeros((train + 160, 16, 16), dtype=int)
    for image, mask in zip(x, y, strict=True):
        (a, b), r = rng.uniform(4, 11, 2), rng.uniform(2.5, 4.5)
        mask[(rows - a) ** 2 + (columns - b) ** 2 < r * r] = 1
        (c, d), s = rng.integers(0, 10, 2), rng.integers(4, 7)
        mask[c : c + s, d : d + s] = 2
        image[0] = np.choose(mask, [0.0, 1.0, -1.0]) * rng.uniform(0.6, 1.2) + rng.normal(0, 0.5, (16, 16))
    return split(x, y, train=train)


@lru_cache
def sentences(count: int = 900) -> tuple[list[Batch], list[Batch]]:
    """Sequences of 4 to 14 tokens; the tag of a token depends on itself and on the one before it."""
    rng, found = np.random.default_rng(0), []
    for _ in range(count + 200):
        words = rng.integers(1, 31, rng.integers(4, 15))
        before = np.concatenate([[0], words[:-1]])
        found.append([torch.as_tensor(words), torch.as_tensor(words % 2 + 2 * (before > 15))])
    return found[:count], found[count:]


def padded(batch: list[Batch]) -> Table:
    """Pad words with 0 and tags with -100."""
    words, tags = zip(*batch, strict=True)
    lengths = torch.tensor([len(w) for w in words])
    return {"words": pad_sequence(words, True, 0), "tags": pad_sequence(tags, True, -100), "lengths": lengths}  # type: ignore[arg-type]


@lru_cache
def chain(train: int = 1024, *, length: int = 17, vocabulary: int = 20) -> tuple[TensorDataset, TensorDataset]:
    """Walks over a Markov chain with three successors a state: 0.90 nats a token cannot be known."""
    rng = np.random.default_rng(0)
    successors = np.array([rng.permutation(vocabulary)[:3] for _ in range(vocabulary)])
    x = np.zeros((train + 256, length), dtype=int)
    x[:, 0] = rng.integers(0, vocabulary, len(x))
    for i in range(1, length):
        x[:, i] = successors[x[:, i - 1], rng.choice(3, len(x), p=[0.6, 0.3, 0.1])]
    return TensorDataset(torch.as_tensor(x[:train])), TensorDataset(torch.as_tensor(x[train:]))


@lru_cache
def sales() -> tuple[list[Any], list[Any]]:
    """Tabular rows (category, a set of tags, numbers, target) whose noise depends on a number."""
    rng = np.random.default_rng(0)
    by_category, by_tag, by_number = rng.normal(0, 1, 12), rng.normal(0, 0.5, 30), np.array([0.8, -0.5, 0.3, 0.0])
    rows = []
    for _ in range(2304):
        category, tags = rng.integers(12), rng.choice(30, rng.integers(1, 6), replace=False)
        numbers = rng.normal(0, 1, 4)
        noise = rng.normal() * (0.25 + 0.35 * (numbers[3] > 0))
        target = by_category[category] + by_tag[tags].sum() + numbers @ by_number + noise
        rows.append((category, torch.as_tensor(tags), numbers.astype("float32"), np.float32(target)))
    return rows[:1792], rows[1792:]


def tabular(batch: list[Any]) -> Table:
    """Join rows; the tags lie one after the other, with offsets."""
    category, tags, numbers, target = zip(*batch, strict=True)
    starts = np.cumsum([0, *[len(t) for t in tags[:-1]]])
    return {
        "category": torch.as_tensor(np.array(category)),
        "tags": torch.cat(tags),
        "offsets": torch.as_tensor(starts),
        "numbers": torch.as_tensor(np.stack(numbers)),
        "target": torch.as_tensor(np.array(target)),
    }


@lru_cache
def replay(size: int = 5, count: int = 1536) -> TensorDataset:
    """Transitions of a random walker on a grid: place, action, reward (towards the corner or not), next place."""
    rng = np.random.default_rng(0)
    place, action = rng.integers(0, size, (count, 2)), rng.integers(0, 4, count)
    after = np.clip(place + np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])[action], 0, size - 1)
    reward = np.where(after.sum(1) > place.sum(1), 1.0, -1.0)
    middle = (size - 1) / 2
    columns = [(place - middle) / middle, action, reward, (after - middle) / middle]
    kinds = [torch.float32, torch.int64, torch.float32, torch.float32]
    return TensorDataset(*[torch.as_tensor(c).to(k) for c, k in zip(columns, kinds, strict=True)])


@lru_cache
def communities(size: int = 360) -> tuple[Tensor, Tensor, Tensor]:
    """A graph of three communities: normalized sparse adjacency, noisy features, community of each node."""
    rng = np.random.default_rng(0)
    label = rng.permutation(np.arange(size) % 3)
    linked = np.triu(rng.random((size, size)) < np.where(label[:, None] == label, 0.05, 0.012), 1)
    a = linked + linked.T + np.eye(size)
    a = a / np.sqrt(a.sum(0)[:, None] * a.sum(1))
    x = 0.5 * np.eye(3)[label] @ rng.normal(0, 1, (3, 16)) + rng.normal(0, 1, (size, 16))
    return torch.as_tensor(a).float().to_sparse(), torch.as_tensor(x).float(), torch.as_tensor(label)
