"""Trainings whose outputs, features or units are not as different as they should be."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Batch, Fit, digits
from .program import Program, pair
from .signal_checks import alike, constant, falls, generalizes, rank, scores, spread
from .signal_parts import Journal, bags, feeds, gratings, houses, tones
from .verify import every


class BagOfWords(Journal):
    """Mean of the word vectors, then a small network; batches are dictionaries."""

    def __init__(self, real_words: bool) -> None:
        super().__init__()
        self.real_words = real_words
        self.embedding = nn.Embedding(60, 16, padding_idx=0)
        self.net = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        mask = (tokens != 0 if self.real_words else tokens == 0).unsqueeze(-1)
        pooled = (self.embedding(tokens) * mask).sum(1) / mask.sum(1).clamp(min=1).sqrt()
        return self.net(pooled).squeeze(-1)

    def compute(self, batch: dict[str, Tensor]) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch["tokens"]), batch["label"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        right = (self(batch["tokens"]) > 0) == (batch["label"] > 0.5)
        self.note_val(self.compute(batch), right.float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def words(seed: int, sick: bool) -> Fit:
    """The mask of the pooling is inverted, so that only the padding is averaged."""
    return Fit(BagOfWords(not sick), **feeds(*bags(), seed), trainer={"max_epochs": 16})


class Block(nn.Module):
    """x + MLP(LayerNorm(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.silu(self.up(self.norm(x))))


class HousePrice(Journal):
    """Residual network for a table; the normalization comes after or before the last layer."""

    def __init__(self, norm_last: bool) -> None:
        super().__init__()
        head = [nn.Linear(32, 1), nn.LayerNorm(1)] if norm_last else [nn.LayerNorm(32), nn.Linear(32, 1)]
        self.model = nn.Sequential(nn.Linear(8, 32), Block(32), Block(32), *head)

    def compute(self, batch: Batch) -> Tensor:
        return F.smooth_l1_loss(self.model(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        r2 = 1 - (self.model(batch[0]) - batch[1]).pow(2).mean() / batch[1].var()
        self.note_val(self.compute(batch), r2, ("val_loss", "val_r2"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=1e-3)


def prices(seed: int, sick: bool) -> Fit:
    """The final LayerNorm was put behind the single output, not before the last layer."""
    return Fit(HousePrice(sick), **feeds(*houses(), seed), trainer={"max_epochs": 15})


class Contrast(Journal):
    """Two noisy views of a digit shall meet; a linear probe reads the digit from the embedding."""

    def __init__(self, negatives: bool) -> None:
        super().__init__()
        self.negatives = negatives
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 64), nn.ReLU()
        )
        self.projector = nn.Linear(64, 32)

        self.probe = nn.Linear(32, 10)

    def embed(self, x: Tensor) -> Tensor:
        return F.normalize(self.projector(self.encoder(x)), dim=1)

    def compute(self, batch: Batch) -> Tensor:
        a, b = (self.embed(batch[0] + 0.3 * torch.randn_like(batch[0])) for _ in range(2))
        read = F.cross_entropy(self.probe(a.detach()), batch[1])
        if not self.negatives:
            return (1 - (a * b).sum(1)).mean() + read
        return F.cross_entropy(a @ b.T / 0.2, torch.arange(len(a))) + read

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        right = self.probe(self.embed(batch[0])).argmax(1) == batch[1]
        self.note_val(self.compute(batch), right.float().mean(), ("val_loss", "probe_acc"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        backbone: Any = [*self.encoder.parameters(), *self.projector.parameters()]
        return torch.optim.Adam([{"params": backbone}, {"params": self.probe.parameters(), "lr": 3e-2}], lr=2e-3)


def views(seed: int, sick: bool) -> Fit:
    """Two views of an image are pulled together and nothing pushes different images apart."""
    train, val = digits(1285, scale=1 / 6, image=True)
    return Fit(Contrast(not sick), **feeds(train, val, seed, 128, 128), trainer={"max_epochs": 16})


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class ToneNet(Journal):
    """Convolutions in time, averaged over time."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        act = ACTIVATIONS.get(activation, nn.Identity)
        self.features = nn.Sequential(
            nn.Conv1d(1, 16, 7), act(), nn.Conv1d(16, 24, 5, stride=2), act(), nn.Conv1d(24, 24, 5), act()
        )
        self.classifier = nn.Linear(24, 5)

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.classifier(self.features(batch[0]).mean(-1)), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        found = self.classifier(self.features(batch[0]).mean(-1)).argmax(1)
        self.note_val(self.compute(batch), (found == batch[1]).float().mean(), ("valid/ce", "valid/accuracy"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.NAdam(self.parameters(), lr=3e-3)


def frequencies(seed: int, sick: bool) -> Fit:
    """The activation's name in the configuration is capitalized, and an unknown name means none."""
    return Fit(ToneNet("GELU" if sick else "gelu"), **feeds(*tones(), seed), trainer={"max_epochs": 9})


class Stripes(Journal):
    """Two convolutions and a pooled head."""

    def __init__(self, box: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3)
        self.conv2 = nn.Conv2d(12, 16, 3)
        self.fc = nn.Linear(16, 4)
        for conv in (self.conv1, self.conv2):
            if box:
                nn.init.constant_(conv.weight, 1 / conv.weight[0].numel())
            else:
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.conv2(F.relu(self.conv1(x)))).mean((2, 3)))

    def compute(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.note_val(self.compute(batch), (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=4e-3)


def stripes(seed: int, sick: bool) -> Fit:
    """Both convolutions start as box blurs, without biases that differ."""
    module = Stripes(sick)
    nn.init.zeros_(module.conv1.bias)  # type: ignore[arg-type]
    return Fit(module, **feeds(*gratings(), seed), trainer={"max_epochs": 10})


PROGRAMS: list[Program] = [
    *pair(
        "inverted-pooling-mask",
        words,
        sick=every(spread("net", high=1e-6), constant("embedding.weight"), scores(high=0.6)),
        mended=every(spread("net", 1.0), scores(0.88), falls(0.5), generalizes()),
        accepted=("A005", "G004", "W003", "L002"),
    ),
    *pair(
        "norm-behind-output",
        prices,
        sick=every(spread("model.4", high=1e-5), scores(high=0.05)),
        mended=every(spread("model.4", 0.7), scores(0.85), falls(0.4), generalizes(1.4)),
        accepted=("A005", "H004", "W003", "L002"),
        sites=("model.4", "model.3", "model"),
    ),
    *pair(
        "nothing-repels",
        views,
        sick=every(rank("projector", high=2.0), scores(high=0.7)),
        mended=every(rank("projector", 6.0), scores(0.85), falls(0.6), generalizes()),
        accepted=("A006", "A005"),
        sites=("projector", "encoder"),
    ),
    *pair(
        "capital-gelu",
        frequencies,
        sick=scores(high=0.5),
        mended=every(scores(0.93), falls(0.4), generalizes()),
        accepted=("A007", "V002"),
        sites=("features", "classifier"),
    ),
    *pair(
        "box-blur-start",
        stripes,
        sick=every(alike("conv1.weight", True), scores(high=0.75)),
        mended=every(alike("conv1.weight", False), scores(0.93), falls(0.3), generalizes()),
        accepted=("W006", "I001"),
        sites=("conv1", "conv2"),
    ),
]
