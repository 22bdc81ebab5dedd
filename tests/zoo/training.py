"""What else happens while a model trains: transforms, checkpointing, scripts, hooks and modes of the user."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from tests.zoo.task import Case, Task, of
from tests.zoo.weights import mlp


class Scripted(nn.Module):
    """TorchScript beside eager layers."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.scripted = torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.ReLU()))
            self.traced = torch.jit.trace(nn.Linear(6, 6), torch.zeros(1, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.traced(self.scripted(x))))


class Mapped(nn.Module):
    """vmap over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = mlp(), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.tanh(torch.vmap(self.body)(x)))


class Functional(Task):
    """Losses per row by functional_call under vmap, gradient of the input by torch.func.grad."""

    def compute(self, batch: Any) -> Tensor:
        x, y = batch
        weights = dict(self.net.named_parameters())

        def one(row: Tensor, label: Tensor) -> Tensor:
            return F.cross_entropy(torch.func.functional_call(self.net, weights, (row[None],)), label[None])

        slope = torch.func.vmap(torch.func.grad(one))(x, y)
        return torch.func.vmap(one)(x, y).mean() + slope.square().mean() + super().compute(batch)


class Checkpointed(nn.Module):
    """Activation checkpointing with dropout inside."""

    def __init__(self, *, reentrant: bool, **options: Any) -> None:
        super().__init__()
        self.first, self.body, self.head = nn.Linear(6, 6), mlp(nn.Dropout(0.5)), nn.Linear(3, 3)
        self.options = {"use_reentrant": reentrant, **options}

    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(self.body, self.first(x), **self.options)
        return self.head(F.relu(h))


def keep_products(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> Any:
    """Keep results of every operation that a measurement could use too."""
    from torch.utils.checkpoint import CheckpointPolicy

    kept = ("mm", "addmm", "sum", "dot", "mean", "aminmax", "relu", "where")
    save = any(op.__name__.startswith(name) for name in kept)
    return CheckpointPolicy.MUST_SAVE if save else CheckpointPolicy.PREFER_RECOMPUTE


def selective() -> nn.Module:
    """Checkpointing that keeps some results, recognized by their order."""
    from torch.utils.checkpoint import create_selective_checkpoint_contexts

    return Checkpointed(reentrant=False, context_fn=lambda: create_selective_checkpoint_contexts(keep_products))


class InPlace(nn.Module):
    """Operations that overwrite what a layer returned."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b, self.head = nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu_()
        h = F.relu(self.norm(h), inplace=True)
        h = self.b(h)
        h[:, :2] *= 0.5
        h.add_(x).sigmoid_()
        h = h.chunk(2, 1)[0].repeat(1, 2)
        return self.head(F.dropout(h, 0.2, self.training, inplace=True).tanh_())


class Doubles(TorchFunctionMode):
    """A mode of the user's own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return out * 2 if func is F.relu else out


class Counts(TorchDispatchMode):
    """Counts operations, as profilers do."""

    def __init__(self, tally: list[int]) -> None:
        super().__init__()
        self.tally = tally

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.tally[0] += 1
        return func(*args, **(kwargs or {}))


class OwnModes(Task):
    """The user's function mode and dispatch mode round the forward pass; what they saw is compared too."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.tally = [0]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        with Doubles(), Counts(self.tally):
            loss = self.compute(batch)
        self.seen.append(self.tally[0] + float(loss.detach()))
        return loss


class Act(nn.Module):
    """A functional activation in a module of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class OwnHooks(Task):
    """The user's forward, pre-forward, backward, tensor and gradient hooks; some change what passes through."""

    def __init__(self, net: Any) -> None:
        super().__init__(net)
        net[0].register_forward_hook(lambda m, a, out: out * 1.5)
        net[2].register_forward_pre_hook(lambda m, a: (a[0] + 1,))
        net[2].register_full_backward_hook(lambda m, gi, go: self.seen.append(float(go[0].sum())))
        net[0].weight.register_hook(lambda g: g * 0.5)
        net[0].bias.register_post_accumulate_grad_hook(lambda p: self.seen.append(float(p.grad.sum())))
        net[1].register_forward_hook(self.look)

    def look(self, module: nn.Module, args: Any, out: Tensor) -> None:
        if out.requires_grad:
            out.register_hook(lambda g: g.clamp(-0.1, 0.1))


class Replaced(Task):
    """A layer is swapped for another, of another width, in the middle."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx == 2:
            self.net[0], self.net[2] = nn.Linear(6, 9), nn.Linear(9, 3)  # type: ignore[index,operator]
            self.optimizers().param_groups[0]["params"] = list(self.parameters())  # type: ignore[union-attr]
        return super().training_step(batch, batch_idx)


class Copies(Task):
    """Copies its network in every training step, as meta learning and momentum teachers do."""

    def compute(self, batch: Any) -> Tensor:
        import copy

        clone = copy.deepcopy(self.net)
        target = clone(batch[0]).detach() * 0.9
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in clone.modules())
        return super().compute(batch) + F.mse_loss(self(batch[0]), target)


class Encoder(nn.Module):
    """A frozen pretrained TransformerEncoder in eval mode, with its fused path, and a head."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.frozen, self.head = frozen, nn.Linear(6, 3)
        if frozen:
            self.encoder.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if self.frozen:
            self.encoder.eval()
        return self.head(F.relu(self.encoder(x.view(-1, 2, 3).repeat(1, 1, 2)).mean(1)))


class Teacher(Task):
    """A second network in eval mode under no_grad."""

    def __init__(self) -> None:
        super().__init__(mlp(nn.Dropout(0.2)))
        self.teacher = mlp(nn.BatchNorm1d(6)).eval().requires_grad_(False)

    def compute(self, batch: Any) -> Tensor:
        with torch.no_grad():
            soft = self.teacher(batch[0]).softmax(-1)
        return super().compute(batch) + F.kl_div(self(batch[0]).log_softmax(-1), soft, reduction="batchmean")


class Skips(Task):
    """training_step returns None now and then, a dict otherwise."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if batch_idx == 1 else {"loss": super().training_step(batch, batch_idx), "note": "x"}


def deep(layers: int) -> nn.Module:
    """Many small layers."""
    return nn.Sequential(*(nn.Linear(6, 6) for _ in range(layers)), nn.Linear(6, 3))


CASES = (
    of("torchscript", Scripted, layers=("net.head",)),
    of("vmap", Mapped, layers=("net.head",)),
    Case("torch-func", lambda: Functional(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)))),
    of("checkpoint-reentrant", lambda: Checkpointed(reentrant=True), layers=("net.body.0", "net.head")),
    of("checkpoint", lambda: Checkpointed(reentrant=False), layers=("net.body.0", "net.head")),
    of("checkpoint-selective", selective, layers=("net.body.0", "net.head")),
    of("in-place", InPlace),
    Case("own-modes", lambda: OwnModes(nn.Sequential(nn.Linear(6, 6), Act(), nn.Linear(6, 3)))),
    Case("own-hooks", lambda: OwnHooks(mlp())),
    Case("layer-replaced", lambda: Replaced(mlp())),
    Case("copies-itself", lambda: Copies(mlp(nn.BatchNorm1d(6)))),
    of("frozen-encoder", lambda: Encoder(frozen=True), layers=("net.head",)),
    of("encoder", lambda: Encoder(frozen=False), layers=("net.encoder.layers.0.linear1", "net.head")),
    Case("teacher", Teacher),
    Case("skips-steps", lambda: Skips(mlp())),
    of("100-layers", lambda: deep(100)),
    of("2000-layers", lambda: deep(2000), full=True),
)
