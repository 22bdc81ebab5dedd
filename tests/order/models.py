"""Small models of the forms that order and surgery must tell apart."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Functional(nn.Module):
    """Activations that are functions; no module but the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.fc1, self.fc2 = nn.Linear(32, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(self.conv2(x), 2).relu_()
        return torch.log_softmax(self.fc2(torch.tanh(self.fc1(x.flatten(1)))), -1)


class Residual(nn.Module):
    """Two blocks of the plain kind, one rectifier used again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a1, self.a2 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.b1, self.b2 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.relu(self.a2(self.relu(self.a1(x))) + x)
        out = self.b2(self.relu(self.b1(x)))
        out += x
        return self.head(self.relu(out).mean((2, 3)))


class Transformer(nn.Module):
    """Attention written by hand, pre-norm, over tokens."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embed, self.norm1, self.norm2 = nn.Linear(5, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down, self.head = nn.Linear(width, 16), nn.Linear(16, width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        q, k, v = self.qkv(self.norm1(h)).chunk(3, -1)
        h = h + self.out(torch.softmax(q @ k.transpose(1, 2) / 3, -1) @ v)
        h = h + self.down(F.gelu(self.up(self.norm2(h))))
        return self.head(h.mean(1))


class Unet(nn.Module):
    """One level down and up, a skip by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.join = nn.ConvTranspose2d(16, 8, 2, stride=2), nn.Conv2d(16, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.down(x))
        b = F.relu(self.middle(F.max_pool2d(a, 2)))
        return self.head(F.relu(self.join(torch.cat([a, F.relu(self.up(b))], 1))))


class Recurrent(nn.Module):
    """A recurrent net with layers before and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.lstm = nn.Linear(5, 8), nn.LSTM(8, 8, batch_first=True)
        self.after, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(torch.tanh(self.before(x)))
        return self.head(torch.relu(self.after(out[:, -1])))


class Cell(nn.Module):
    """A recurrent cell written by hand, unrolled in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.inner, self.head = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.inward(x[:, 0]))
        for t in range(1, 3):
            h = torch.tanh(self.inward(x[:, t]) + self.inner(h))
        return self.head(h)


class Branching(nn.Module):
    """Control flow that depends on data: torch.fx cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.other, self.head = (nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.fc1(x))
        h = F.silu(self.fc2(h)) if h.sum() >= 0 else self.other(h)
        return self.head(h)


class Untraceable(nn.Module):
    """Asks its data for values, keeps a count, returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.head, self.calls = nn.Linear(5, 8), nn.Linear(8, 4), 0
        self.seen: list[float] = []
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> dict[str, Any]:
        self.calls += 1
        self.seen.append(float(x.mean()))
        self.mean.mul_(0.9).add_(0.1 * x.mean())
        h = torch.relu(self.fc1(x))
        return {"logits": self.head(h), "calls": self.calls}


class Gated(nn.Module):
    """Squeeze-and-excitation in a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.Sigmoid()
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x * torch.sigmoid(x)
        scale = self.act(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head((x * scale).mean((2, 3)))


IMAGES, TOKENS, ROWS = (4, 3, 8, 8), (4, 6, 5), (4, 5)
