"""Modules of the programs in wiring.py about the graph, the steps and the start."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import mlp
from .wiring_parts import Classifier, Pick

Adam, SGD, RMSprop = torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop


class Listener(Classifier):
    """A GRU over a signal; its last state is brought to length five before the linear head."""

    prefix = "train_"

    def __init__(self, *, numpy: bool) -> None:
        super().__init__()
        self.numpy = numpy
        self.gru, self.out = nn.GRU(1, 10, batch_first=True), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = self.gru(x)[0][:, -1]
        if self.numpy:
            value = state.detach().cpu().numpy()
            value = 5 * value / (np.linalg.norm(value, axis=1, keepdims=True) + 1e-6)
            return self.out(torch.from_numpy(value).to(x.device))
        return self.out(5 * state / (state.norm(dim=1, keepdim=True) + 1e-6))

    def configure_optimizers(self) -> Any:
        return self.annealed(Adam(self.parameters(), lr=1e-2))


class PickOne(Classifier):
    """Picks an element of a sequence by its score and classifies it."""

    def __init__(self, *, hard: bool) -> None:
        super().__init__()
        self.attention, self.head = Pick(9, hard=hard), mlp(9, 32, 5, act=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x))

    def configure_optimizers(self) -> Any:
        return self.annealed(Adam(self.parameters(), lr=5e-3, weight_decay=1e-5))


class TwoTowers(Classifier):
    """A tower for each of two sources of features; their codes are added."""

    def __init__(self, *, overwrite: bool) -> None:
        super().__init__()
        self.overwrite = overwrite
        self.left = nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 16))
        self.right = nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        code = self.left(a)
        code = self.right(b) if self.overwrite else code + self.right(b)
        return self.head(F.silu(code))

    def configure_optimizers(self) -> Any:
        return self.annealed(RMSprop(self.parameters(), lr=4e-3))


class Manual(Classifier):
    """Manual optimization; ``order`` names what happens to the gradients of a step."""

    def __init__(self, net: nn.Module, optimizer: Any, *, order: str = "clear backward step") -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net, self.make, self.order = net, optimizer, order.split()
        self.norms: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        loss = self.compute(batch)
        for do in self.order:
            if do == "clear":
                optimizer.zero_grad()
            elif do == "backward":
                self.manual_backward(loss)
            else:
                optimizer.step()
        self.norms.append(sum(float(p.grad.square().sum()) for p in self.parameters() if p.grad is not None) ** 0.5)
        self.lr_schedulers().step()  # type: ignore[union-attr,call-arg]
        self.log("train_loss", loss.detach())
        self.note(loss)

    def configure_optimizers(self) -> Any:
        return self.annealed(self.make(self.parameters()))


class Renormed(Classifier):
    """A small convolutional network whose BatchNorm is exchanged for GroupNorm, for small batches."""

    def __init__(self, *, freeze: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b, stride in ((1, 8, 1), (8, 8, 2), (8, 8, 2)):
            layers += [nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        if freeze:
            for p in self.parameters():
                p.requires_grad = False
        for name, layer in self.backbone.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                setattr(self.backbone, name, nn.GroupNorm(2, layer.num_features))
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.backbone(x))

    def configure_optimizers(self) -> Any:
        return self.annealed(Adam([p for p in self.parameters() if p.requires_grad], lr=1e-2))


class GRUClassifier(Classifier):
    """A GRU under SGD with momentum."""

    prefix = "train_"

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(8, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x)[1][-1])

    def configure_optimizers(self) -> Any:
        return self.annealed(SGD(self.parameters(), lr=0.2, momentum=0.9))


class GratingNet(Classifier):
    """Three convolutions, the mean over the image, a linear head; the activations stand in forward."""

    def __init__(self, *, activations: bool) -> None:
        super().__init__()
        self.activations = activations
        self.conv1 = nn.Conv2d(1, 8, 5, padding=2)
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(12, 16, 3, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = conv(x)
            if self.activations:
                x = F.relu(x)
        return self.head(x.mean((2, 3)))

    def configure_optimizers(self) -> Any:
        return self.annealed(Adam(self.parameters(), lr=3e-3))


class Tanh(Classifier):
    """A tanh network that starts its own weights."""

    def __init__(self, *, constant: bool) -> None:
        super().__init__()
        self.constant = constant
        self.layers = mlp(64, 48, 32, 10, act=nn.Tanh)
        self.apply(self.start)

    def start(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            if self.constant:
                nn.init.constant_(module.weight, 0.02)
            else:
                nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def configure_optimizers(self) -> Any:
        return self.annealed(SGD(self.parameters(), lr=0.1, momentum=0.9))
