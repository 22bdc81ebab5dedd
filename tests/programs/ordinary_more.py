"""Modules of the healthy controls in ordinary.py, second part: generators, agents, graphs, tables, equations."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .ordinary_parts import Notes, Table
from .parts import Batch, mlp


class LeastSquaresGAN(Notes):
    """A generator against a judge with squared errors; manual optimization, both rates fall in the second half."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = mlp(4, 32, 32, 2, act=partial(nn.LeakyReLU, 0.2))
        self.judge = mlp(2, 32, 32, 1, act=nn.SiLU)

    def sample(self, count: int) -> Tensor:
        return self.generator(torch.randn(count, 4, device=self.device))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        real = batch[0]
        of_generator, of_judge = self.optimizers()  # type: ignore[misc]
        self.toggle_optimizer(of_judge)
        fake = self.sample(len(real)).detach()
        judged = 0.5 * (self.judge(real) - 1).pow(2).mean() + 0.5 * self.judge(fake).pow(2).mean()
        of_judge.zero_grad()
        self.manual_backward(judged)
        of_judge.step()
        self.untoggle_optimizer(of_judge)
        self.toggle_optimizer(of_generator)
        fooled = 0.5 * (self.judge(self.sample(len(real))) - 1).pow(2).mean()
        of_generator.zero_grad()
        self.manual_backward(fooled)
        of_generator.step()
        self.untoggle_optimizer(of_generator)
        for scheduler in self.lr_schedulers():  # type: ignore[union-attr]
            scheduler.step()
        self.log_dict({"d_loss": judged, "g_loss": fooled}, prog_bar=True)
        self.note(judged)

    def configure_optimizers(self) -> Any:
        steps, found = int(self.trainer.estimated_stepping_batches), []
        for part, rate in ((self.generator, 1e-3), (self.judge, 5e-3)):
            optimizer = torch.optim.Adam(part.parameters(), lr=rate, betas=(0.5, 0.9))
            falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / steps)))
            found.append({"optimizer": optimizer, "lr_scheduler": falling})
        return tuple(found)


class QLearner(Notes):
    """Q-learning on stored transitions; the target network follows slowly and is never trained itself."""

    def __init__(self, discount: float = 0.8, follow: float = 0.05) -> None:
        super().__init__()
        self.q = nn.Sequential(nn.Linear(2, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 4))
        self.target = copy.deepcopy(self.q).requires_grad_(False)
        self.discount, self.follow = discount, follow

    def forward(self, place: Tensor) -> Tensor:
        return self.q(place)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        place, action, reward, after = batch
        with torch.no_grad():
            wanted = reward + self.discount * self.target(after).max(1).values
        values = self.q(place).gather(1, action[:, None]).squeeze(1)
        loss = F.smooth_l1_loss(values, wanted)
        self.log_dict({"td_loss": loss, "mean_q": values.mean()})
        self.note(loss)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.q.parameters(), strict=True):
                slow.lerp_(fast, self.follow)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.Adam(self.q.parameters(), lr=3e-3), share=0.05)


class Coupling(nn.Module):
    """Moves and stretches one coordinate by what the other one says."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index
        self.net = mlp(1, 32, 32, 2, act=nn.SiLU)
        nn.init.normal_(self.net[-1].weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x[:, self.index, None], x[:, 1 - self.index, None]
        stretch, shift = self.net(kept).chunk(2, 1)
        stretch = 2 * torch.tanh(stretch / 2)
        moved = moved * stretch.exp() + shift
        return torch.cat([kept, moved] if self.index == 0 else [moved, kept], 1), stretch.squeeze(1)


class Flow(Notes):
    """A normalizing flow; its negative log likelihood is that of a density and may be below zero."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Coupling(i % 2) for i in range(depth)])

    def log_prob(self, x: Tensor) -> Tensor:
        volume = torch.zeros(len(x), device=x.device)
        for layer in self.layers:
            x, change = layer(x)
            volume = volume + change
        return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1) + volume

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        nll = -self.log_prob(batch[0]).mean()
        self.log("train_nll", nll)
        self.note(nll)
        return nll

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        nll = -self.log_prob(batch[0]).mean()
        self.log("val_nll", nll)
        self.note(nll)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.Adam(self.parameters(), lr=4e-3))


class GCN(Notes):
    """Two rounds of messages over a sparse graph; a batch holds the numbers of the nodes whose loss counts."""

    def __init__(self, graph: Tensor, features: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.register_buffer("graph", graph, persistent=False)
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("labels", labels, persistent=False)
        self.lin1, self.lin2 = nn.Linear(features.shape[1], 24), nn.Linear(24, 3)

    def forward(self) -> Tensor:
        h = F.elu(torch.sparse.mm(self.graph, self.lin1(self.features)))
        h = F.dropout(h, 0.3, self.training)
        return torch.sparse.mm(self.graph, self.lin2(h))

    def on_step(self, nodes: Tensor, name: str) -> Tensor:
        logits, labels = self()[nodes], self.labels[nodes]
        loss = F.cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log_dict({f"{name}_loss": loss, f"{name}_acc": accuracy}, batch_size=len(nodes))
        self.note(loss, accuracy)
        return loss

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.on_step(batch, "train")

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.on_step(batch, "val")

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.Adam(self.parameters(), lr=1e-2, weight_decay=5e-3))


class QuantileTable(Notes):
    """Embedded categories, bags of tags and numbers; three quantiles by the pinball loss."""

    def __init__(self) -> None:
        super().__init__()
        self.category, self.tags = nn.Embedding(12, 6), nn.EmbeddingBag(30, 6, mode="sum")
        self.deep = nn.Sequential(nn.Linear(16, 48), nn.Mish(), nn.Linear(48, 24), nn.Mish(), nn.Linear(24, 3))
        nn.init.normal_(self.tags.weight, std=0.3)
        self.register_buffer("levels", torch.tensor([0.1, 0.5, 0.9]))

    def forward(self, row: Table) -> Tensor:
        bag = self.tags(row["tags"], row["offsets"])
        return self.deep(torch.cat([self.category(row["category"]), bag, row["numbers"]], 1))

    def pinball(self, row: Table, quantiles: Tensor) -> Tensor:
        error = row["target"][:, None] - quantiles
        return torch.maximum(self.levels * error, (self.levels - 1) * error).mean()

    def training_step(self, batch: Table, batch_idx: int) -> Tensor:
        loss = self.pinball(batch, self(batch))
        self.log("pinball", loss, batch_size=len(batch["target"]))
        self.note(loss)
        return loss

    def validation_step(self, batch: Table, batch_idx: int) -> None:
        quantiles = self(batch)
        loss = self.pinball(batch, quantiles)
        below = (batch["target"][:, None] < quantiles).float().mean(0)
        self.log_dict({"val_pinball": loss, "covered": below[2] - below[0]}, batch_size=len(quantiles))
        self.note(loss, below[2] - below[0])

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.AdamW(self.parameters(), lr=5e-3, weight_decay=0.1))


class SecondOrder(Notes):
    """A small regression under L-BFGS: one batch, many evaluations a step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 1))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = F.mse_loss(self.net(batch[0]), batch[1])
        self.log("mse", loss)
        self.note(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = F.mse_loss(self.net(batch[0]), batch[1])
        self.log("val_mse", loss)
        self.note(loss)

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=1.0, max_iter=8, line_search_fn="strong_wolfe")


class Oscillator(Notes):
    """u'' + 16 u = 0 with u(0) = 1 and u'(0) = 0: the loss is what is left of the equation."""

    def __init__(self, frequency: float = 4.0) -> None:
        super().__init__()
        self.frequency = frequency
        self.u = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))

    def residual(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = t.clone().requires_grad_()
        start = torch.zeros(1, 1, device=t.device, requires_grad=True)
        u, u0 = self.u(2 * t - 1), self.u(2 * start - 1)
        (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), t, create_graph=True)
        (slope0,) = torch.autograd.grad(u0.sum(), start, create_graph=True)
        equation = (bend / self.frequency**2 + u).pow(2).mean()
        return equation, (u0 - 1).pow(2).mean() + (slope0 / self.frequency).pow(2).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        equation, boundary = self.residual(batch[0])
        loss = equation + boundary
        self.log_dict({"loss": loss, "equation": equation, "boundary": boundary})
        self.note(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        t = batch[0]
        error = (self.u(2 * t - 1) - torch.cos(self.frequency * t)).pow(2).mean()
        self.log("val_error", error)
        self.note(error)

    def configure_optimizers(self) -> Any:
        return self.down_to(torch.optim.Adam(self.parameters(), lr=1e-2), share=0.01)
