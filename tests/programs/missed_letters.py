"""Models of letters: some see what they are asked for, others may look to both sides."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .missed_parts import Graded, Kept, cut, fitted, rows
from .parts import Fit, Pair, loader


@lru_cache
def chain(order: int, kinds: int, length: int, count: int = 2560) -> tuple[Tensor, float]:
    """Return letters, each of which depends on the ``order`` ones before it, and the loss that this allows."""
    rng = np.random.default_rng(5)
    table = rng.dirichlet(np.full(kinds, 0.12), size=kinds**order)
    x = rng.integers(0, kinds, (count, length))
    context = [x[:, i] for i in range(order)]
    for i in range(order, length):
        state = sum(c * kinds**k for k, c in enumerate(context))
        x[:, i] = np.minimum((table[state].cumsum(-1) < rng.random((count, 1))).sum(1), kinds - 1)
        context = [*context[1:], x[:, i]]
    entropy = -(table * np.log(table + 1e-300)).sum(1)
    states = sum(x[:, order + k : length - order + k] * kinds**k for k in range(order))
    return torch.as_tensor(x), float(entropy[states].mean())


class Attention(nn.Module):
    """Self-attention by hand."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)
        if self.causal:
            scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -1e9)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class LetterModel(Kept):
    """Predicts every letter of a row of letters after the first; a batch is the rows."""

    def __init__(self, body: nn.Module, kinds: int, length: int, width: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.letters, self.places = nn.Embedding(kinds, width), nn.Embedding(length, width)
        self.body, self.norm, self.head = body, nn.LayerNorm(width), nn.Linear(width, kinds)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.letters(ids) + self.places(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.body(x)))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        self.put("train_loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        loss = F.cross_entropy(self(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        self.put("val_loss", loss)
        self.put("val_perplexity", loss.exp())

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.AdamW(self.parameters(), lr=self.rate, weight_decay=0.01), warm=20)


def rows_of(ids: Tensor, seed: int, train: int = 2048, batch: int = 64) -> dict[str, DataLoader[Any]]:
    """Return loaders whose batches are one tensor of letters."""
    return {"train": loader(ids[:train], batch, seed=seed), "val": loader(ids[train:], 512, shuffle=False)}


def unmasked(seed: int, sick: bool) -> Fit:
    """The attention of the language model is written by hand, and the mask of what is to come is forgotten."""
    body = nn.Sequential(Block(32, 4, not sick), Block(32, 4, not sick))
    module = LetterModel(body, 8, 16, 32, 4e-3)
    return Fit(module, **rows_of(chain(2, 8, 17)[0], seed), trainer={"max_epochs": 8})


class Encoder(nn.Module):
    """An encoder as it comes, with or without a mask."""

    def __init__(self, width: int, length: int, causal: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        self.register_buffer("mask", mask if causal else None)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x, mask=self.mask)


def peeking(seed: int, sick: bool) -> Fit:
    """The encoder of the library is called without the mask that makes a language model of it."""
    module = LetterModel(Encoder(32, 15, not sick), 16, 15, 32, 4e-3)
    return Fit(module, **rows_of(chain(1, 16, 16)[0], seed), trainer={"max_epochs": 8})


class Reader(Graded):
    """Predicts the letter after each letter, which come as two tensors."""

    names: ClassVar[tuple[str, str, str]] = ("loss", "val_loss", "val_next_letter")

    def __init__(self, both_ways: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, 24)
        self.lstm = nn.LSTM(24, 40, batch_first=True, bidirectional=both_ways)
        self.out = nn.Linear(80 if both_ways else 40, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(self.embed(x))[0])

    def objective(self, out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out.transpose(1, 2), y)

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.Adam(self.parameters(), lr=1e-2))


def both_ways(seed: int, sick: bool) -> Fit:
    """The LSTM that is to say the next letter reads the letters from both ends."""
    x = chain(1, 16, 16)[0]
    return fitted(Reader(sick), cut([x[:, :-1], x[:, 1:]], 2048), seed, 64, max_epochs=8)


@lru_cache
def kinds_of_words() -> Pair:
    """Words and their kinds, which the words before and after decide."""
    rng = np.random.default_rng(8)
    x = rng.integers(0, 12, (2048, 14))
    before, after = np.pad(x[:, :-1], ((0, 0), (1, 0))), np.pad(x[:, 1:], ((0, 0), (0, 1)))
    return cut(rows(x, np.where(before < 4, (x + 1) % 3, np.where(after > 8, (x + 2) % 3, x % 3))), 1664)


class SentenceTagger(Graded):
    names: ClassVar[tuple[str, str, str]] = ("train_loss", "val_loss", "val_tag_acc")

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 24)
        self.lstm = nn.LSTM(24, 24, batch_first=True, bidirectional=True)
        self.attend = nn.MultiheadAttention(48, 4, batch_first=True)
        self.norm, self.tag = nn.LayerNorm(48), nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.lstm(self.words(x))[0]
        return self.tag(self.norm(h + self.attend(h, h, h, need_weights=False)[0]))

    def objective(self, out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out.transpose(1, 2), y)

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.Adam(self.parameters(), lr=6e-3))


def tagger(seed: int) -> Fit:
    """A tagger reads the whole sentence, to both sides, and names the kind of each of its words."""
    return fitted(SentenceTagger(), kinds_of_words(), seed, 64, max_epochs=8)


class Blanks(Kept):
    """Fills in letters that were blanked; the loss is on the blanks only."""

    def __init__(self, kinds: int, length: int) -> None:
        super().__init__()
        self.blank = kinds
        self.letters, self.places = nn.Embedding(kinds + 1, 32), nn.Embedding(length, 32)
        self.body = nn.Sequential(Block(32, 4, False), Block(32, 4, False))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, kinds)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.body(self.letters(ids) + self.places(torch.arange(ids.shape[1])))))

    def filled(self, ids: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        out, y = self(ids.masked_fill(hidden, self.blank))[hidden], ids[hidden]
        return F.cross_entropy(out, y), (out.argmax(-1) == y).float().mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss, _ = self.filled(batch, torch.rand(batch.shape) < 0.25)
        self.put("mlm_loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        generator = torch.Generator().manual_seed(0)
        loss, hits = self.filled(batch, torch.rand(batch.shape, generator=generator) < 0.25)
        self.put("val_mlm_loss", loss)
        self.put("val_filled", hits)

    def configure_optimizers(self) -> Any:
        return self.cosine(torch.optim.AdamW(self.parameters(), lr=8e-3, weight_decay=0.01), warm=20)


def blanks(seed: int) -> Fit:
    """An encoder without a mask fills in the letters that are blanked in its input."""
    return Fit(Blanks(8, 16), **rows_of(chain(1, 8, 16)[0], seed, batch=32), trainer={"max_epochs": 6})
