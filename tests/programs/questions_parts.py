"""LightningModules of the questions_*.py programs, each written the way a first script is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Optimize = Callable[[Any], Any]


class Script(L.LightningModule):
    """Forward through a network, a loss function, an optimizer that is made of the parameters; keeps its losses."""

    def __init__(
        self, model: nn.Module, criterion: Callable[..., Tensor], optimize: Optimize, *, log: str = "loss"
    ) -> None:
        super().__init__()
        self.model, self.criterion, self.optimize, self.log_name = model, criterion, optimize, log
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.criterion(self(x), y)
        self.losses.append(loss.item())
        self.log(f"train_{self.log_name}", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        output = self(x)
        self.log(f"val_{self.log_name}", self.criterion(output, y), prog_bar=True)
        if output.ndim == 2 and y.ndim == 1 and output.shape[1] > 1:
            self.log("val_accuracy", (output.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        return self.optimize(self.parameters())


class LastState(nn.Module):
    """A recurrent layer over a series, and a linear layer on its last output."""

    def __init__(self, cell: type[nn.RNNBase], inputs: int, hidden: int, outputs: int, **options: Any) -> None:
        super().__init__()
        self.rnn = cell(inputs, hidden, batch_first=True, **options)  # type: ignore[arg-type]
        self.fc = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x)
        return self.fc(out[:, -1, :])


class TextCNN(nn.Module):
    """Embedding, convolution over the words, maximum over places, linear; ``last`` acts on the scores."""

    def __init__(
        self, words: int, classes: int, *, width: int = 24, last: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        self.fc = nn.Linear(width, classes)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv(self.embed(x).transpose(1, 2))).amax(2)
        scores = self.fc(h)
        return scores if self.last is None else self.last(scores)


class Encoder(nn.Module):
    """Word and place embeddings, ``depth`` post-norm transformer layers, the mean over places, linear."""

    def __init__(self, words: int, classes: int, *, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.tok, self.pos = nn.Embedding(words, width), nn.Embedding(16, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, activation="gelu", batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.tok(x) + self.pos.weight[: x.shape[1]]).mean(1))


class LeNet(nn.Module):
    """Two convolutions with pooling, two linear layers, for 1 x side x side; functional activations."""

    def __init__(self, side: int, classes: int, *, relu_last: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(16 * (side // 4) ** 2, 48), nn.Linear(48, classes)
        self.relu_last = relu_last

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return F.relu(self.fc2(x)) if self.relu_last else self.fc2(x)


def net(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation in between."""
    layers: list[nn.Module] = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])
