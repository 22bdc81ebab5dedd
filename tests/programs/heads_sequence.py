# mypy: disable-error-code="no-any-return"
"""Programs on sequences."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heads_parts import batches, chain, cosine, tagged, tones, waves
from .parts import Fit, loader


class CharModel(L.LightningModule):
    def __init__(self, vocab_size: int, softmax: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 32)
        self.gru = nn.GRU(32, 64, batch_first=True)
        self.to_vocab = nn.Linear(64, vocab_size)
        self.softmax = softmax

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.gru(self.embedding(x))
        out = self.to_vocab(out)
        return F.softmax(out, dim=2) if self.softmax else out

    def answer(self, batch: Any) -> Tensor:
        return self(batch[0])

    def score(self, batch: Any) -> Tensor:
        return -self.objective(batch)

    def objective(self, batch: Any) -> Tensor:
        return F.cross_entropy(self(batch[0]).transpose(1, 2), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.objective(batch)
        self.log("val/loss", loss)
        self.log("val/perplexity", loss.exp())

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.Adam(self.parameters(), lr=5e-3))


def text_generator(seed: int, sick: bool) -> Fit:
    """The forward of the character model returns probabilities, so that one can sample from it."""
    train, val = chain(20, 16, 2304, 2048)
    module = CharModel(20, softmax=sick)
    return Fit(module, batches(train, seed), loader(val, 256, shuffle=False), {"max_epochs": 10})


class Wave(L.LightningModule):
    def __init__(self, log_probabilities: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(1, 16, 7, padding=3),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(4),
            nn.Flatten(),
        )
        self.fc = nn.Linear(128, 4)
        self.criterion = nn.NLLLoss()
        self.log_probabilities = log_probabilities

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(self.features(x))
        return F.log_softmax(x, dim=1) if self.log_probabilities else x

    def answer(self, batch: Any) -> Tensor:
        return self(batch[0]).exp()

    def score(self, batch: Any) -> Tensor:
        return (self(batch[0]).argmax(1) == batch[1]).float().mean()

    def objective(self, batch: Any) -> Tensor:
        loss: Tensor = self.criterion(self(batch[0]), batch[1])
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.objective(batch))
        self.log("val_acc", self.score(batch), prog_bar=True)

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.NAdam(self.parameters(), lr=3e-3))


def signal_kinds(seed: int, sick: bool) -> Fit:
    """The author of the signal classifier took NLLLoss for "cross-entropy" and gave it the last layer's outputs."""
    train, val = waves()
    return Fit(Wave(not sick), batches(train, seed, 48), loader(val, 384, shuffle=False), {"max_epochs": 10})


class Tagger(L.LightningModule):
    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.twice = twice
        self.words = nn.Embedding(40, 24)
        self.first = nn.Conv1d(24, 48, 3, padding=1)
        self.second = nn.Conv1d(48, 48, 3, padding=1)
        self.norm = nn.LayerNorm(48)
        self.tag = nn.Linear(48, 5)

    def forward(self, words: Tensor) -> Tensor:
        x = torch.tanh(self.first(self.words(words).transpose(1, 2)))
        x = x + torch.tanh(self.second(x))
        return self.tag(self.norm(x.transpose(1, 2)))

    def objective(self, batch: Any) -> Tensor:
        words, tags = batch
        loss = F.cross_entropy(self(words).transpose(1, 2), tags)
        return loss / words.numel() if self.twice else loss

    def score(self, batch: Any) -> Tensor:
        return (self(batch[0]).argmax(-1) == batch[1]).float().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.objective(batch))
        self.log("token_accuracy", self.score(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.SGD(self.parameters(), lr=0.25, momentum=0.9, nesterov=True))


def word_tags(seed: int, sick: bool) -> Fit:
    """The tagger divides the loss of the batch by its number of words, which the mean had done before."""
    train, val = tagged()
    return Fit(Tagger(sick), batches(train, seed, 32), loader(val, 32, shuffle=False), {"max_epochs": 10})


class Forecaster(L.LightningModule):
    def __init__(self, squeeze: bool) -> None:
        super().__init__()
        self.rnn = nn.GRU(1, 40, batch_first=True)
        self.readout = nn.Linear(40, 1)
        self.squeeze = squeeze

    def forward(self, series: Tensor) -> Tensor:
        states, _ = self.rnn(series)
        out = self.readout(states[:, -1])
        return out.squeeze(1) if self.squeeze else out

    def answer(self, batch: Any) -> Tensor:
        return self(batch[0]).reshape(-1)

    def score(self, batch: Any) -> Tensor:
        y = batch[1]
        return 1 - (self.answer(batch) - y).pow(2).mean() / y.var()

    def objective(self, batch: Any) -> Tensor:
        error = self(batch[0]) - batch[1]
        return torch.where(error.abs() < 0.5, error**2, error.abs() - 0.25).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("train_huber", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_huber", self.objective(batch))

    def configure_optimizers(self) -> Any:
        return cosine(self, torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=1e-3))


def next_value(seed: int, sick: bool) -> Fit:
    """The forecaster writes its robust loss by hand and subtracts a row of targets from a column of forecasts."""
    train, val = tones()
    return Fit(Forecaster(not sick), batches(train, seed), loader(val, 384, shuffle=False), {"max_epochs": 12})
