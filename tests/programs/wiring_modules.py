"""Modules of the programs in wiring.py, each the way another author writes one."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import he, initialized, mlp
from .wiring_parts import Classifier, FieldEncoder, HandMade, Ledger, Pick

Adam, AdamW, SGD, RMSprop = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop


class GlyphNet(Classifier):
    """A strided CNN with a narrow code and a classifier."""

    def __init__(self, *, head_only: bool) -> None:
        super().__init__()
        self.head_only = head_only
        convs = [nn.Conv2d(1, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 16, 3, 2, 1), nn.GELU()]
        self.encoder = initialized(nn.Sequential(*convs, nn.Flatten(), nn.Linear(64, 8), nn.GELU()), he)
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.encoder(x))

    def configure_optimizers(self) -> Any:
        trained = self.classifier if self.head_only else self
        return self.annealed(AdamW(trained.parameters(), lr=1e-2, weight_decay=1e-3))


class BasketModel(Ledger):
    """Mean of article embeddings, one hidden layer, one logit; rows are dicts."""

    def __init__(self, *, lazy: bool) -> None:
        super().__init__()
        self.embedding = None if lazy else nn.Embedding(60, 6)
        self.head = mlp(6, 24, 1, act=nn.SiLU)
        self.criterion = nn.BCEWithLogitsLoss()

    def forward(self, items: Tensor) -> Tensor:
        if self.embedding is None:
            self.embedding = nn.Embedding(60, 6)
        return self.head(self.embedding(items).mean(1)).squeeze(1)

    def compute(self, batch: Any) -> Tensor:
        return self.criterion(self(batch["items"]), batch["label"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("bce", loss)
        self.note(loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, guess = self.compute(batch), self(batch["items"]) > 0
        accuracy = (guess == (batch["label"] > 0.5)).float().mean()
        self.log_dict({"val_bce": loss, "val_accuracy": accuracy})
        self.note(loss, accuracy)

    def configure_optimizers(self) -> Any:
        return self.annealed(Adam(self.parameters(), lr=1e-2))


class FieldRegressor(Ledger):
    """Embeddings of categorical columns and a number, two hidden layers."""

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        self.encoder = FieldEncoder({"city": 25, "job": 15, "device": 10}, 2, registered=registered)
        self.body = mlp(7, 32, 32, 1, act=nn.ELU)

    def forward(self, row: Any) -> Tensor:
        return self.body(torch.cat([self.encoder(row), row["age"][:, None]], 1))[:, 0]

    def compute(self, batch: Any) -> Tensor:
        return F.mse_loss(self(batch), batch["target"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.compute(batch)
        self.log("train_mse", loss, on_step=False, on_epoch=True)
        self.note(loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_mse", loss)
        self.note(loss)

    def configure_optimizers(self) -> Any:
        return self.annealed(Adam(self.parameters(), lr=1e-2))


class OwnLayers(Classifier):
    """Hidden layers written by hand under a linear head."""

    prefix = "train_"

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        self.hidden = HandMade(64, 32, 12, 12, registered=registered)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))

    def configure_optimizers(self) -> Any:
        return self.annealed(SGD(self.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3))


class Reader(Classifier):
    """An LSTM over the rows of an image; deeper parameters get a smaller rate."""

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.lstm, self.fc = nn.LSTM(8, 24, batch_first=True), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        _, (last, _) = self.lstm(x)
        return self.fc(last[-1])

    def configure_optimizers(self) -> Any:
        groups = [
            {"params": part.parameters(), "lr": 0.015 * (1 // (1 + depth) if self.whole else 1 / (1 + depth))}
            for depth, part in enumerate([self.fc, self.lstm])
        ]
        return self.annealed(AdamW(groups, weight_decay=0.0))


class Delayed(Ledger):
    """A regression that shall also agree, under noise, with a delayed copy of itself."""

    def __init__(self, *, backwards: bool) -> None:
        super().__init__()
        self.backwards = backwards
        self.online = mlp(10, 48, 48, 1, act=nn.GELU)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.online(x).squeeze(1)

    def compute(self, batch: Any) -> Tensor:
        x, y = batch
        return F.smooth_l1_loss(self(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch[0]
        supervised = self.compute(batch)
        agreement = F.mse_loss(self(x + 0.05 * torch.randn_like(x)), self.target(x).squeeze(1))
        self.log_dict({"loss": supervised, "agreement": agreement})
        self.note(supervised)
        return supervised + 0.1 * agreement

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.backwards:
            self.online.load_state_dict(self.target.state_dict())
        elif self.global_step % 10 == 0:
            self.target.load_state_dict(self.online.state_dict())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("val_loss", loss)
        self.note(loss)

    def configure_optimizers(self) -> Any:
        return self.annealed(Adam([p for p in self.parameters() if p.requires_grad], lr=3e-3))


class Averaged(Classifier):
    """A classifier that also keeps a moving average of its weights."""

    def __init__(self, *, overwrite: bool) -> None:
        super().__init__()
        self.overwrite = overwrite
        self.model = mlp(64, 48, 48, 10, norm=nn.LayerNorm, act=nn.GELU)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        for average, weight in zip(self.ema.parameters(), self.model.parameters(), strict=True):
            average.lerp_(weight, 0.001)
            if self.overwrite:
                weight.copy_(average)

    def configure_optimizers(self) -> Any:
        return self.annealed(AdamW(self.model.parameters(), lr=2e-3))


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
        self.attention, self.head = Pick(9, hard=hard), mlp(9, 32, 5)

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
