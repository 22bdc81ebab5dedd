"""One small model of each kind that an initialization must know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Two residual blocks with functional activations, in-place sums and a projection on the way past."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1, self.norm1 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv3, self.norm3 = nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv4, self.norm4 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.past = nn.Conv2d(8, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        y += x
        x = F.relu_(y)
        x = F.relu(self.norm4(self.conv4(F.relu(self.norm3(self.conv3(x))))) + self.past(x))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class Recurrent(nn.Module):
    """Words to classes by an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8, padding_idx=0)
        self.lstm = nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(self.words(x))[0][:, -1])
        return out


class Transformer(nn.Module):
    """A small language model whose output shares the weights of its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(self.words(x)))
        return out


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3, groups=8), nn.SiLU(),
        nn.ConvTranspose2d(8, 4, 4, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5),
    )  # fmt: skip


def _cnn() -> nn.Module:
    model = cnn()
    model(torch.zeros(2, 3, 16, 16))  # gives the lazy layer its shape
    return model


def _images() -> Tensor:
    return torch.randn(8, 3, 16, 16)


def _words() -> Tensor:
    return torch.randint(1, 20, (8, 6))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "mlp": (mlp, lambda: torch.randn(64, 6)),
    "cnn": (_cnn, _images),
    "residual": (Residual, _images),
    "lstm": (Recurrent, _words),
    "transformer": (Transformer, _words),
}
