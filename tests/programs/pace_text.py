"""Trainings on text and other sequences of symbols."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .pace_parts import LETTERS, Remembering, cut, text, whole
from .parts import Fit


class CharGPT(Remembering):
    """A small decoder-only transformer over characters."""

    def __init__(self, lr: float, width: int = 48, context: int = 32) -> None:
        super().__init__()
        self.lr = lr
        self.tok = nn.Embedding(len(LETTERS), width)
        self.pos = nn.Parameter(torch.randn(context, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, len(LETTERS), bias=False)
        nn.init.normal_(self.tok.weight, std=0.02)
        nn.init.normal_(self.lm_head.weight, std=0.02)

    def forward(self, idx: Tensor) -> Tensor:
        t = idx.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(t)
        h = self.tok(idx) + self.pos[:t]
        for block in self.blocks:
            h = block(h, src_mask=mask, is_causal=True)
        return self.lm_head(self.ln_f(h))  # type: ignore[no-any-return]

    def compute(self, batch: list[Tensor]) -> Tensor:
        logits = self(batch[0][:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), batch[0][:, 1:].flatten())

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train/nll", loss)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log_dict({"val/nll": loss, "val/ppl": loss.exp()})
        self.judge(loss, loss.exp())

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def char_gpt(seed: int, *, sick: bool) -> Fit:
    """The author changed the optimizer from SGD to AdamW and left the learning rate of SGD."""
    chars = text(27 * 1280, 0).view(-1, 27)
    train, val = cut(chars, train=1152)
    module = CharGPT(lr=0.1 if sick else 2e-3)
    return Fit(module, DataLoader(train, 32, shuffle=True, drop_last=True), whole(val), {"max_epochs": 7})


def tagged(count: int, length: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Return sentences and tags: the tag comes of the word's kind and of the kind of the word before."""
    g = torch.Generator().manual_seed(0)
    words = torch.randint(1, vocabulary, (count, length), generator=g)
    kinds = words * 7 % 11 % 3
    before = F.pad(kinds[:, :-1], (1, 0))
    tags = (kinds + 2 * before) % 5
    lengths = torch.randint(length // 2, length + 1, (count, 1), generator=g)
    padded = torch.arange(length) >= lengths
    return words.masked_fill(padded, 0), tags.masked_fill(padded, -100)


class Tagger(Remembering):
    """Embeds words, reads them in both directions, tags each."""

    def __init__(self, warmup: int) -> None:
        super().__init__()
        self.warmup = warmup
        self.embedding = nn.Embedding(60, 32, padding_idx=0)
        self.bilstm = nn.LSTM(32, 32, batch_first=True, bidirectional=True)
        self.hidden2tag = nn.Linear(64, 5)

    def compute(self, batch: list[Tensor]) -> Tensor:
        scores = self.hidden2tag(self.bilstm(self.embedding(batch[0]))[0])
        return F.cross_entropy(scores.transpose(1, 2), batch[1], ignore_index=-100)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.keep(self.compute(batch))
        self.log("loss", loss, prog_bar=True)
        return torch.as_tensor(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        tokens, tags = batch
        guess = self.hidden2tag(self.bilstm(self.embedding(tokens))[0]).argmax(-1)
        accuracy = (guess == tags)[tags != -100].float().mean()
        loss = self.compute(batch)
        self.log("val_loss", loss)
        self.log("val_tag_acc", accuracy)
        self.judge(loss, accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=5e-3, betas=(0.9, 0.98))
        total = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            if step < self.warmup:
                return (step + 1) / self.warmup
            return max(0.02, 1 - (step - self.warmup) / max(total - self.warmup, 1))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def paper_tagger(seed: int, *, sick: bool) -> Fit:
    """The author took the 10000 steps of rising learning rate from a paper for a run of 360 steps."""
    train, val = cut(*tagged(1216, 14, 60), train=960)
    module = Tagger(warmup=10000 if sick else 30)
    return Fit(module, DataLoader(train, 32, shuffle=True), whole(val), {"max_epochs": 12})


class OrderReader(Remembering):
    """A transformer encoder with mean pooling: which words, and which of two marks comes first."""

    def __init__(self, positions: bool, width: int = 32, length: int = 10) -> None:
        super().__init__()
        self.word = nn.Embedding(20, width)
        self.place = nn.Embedding(length, width) if positions else None
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classifier = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.word(x)
        if self.place is not None:
            h = h + self.place(torch.arange(x.shape[1]))
        return self.classifier(self.encoder(h).mean(1))  # type: ignore[no-any-return]

    def compute(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        accuracy = (self(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log_dict({"train_loss": loss, "train_acc": accuracy}, on_step=False, on_epoch=True)
        return self.keep(loss)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        loss, accuracy = self.compute(batch), (self(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log_dict({"val_loss": loss, "val_acc": accuracy})
        self.judge(loss, accuracy)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def ordered(count: int, length: int = 10) -> tuple[Tensor, Tensor]:
    """Return words with the marks 18 and 19 and one of the topics 16 and 17; four classes."""
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 16, (count, length), generator=g)
    places = torch.rand(count, length, generator=g).argsort(1)[:, :3]
    topic = torch.randint(0, 2, (count,), generator=g)
    rows = torch.arange(count)
    x[rows, places[:, 0]], x[rows, places[:, 1]], x[rows, places[:, 2]] = 16 + topic, torch.tensor(18), torch.tensor(19)
    return x, 2 * topic + (places[:, 1] < places[:, 2]).long()


def mark_order(seed: int, *, sick: bool) -> Fit:
    """The author forgot to tell the transformer where in the sentence a word stands."""
    train, val = cut(*ordered(2304), train=2048)
    return Fit(OrderReader(not sick), DataLoader(train, 64, shuffle=True), whole(val), {"max_epochs": 9})
