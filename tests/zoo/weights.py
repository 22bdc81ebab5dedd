"""Where weights can live and how they can be made."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from tests.zoo.task import Case, Task, of


def mlp(*middle: nn.Module) -> nn.Sequential:
    """Linear, ReLU, what is given, Linear."""
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), *middle, nn.Linear(6, 3))


class Shared(nn.Module):
    """One block and one activation called many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.block, self.act, self.head, self.times = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3), times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = x + self.act(self.block(x))
        return self.head(x)


class Twice(nn.Module):
    """The same module under two names, and an in-place activation between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second, self.act, self.head = self.first, nn.ReLU(inplace=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.second(self.act(self.first(x)))))


class Tied(nn.Module):
    """An embedding whose weight is the decoder's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.decoder = nn.Embedding(3, 6), nn.Linear(6, 3)
        self.decoder.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.embed(x[:, :3].argmax(1)) + x)


class Positive(nn.Module):
    """Weights through an activation: those are no units."""

    def forward(self, w: Tensor) -> Tensor:
        return F.relu(w) + torch.sigmoid(w)


def parametrized() -> nn.Module:
    """Weight norm, spectral norm, a parametrization with activations inside, on bias too."""
    net = mlp(nn.Linear(6, 6, bias=False))
    parametrizations.weight_norm(net[0])
    parametrizations.spectral_norm(net[2])
    parametrize.register_parametrization(net[3], "weight", Positive())
    parametrize.register_parametrization(net[3], "bias", Positive())
    return net


def old_norms() -> nn.Module:
    """The weight and spectral norm of old, by forward pre-hooks."""
    net = mlp(nn.Linear(6, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(net[0])
        nn.utils.spectral_norm(net[2])
    return net


def lazy() -> nn.Module:
    """Weights that know their shape from the first batch on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3))


class LazyTask(Task):
    """A lazy network meets its first batch in the sanity check or here, before the optimizer is made."""

    def setup(self, stage: str) -> None:
        self.net(torch.randn(4, 6))


def frozen(*, all_but_one: bool) -> nn.Module:
    """The first layers do not learn."""
    net = mlp(nn.Linear(6, 6), nn.Dropout(0.2))
    for p in list(net.parameters())[: 4 if all_but_one else 1]:
        p.requires_grad_(False)
    return net


class Outside(Task):
    """Parameters on the LightningModule and in the optimizer, but in no module; one never used."""

    def __init__(self) -> None:
        super().__init__(mlp())
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.unused = nn.Parameter(torch.ones(2))
        self.stray = [torch.zeros(3, requires_grad=True)]

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * self.temperature + self.stray[0]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([*self.parameters(), *self.stray], lr=0.1)


class SparseTask(Task):
    """Sparse gradients of an embedding."""

    def __init__(self) -> None:
        super().__init__(nn.ModuleDict({"embed": nn.EmbeddingBag(6, 4, sparse=True), "head": nn.Linear(4, 3)}))

    def forward(self, x: Tensor) -> Tensor:
        return self.net["head"](self.net["embed"](x.topk(2)[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class NoLayers(Task):
    """Parameters and no module at all."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        del self.net
        self.w = nn.Parameter(torch.randn(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.w)


class NoWeights(Task):
    """Nothing that a loss could reach; the optimizer has a parameter of no use."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x[:, :3]).requires_grad_()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1)


def strange_names() -> nn.Module:
    """Slashes, brackets, unicode, blanks, a name like a call number."""
    net = nn.Sequential()
    for name in ("a/b", "weights[0]", "größe ✓", " ", "x#1", "<b>&'\"", "__len__of", "c:\\d", "per%cent{}"):
        net.add_module(name, nn.Linear(6, 6))
    net.add_module("x", nn.ReLU())
    net.add_module("\n", nn.Linear(6, 3))
    return net


class Sharded(Task):
    """DTensor weights on a mesh of one process."""

    def configure_optimizers(self) -> Any:
        from torch.distributed.tensor import distribute_module, init_device_mesh

        distribute_module(self.net, init_device_mesh("cpu", (1,)))
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def forward(self, x: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        out = self.net(distribute_tensor(x, self.net[0].weight.device_mesh))  # type: ignore[index]
        return out.full_tensor() if isinstance(out, DTensor) else out


@contextmanager
def one_process() -> Iterator[None]:
    """A gloo group of this process alone, without a port."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


class Integers(nn.Module):
    """Integer and quantized buffers beside float weights."""

    def __init__(self) -> None:
        super().__init__()
        self.lin, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", torch.quantize_per_tensor(torch.randn(6), 0.1, 0, torch.qint8))
        self.frozen = nn.Parameter(torch.arange(6), requires_grad=False)
        self.none = nn.Parameter(torch.empty(0, 6))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return self.head(self.lin(x) + self.table.dequantize() + self.frozen) + self.none.sum()


CASES = (
    of("shared", lambda: Shared(4)),
    of("shared-twelve-times", lambda: Shared(12)),
    of("one-module-two-names", Twice),
    of("tied", Tied, layers=("net.embed", "net.decoder")),
    of("parametrized", parametrized, layers=("net.0", "net.2", "net.3")),
    of("old-weight-norm", old_norms, layers=("net.0", "net.2")),
    Case("lazy", lambda: LazyTask(lazy())),
    of("partly-frozen", lambda: frozen(all_but_one=False)),
    of("frozen-but-one", lambda: frozen(all_but_one=True)),
    Case("parameters-outside", Outside),
    Case("sparse-gradients", SparseTask),
    Case("no-layers", NoLayers, layers=()),
    Case("no-weights", lambda: NoWeights(nn.Linear(3, 3).requires_grad_(False)), layers=()),
    of("strange-names", strange_names),
    of("integers", Integers),
    of("batch-norm", lambda: mlp(nn.BatchNorm1d(6), nn.Dropout(0.3))),
    Case("dtensor", lambda: Sharded(mlp()), around=one_process),
)
