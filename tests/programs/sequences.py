"""Sick sequence models: transformers, recurrent nets, language models."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Batch, Fit, Pair, Recurrent, digits, loaders, mlp, tokens
from .program import pair
from .research_checks import breaks, calm, ends, hits, mixes, nonfinite_of_finite
from .research_data import cued, grammar, grammar_entropy, recalled, tagged
from .research_parts import Gated, Mingled, Prototypes, Rated, Reader, Speaker, Tagger, Translator, Words
from .verify import every, learns, saturated
from .wiring_checks import frozen, no_gradient

Adam, AdamW = torch.optim.Adam, torch.optim.AdamW


def cosine(optimizer: torch.optim.Optimizer, steps: int, warmup: int = 0) -> torch.optim.lr_scheduler.LRScheduler:
    """A linear warmup and a cosine to zero."""
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps - warmup, 1))
    if not warmup:
        return fall
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, 1.0, warmup)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [warmup])


class Parts(Rated):
    """The submodules of the network are the module's own, as in a script without a ``net``."""

    def __init__(self, net: nn.Module, **options: Any) -> None:
        super().__init__(nn.Identity(), **options)
        for name, child in net.named_children():
            self.add_module(name, child)
        self.run = partial(type(net).forward, self)
        for name, value in vars(net).items():
            if not name.startswith("_") and name != "training":
                setattr(self, name, value)
        for name, value in net.named_parameters(recurse=False):
            setattr(self, name, value)

    def compute(self, batch: Batch) -> Tensor:
        return self.loss(self.run(batch[0]), batch[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.compute(batch)
        self.log("valid/loss", loss, prog_bar=True)
        if not self.trainer.sanity_checking:
            self.val_losses.append(float(loss))
            self.val_accuracies.append(float((self.run(batch[0]).argmax(1) == batch[1]).float().mean()))


def post_norm_without_warmup(seed: int, sick: bool) -> Fit:
    """A post-norm transformer of six blocks under Adam at 0.02 from the first step on; mended: warmup to 0.001."""
    net = Reader(depth=6, first=False)
    plan = None if sick else partial(cosine, warmup=20)
    task = Rated(net, optimizer=partial(Adam, lr=0.02 if sick else 1e-3), schedule=plan)
    return Fit(task, **loaders(cued(), seed), trainer={"max_epochs": 6 if sick else 10})


def padding_mask_inverted(seed: int, sick: bool) -> Fit:
    """The mask says which keys to keep and is given those to drop: a full row has no key left."""
    task = Rated(Reader(depth=1, inverted=sick), optimizer=partial(AdamW, lr=3e-3), schedule=cosine)
    return Fit(task, **loaders(cued(), seed, 32), trainer={"max_epochs": 8})


def detached_context(seed: int, sick: bool) -> Fit:
    """The state that the encoder hands to the decoder is detached, as one does between windows."""
    task = Parts(Translator(detached=sick), optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders(recalled(), seed, 32), trainer={"max_epochs": 15})


def gates_shut(seed: int, sick: bool) -> Fit:
    """The update gates of a recurrent cell start at a bias of -12 (mended: -1): the state never changes."""
    task = Rated(Gated(3, 24, 3, bias=-12.0 if sick else -1.0), optimizer=partial(Adam, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(recalled(), seed, 48), trainer={"max_epochs": 12})


def attends_over_batch(seed: int, sick: bool) -> Fit:
    """nn.MultiheadAttention without batch_first gets (batch, rows, width)."""
    train, val = digits()
    data: Any = [torch.utils.data.TensorDataset(s.tensors[0].reshape(-1, 8, 8), s.tensors[1]) for s in (train, val)]
    task = Rated(Mingled(batch_first=not sick), optimizer=partial(AdamW, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(data, seed), trainer={"max_epochs": 16})


def vectors_left_frozen(seed: int, sick: bool) -> Fit:
    """nn.Embedding.from_pretrained freezes the vectors, which here are random and meant to be learnt."""
    table = 0.5 * torch.randn(40, 3)
    task = Parts(Words(table, freeze=sick), optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders(tokens(), seed), trainer={"max_epochs": 10})


def sees_the_future(seed: int, sick: bool) -> Fit:
    """A language model without the causal mask copies the next token from its input."""
    task = Rated(Speaker(causal=not sick), optimizer=partial(AdamW, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(grammar(), seed, 32), trainer={"max_epochs": 20})


def looks_ahead(fit: Fit, module: Any) -> None:
    """The logits of the first place change with the last token, and the loss is below the entropy of the grammar."""
    x = next(iter(fit.train))[0]
    module.eval()
    with torch.no_grad():
        other = x.clone()
        other[:, -1] = (x[:, -1] + 1) % 16
        assert float((module.net(x)[..., 0] - module.net(other)[..., 0]).abs().max()) > 1e-4
    assert module.val_losses[-1] < 0.7 * grammar_entropy(), f"loss {module.val_losses[-1]:.3f}"


def looks_back(fit: Fit, module: Any) -> None:
    """The validation loss is close to the entropy of the grammar and not below it."""
    floor = grammar_entropy()
    assert 0.93 * floor < module.val_losses[-1] < 1.25 * floor, f"{module.val_losses[-1]:.3f}, entropy {floor:.3f}"


def cells_alike(seed: int, sick: bool) -> Fit:
    """Every weight of an LSTM starts at 0.05 "for reproducibility": 32 copies of one cell."""
    net = Recurrent(nn.LSTM, 3, 32, 3)
    if sick:
        for p in net.cell.parameters():
            nn.init.constant_(p, 0.05)
        nn.init.constant_(net.head.weight, 0.05)
    task = Rated(net, optimizer=partial(Adam, lr=2e-2), schedule=cosine)
    return Fit(task, **loaders(recalled(), seed, 32), trainer={"max_epochs": 20})


def cells_are_copies(fit: Fit, module: Any) -> None:
    """In every gate all 32 rows of the input weights are the same after the training, which moved them."""
    weight = module.net.cell.weight_ih_l0.detach()
    gates = weight.reshape(4, 32, 3)
    assert not torch.equal(weight, fit.start["net.cell.weight_ih_l0"])
    assert float((gates - gates[:, :1]).abs().max()) < 1e-3 * float(weight.abs().max())


def exponentials_in_half(seed: int, sick: bool) -> Fit:
    """exp(32 cos) in float16, whose largest number is 65504, and a division by the sum."""
    net = nn.Sequential(*mlp(64, 32, 12, act=nn.ELU), Prototypes(half=sick))
    task = Rated(net, optimizer=partial(Adam, lr=1e-2), loss=log_likelihood, schedule=cosine)
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 10})


def log_likelihood(p: Tensor, y: Tensor) -> Tensor:
    """Negative log-likelihood of probabilities."""
    return F.nll_loss((p + 1e-7).log(), y)


def unlabelled_rows(seed: int, sick: bool) -> Fit:
    """A batch of which no token is labelled (ignore_index everywhere): the mean over nothing is NaN."""
    train, val = tagged()
    y = train.tensors[1].clone()
    rows = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))[: int(0.75 * len(y))]
    y[rows] = -100
    data: Pair = (torch.utils.data.TensorDataset(train.tensors[0], y), val)
    task = Parts(Tagger(), optimizer=partial(AdamW, lr=5e-3), schedule=cosine)
    if not sick:
        data = (torch.utils.data.TensorDataset(train.tensors[0][y[:, 0] >= 0], y[y[:, 0] >= 0]), val)
    return Fit(task, **loaders(data, seed, 4), trainer={"max_epochs": 3 if sick else 12})


def some_batch_is_empty(fit: Fit, module: Any) -> None:
    """A batch has no label, and its loss is NaN for weights that are finite."""
    losses = [(int((y >= 0).sum()), float(module.loss(torch.zeros(len(x), 3, x.shape[1]), y))) for x, y in fit.train]
    assert any(n == 0 for n, _ in losses) and all((n > 0) == (v == v) for n, v in losses)


good = every(learns(0.6), calm())
PAIRS = (
    pair("post-norm-without-warmup", post_norm_without_warmup, accepted=("O001", "W001"),
         sick=every(ends(1.2), hits(0, 0.6)), mended=every(good, hits(0.9))),
    pair("padding-mask-inverted", padding_mask_inverted, accepted=("A003",), sites=("net.blocks.0.attention",),
         sick=every(breaks, nonfinite_of_finite("net.blocks.0.attention")), mended=every(good, hits(0.9))),
    pair("detached-context", detached_context, accepted=("G004",), sites=("encoder",),
         sick=every(no_gradient("encoder."), ends(0.3)), mended=every(good, hits(0.93))),
    pair("gates-shut", gates_shut, accepted=("A002", "G001", "I001"), sites=("net.gate", "net.open"),
         sick=every(saturated("net.gate", 0.99), hits(0, 0.7)), mended=every(good, hits(0.93))),
    pair("attends-over-batch", attends_over_batch, accepted=("O012",), sites=("net.attention",),
         sick=every(mixes(), hits(0, 0.5)), mended=every(good, hits(0.93), mixes(0, 1e-5))),
    pair("vectors-left-frozen", vectors_left_frozen, accepted=("O008",), sites=("embedding",),
         sick=every(frozen("embedding.", 0.2), hits(0, 0.8)), mended=every(good, hits(0.87))),
    pair("sees-the-future", sees_the_future, accepted=("D009",), sick=looks_ahead, mended=every(looks_back, calm())),
    pair("cells-alike", cells_alike, accepted=("W006",), sites=("net.cell",),
         sick=every(cells_are_copies, hits(0, 0.75)), mended=every(good, hits(0.93))),
    pair("exponentials-in-half", exponentials_in_half, accepted=("A003", "A004"), sites=("net.3",),
         sick=nonfinite_of_finite("net.3"), mended=every(good, hits(0.93))),
    pair("unlabelled-rows", unlabelled_rows, accepted=("L001",),
         sick=every(breaks, some_batch_is_empty), mended=every(good, hits(0.85))),
)  # fmt: skip
