"""Modules of the healthy controls in ordinary.py, first part: images, pairs, tasks, sequences."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from .ordinary_parts import Notes, Table
from .parts import Batch


def stage(inputs: int, outputs: int, stride: int) -> BasicBlock:
    """Return a residual block with a projection where the shape changes."""
    if inputs == outputs:
        return BasicBlock(inputs, outputs)
    project = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return BasicBlock(inputs, outputs, stride, project)


class LitResNet(Notes):
    """A residual network of the usual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 48, 2)
        self.fc = nn.Linear(48, 10)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))

    def _step(self, batch: Batch, stage: str) -> Tensor:
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        accuracy = (logits.argmax(1) == y).float().mean()
        self.log_dict({f"{stage}/loss": loss, f"{stage}/acc": accuracy})
        self.note(loss, accuracy)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, "val")

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4))


class Siamese(Notes):
    """Equal digits near each other, different ones at least a margin apart."""

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin
        self.encoder = nn.Sequential(nn.Linear(64, 96), nn.LeakyReLU(0.1), nn.Linear(96, 16))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        return ((self.encoder(a) - self.encoder(b)).pow(2).sum(1) + 1e-6).sqrt()

    def shared_step(self, batch: Any) -> tuple[Tensor, Tensor]:
        a, b, same = batch
        d = self.distance(a, b)
        loss = (same * d.pow(2) + (1 - same) * F.relu(self.margin - d).pow(2)).mean()
        return loss, ((d < self.margin / 2).float() == same).float().mean()

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        loss, _ = self.shared_step(batch)
        self.log("contrastive", loss, on_step=True, on_epoch=True)
        self.note(loss)
        return {"loss": loss}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, right = self.shared_step(batch)
        self.log("val_contrastive", loss)
        self.log("val_pairs_right", right)
        self.note(loss, right)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.Adam(self.parameters(), lr=3e-3))


class Distilled(Notes):
    """A small student of a frozen teacher: soft answers at a temperature, and the labels."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher.eval().requires_grad_(False)
        self.student = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Hardswish(), nn.Linear(32, 10))
        self.temperature = 3.0

    def train(self, mode: bool = True) -> Distilled:
        super().train(mode)
        self.teacher.eval()
        return self

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        with torch.no_grad():
            wanted = self.teacher(images)
        logits, t = self.student(images), self.temperature
        soft = F.kl_div(F.log_softmax(logits / t, 1), F.softmax(wanted / t, 1), reduction="batchmean") * t * t
        hard = F.cross_entropy(logits, labels)
        loss = 0.7 * soft + 0.3 * hard
        self.log_dict({"loss": loss, "soft": soft, "hard": hard})
        self.note(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, labels = batch
        logits = self.student(images)
        loss = F.cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log_dict({"val_loss": loss, "val_acc": accuracy})
        self.note(loss, accuracy)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.AdamW(self.student.parameters(), lr=1e-2, weight_decay=0.05))


class TwoTasks(Notes):
    """Which digit, and how much ink: two heads on one trunk, the losses added with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.digit_head = nn.Linear(256, 10)
        self.ink_head = nn.Sequential(nn.Linear(256, 16), nn.GELU(), nn.Linear(16, 1))
        self.weights = {"digit": 1.0, "ink": 0.5}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        h = F.gelu(self.conv2(F.gelu(self.conv1(image)))).flatten(1)
        return {"digit": self.digit_head(h), "ink": self.ink_head(h).squeeze(1)}

    def compute(self, batch: Table) -> dict[str, Tensor]:
        out = self(batch["image"])
        parts = {"digit": F.cross_entropy(out["digit"], batch["digit"]), "ink": F.mse_loss(out["ink"], batch["ink"])}
        parts["loss"] = sum((self.weights[k] * v for k, v in parts.items()), torch.zeros(()))
        parts["accuracy"] = (out["digit"].argmax(1) == batch["digit"]).float().mean()
        return parts

    def training_step(self, batch: Table, batch_idx: int) -> Tensor:
        parts = self.compute(batch)
        self.log_dict({f"train_{k}": v for k, v in parts.items()})
        self.note(parts["loss"])
        return parts["loss"]

    def validation_step(self, batch: Table, batch_idx: int) -> None:
        parts = self.compute(batch)
        self.log_dict({f"val_{k}": v for k, v in parts.items()})
        self.note(parts["loss"], parts["accuracy"])

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.05))


class LittleUNet(Notes):
    """Down, up, a skip connection; cross entropy of every pixel; scored by the mean intersection over union."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down = self.double(1, width)
        self.deep = self.double(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.out = nn.Sequential(self.double(2 * width, width), nn.Conv2d(width, 3, 1))
        self.criterion = nn.CrossEntropyLoss()

    @staticmethod
    def double(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        return self.out(torch.cat([fine, self.up(self.deep(F.max_pool2d(fine, 2)))], 1))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.criterion(self(batch[0]), batch[1])
        self.log("train_ce", loss, prog_bar=True)
        self.note(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        scores = self(batch[0])
        loss, found = self.criterion(scores, batch[1]), scores.argmax(1)
        both = [((found == k) & (batch[1] == k)).sum() / ((found == k) | (batch[1] == k)).sum() for k in range(3)]
        self.log_dict({"val_ce": loss, "val_miou": torch.stack(both).mean()})
        self.note(loss, torch.stack(both).mean())
        return loss

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.Adam(self.parameters(), lr=1e-2))


class Tagger(Notes):
    """A bidirectional LSTM that tags every token; padding does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(31, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(48, 4)
        self.loss_fn = nn.CrossEntropyLoss(ignore_index=-100)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(words), lengths.cpu(), True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.projection(states)

    def training_step(self, batch: Table, batch_idx: int) -> Tensor:
        scores = self(batch["words"], batch["lengths"])
        loss = self.loss_fn(scores.flatten(0, 1), batch["tags"].flatten())
        self.log("tag_loss", loss, batch_size=len(scores))
        self.note(loss)
        return loss

    def validation_step(self, batch: Table, batch_idx: int) -> None:
        scores, tags = self(batch["words"], batch["lengths"]), batch["tags"]
        loss = self.loss_fn(scores.flatten(0, 1), tags.flatten())
        right = (scores.argmax(-1) == tags)[tags >= 0].float().mean()
        self.log_dict({"val_tag_loss": loss, "val_tag_accuracy": right}, batch_size=len(scores))
        self.note(loss, right)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.Adam(self.parameters(), lr=1e-2))


class DecoderBlock(nn.Module):
    """Causal attention and a feed-forward network, normalized before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.join(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class LanguageModel(Notes):
    """Predicts the next token; ``tied`` reads the answer off the embedding itself."""

    def __init__(self, vocabulary: int = 20, width: int = 32, *, tied: bool = False, rate: float = 5e-3) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(16, width)
        self.blocks = nn.ModuleList([DecoderBlock(width, 2) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for m in (self.tokens, self.places, self.head):
            nn.init.normal_(m.weight, std=0.1)
        if tied:
            self.head.weight = self.tokens.weight
        self.rate = rate

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def compute(self, batch: Batch) -> Tensor:
        (ids,) = batch
        return F.cross_entropy(self(ids[:, :-1]).transpose(1, 2), ids[:, 1:])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log_dict({"nll": loss, "perplexity": loss.exp()})
        self.note(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_nll", loss)
        self.note(loss)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.AdamW(self.parameters(), lr=self.rate, betas=(0.9, 0.95)))
