"""Healthy controls of research: transformers, generative and self-supervised models, agents, graphs, experts."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from .parts import Fit, digits, loader, loaders, mlp, wine
from .program import healthy
from .research_checks import calm, ends, hits, spread_of
from .research_data import cued, graph, linear_targets, ring, spirals, tagged
from .research_modules import (
    Actor,
    BiasTuned,
    Bootstrapped,
    ConvVariational,
    Experts,
    GraphTask,
    Hinge,
    Masked,
    Noised,
    Smoothed,
    Sweep,
)
from .research_parts import Rated, Reader, Tagger
from .sequences import Parts, cosine
from .tuning import pretrained
from .verify import Check, every, learns

Adam, AdamW, SGD = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD


def reads_pre_norm(seed: int) -> Fit:
    """A pre-norm transformer under AdamW with warmup and cosine."""
    task = Rated(Reader(depth=3), optimizer=partial(AdamW, lr=3e-3, weight_decay=0.05), schedule=warmed)
    return Fit(task, **loaders(cued(), seed), trainer={"max_epochs": 10, "gradient_clip_val": 1.0})


def reads_post_norm(seed: int) -> Fit:
    """A post-norm transformer of three blocks with warmup."""
    task = Rated(Reader(depth=3, first=False, width=24), optimizer=partial(Adam, lr=2e-3), schedule=warmed)
    return Fit(task, **loaders(cued(), seed), trainer={"max_epochs": 12})


warmed = partial(cosine, warmup=25)


def sweeps_of_gru(seed: int) -> Fit:
    """A bidirectional GRU of two layers with dropout gives back the clean one of noisy oscillations, step by step."""
    g = torch.Generator().manual_seed(21)
    time = torch.linspace(0, 6, 20) * (0.6 + torch.rand(768, 1, generator=g)) + 6.3 * torch.rand(768, 1, generator=g)
    x, y = time.sin() + 0.3 * torch.randn(768, 20, generator=g), time.sin()
    data = TensorDataset(x[:512, :, None], y[:512, :, None]), TensorDataset(x[512:, :, None], y[512:, :, None])
    task = Sweep(optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders(data, seed, 32), trainer={"max_epochs": 8})


def convolutional_vae(seed: int) -> Fit:
    """A convolutional VAE with a Bernoulli likelihood whose divergence is warmed up."""
    train, val = digits(image=True)
    sets: Any = tuple(TensorDataset(s.tensors[0], s.tensors[0]) for s in (train, val))
    task = ConvVariational(optimizer=partial(Adam, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(sets, seed), trainer={"max_epochs": 14})


def hinge_of_spectral_norm(seed: int) -> Fit:
    """A GAN with the hinge loss, spectral norms in the critic, which is faster, and turns by the batch."""
    return Fit(Hinge(), **loaders(ring(), seed, 32), trainer={"max_epochs": 24})


def noise_by_time(seed: int) -> Fit:
    """Predicts the noise that was added to points of a ring, given the amount."""
    task = Noised(optimizer=partial(Adam, lr=3e-3), schedule=cosine)
    return Fit(task, **loaders(ring(), seed), trainer={"max_epochs": 25})


def own_latent(seed: int) -> Fit:
    """BYOL: a predictor, and a slow copy without gradients as the target."""
    task = Bootstrapped(optimizer=partial(Adam, lr=3e-3), schedule=cosine)
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 15})


def gaussian_actor(seed: int) -> Fit:
    """An actor with a Gaussian policy and a critic; the loss is negative for most of the time."""
    train, val = linear_targets("tails")
    sets: Any = tuple(TensorDataset(s.tensors[0], s.tensors[0][:, :2].sin()) for s in (train, val))
    task = Actor(optimizer=partial(Adam, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(sets, seed), trainer={"max_epochs": 25})


def masked_pixels(seed: int) -> Fit:
    """Predicts the hidden quarter of the pixels from the others."""
    sets: Any = tuple(TensorDataset(s.tensors[0], s.tensors[0]) for s in digits(image=True))
    task = Masked(optimizer=partial(AdamW, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(sets, seed), trainer={"max_epochs": 10})


def communities(seed: int) -> Fit:
    """A graph convolution; the batch is the whole graph, a third of the nodes is labelled for training."""
    _, x, y = graph()
    shown = torch.arange(len(y)) % 9 < 3
    train, val = TensorDataset(x[None], y[None], shown[None]), TensorDataset(x[None], y[None], ~shown[None])
    task = GraphTask(optimizer=partial(Adam, lr=2e-2, weight_decay=5e-3), schedule=cosine)
    return Fit(task, loader(train, 1), loader(val, 1, shuffle=False), {"max_epochs": 80, "log_every_n_steps": 1})


def two_of_six_experts(seed: int) -> Fit:
    """A mixture of six experts of which two answer, with a loss that balances them."""
    task = Experts(optimizer=partial(AdamW, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 15})


def only_biases(seed: int) -> Fit:
    """A network that was trained on the left half of the images is tuned to whole ones by its biases and norms only."""
    train, val = digits()
    left: Any = [TensorDataset(s.tensors[0] * (torch.arange(64) % 8 < 5), s.tensors[1]) for s in (train, val)]
    net = pretrained(mlp(64, 64, 64, 10, norm=nn.LayerNorm), left)
    task = BiasTuned(net, optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders((train, val), seed), trainer={"max_epochs": 10})


def one_fold(seed: int) -> Fit:
    """A fold of five: a short fit of a small network on 128 wines."""
    task = Rated(mlp(13, 16, 3, act=nn.Tanh), optimizer=partial(Adam, lr=2e-2), schedule=cosine)
    return Fit(task, **loaders(wine(), seed, 16), trainer={"max_epochs": 15, "log_every_n_steps": 4})


def accumulates_four(seed: int) -> Fit:
    """Batches of sixteen, four of them accumulated."""
    task = Rated(mlp(64, 48, 10, act=nn.GELU), optimizer=partial(AdamW, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders(digits(), seed, 16), trainer={"max_epochs": 8, "accumulate_grad_batches": 4})


def averaged_by_swa(seed: int) -> Fit:
    """SGD, then an average of the weights of the last epochs by Lightning's own callback."""
    task = Smoothed(mlp(64, 48, 48, 10, act=nn.Mish), optimizer=partial(SGD, lr=0.1, momentum=0.9))
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 16})


def triangles(seed: int) -> Fit:
    """A cyclic rate whose triangles get lower."""
    plan = torch.optim.lr_scheduler.CyclicLR
    task = Rated(mlp(2, 48, 48, 3, act=nn.SiLU), optimizer=partial(SGD, lr=0.01, momentum=0.9),
                 schedule=lambda o, n: plan(o, 5e-3, 0.3, step_size_up=n // 8, mode="triangular2"))  # fmt: skip
    return Fit(task, **loaders(spirals(), seed, 32), trainer={"max_epochs": 40})


def tags_in_eights(seed: int) -> Fit:
    """Tags of tokens by an embedding and a convolution, small batches, Nesterov momentum."""
    task = Parts(Tagger(), optimizer=partial(SGD, lr=0.2, momentum=0.9, nesterov=True), schedule=cosine)
    return Fit(task, **loaders(tagged(), seed, 32), trainer={"max_epochs": 15})


good = every(learns(0.6), calm())
fair: Check = every(learns(0.9), calm())
HEALTHY = (
    healthy("reads-pre-norm", reads_pre_norm, every(good, hits(0.9))),
    healthy("reads-post-norm", reads_post_norm, every(good, hits(0.9))),
    healthy("sweeps-of-gru", sweeps_of_gru, every(good, ends(0, 0.05))),
    healthy("convolutional-vae", convolutional_vae, every(learns(0.8), calm())),
    healthy("hinge-of-spectral-norm", hinge_of_spectral_norm, ends(0, 0.35)),
    healthy("noise-by-time", noise_by_time, every(learns(0.8), calm(flat=0.15))),
    healthy("own-latent", own_latent, every(learns(0.6), spread_of("net", 0.05), hits(0.85))),
    healthy("gaussian-actor", gaussian_actor, ends(0, 0.1)),
    healthy("masked-pixels", masked_pixels, every(good, ends(0, 0.05))),
    healthy("communities", communities, every(good, hits(0.85))),
    healthy("two-of-six-experts", two_of_six_experts, every(good, hits(0.93))),
    healthy("only-biases", only_biases, every(calm(), hits(0.85))),
    healthy("one-fold", one_fold, every(good, hits(0.93))),
    healthy("accumulates-four", accumulates_four, every(good, hits(0.93))),
    healthy("averaged-by-swa", averaged_by_swa, every(good, hits(0.93))),
    healthy("triangles", triangles, every(good, hits(0.9))),
    healthy("tags-in-eights", tags_in_eights, every(good, hits(0.95))),
)
