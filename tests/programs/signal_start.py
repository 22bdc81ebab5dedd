"""Trainings that start from the wrong place."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .parts import Batch, Fit
from .program import Program, pair
from .signal_checks import ends, falls, generalizes, opens, scores
from .signal_parts import Journal, chatter, feeds, tagged
from .verify import every


class TinyLM(Journal):
    """One pre-norm attention block; the embedding is also the output matrix."""

    def __init__(self, std: float | None, width: int = 48) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(40, width), nn.Parameter(0.02 * torch.randn(19, width))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, 40, bias=False)
        self.head.weight = self.embed.weight
        if std is not None:
            nn.init.normal_(self.embed.weight, std=std)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.embed(tokens) + self.place
        mask = torch.ones(19, 19, dtype=torch.bool).triu(1)
        a = self.norm1(h)
        h = h + self.attention(a, a, a, attn_mask=mask, need_weights=False)[0]
        return self.head(self.norm3(h + self.mlp(self.norm2(h))))

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self(batch[0][:, :-1]).flatten(0, 1), batch[0][:, 1:].flatten())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_ppl", loss.detach().exp())
        return self.note_train(loss)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        found = self(batch[0][:, :-1]).argmax(-1)
        self.note_val(self.compute(batch), (found == batch[0][:, 1:]).float().mean(), ("val_loss", "next_token_acc"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.01)


def language(seed: int, sick: bool) -> Fit:
    """The output matrix is tied to an embedding that keeps the library's standard deviation of one."""
    train, val = (TensorDataset(part) for part in chatter())
    return Fit(TinyLM(None if sick else 0.02), **feeds(train, val, seed), trainer={"max_epochs": 9})


class Tagger(Journal):
    """Bidirectional LSTM over words; dictionaries as batches."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Embedding(30, 16)
        self.lstm = nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.tags = nn.Linear(48, 5)
        with torch.no_grad():
            self.tags.bias.copy_(bias)

    def forward(self, words: Tensor) -> Tensor:
        return self.tags(self.lstm(self.vectors(words))[0])

    def compute(self, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(self(batch["words"]).transpose(1, 2), batch["tags"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        found, y = self(batch["words"]).argmax(-1), batch["tags"]
        recall = torch.stack([(found[y == c] == c).float().mean() for c in range(5)]).mean()
        self.note_val(self.compute(batch), recall, ("val_loss", "val_macro_recall"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=4e-3)


def tagging(seed: int, sick: bool) -> Fit:
    """The output bias starts at the tags' shares in percent, where their logarithm belongs."""
    train, val = tagged()
    share = torch.bincount(train.columns["tags"].flatten(), minlength=5) / train.columns["tags"].numel()
    return Fit(Tagger(100 * share if sick else share.log()), **feeds(train, val, seed), trainer={"max_epochs": 12})


PROGRAMS: list[Program] = [
    *pair(
        "tied-loud-embedding",
        language,
        sick=every(opens(10.0, 1e9), ends(1.35, 1e9)),
        mended=every(opens(3.5, 4.0), ends(0.9, 1.27), scores(0.57), falls(0.6), generalizes()),
        accepted=("I001", "I002"),
        sites=("embed", "head"),
    ),
    *pair(
        "percent-for-log",
        tagging,
        sick=every(opens(10.0, 1e9), scores(high=0.7)),
        mended=every(opens(0.8, 1.4), scores(0.95), falls(0.2), generalizes()),
        accepted=("I002", "I001"),
        sites=("tags",),
    ),
]
