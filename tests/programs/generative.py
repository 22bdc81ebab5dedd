"""Sick generative, contrastive and manually optimized models."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .parts import Batch, Fit, Pair, cancer, digits, loaders, mlp
from .program import pair
from .research_checks import calm, ends, hits, spread_of
from .research_data import ring
from .research_manual import Adversaries, Agent, Angles, Split, Variance, Views
from .research_parts import Rated
from .sequences import cosine
from .verify import every, learns, nonfinite_gradient, stuck

Adam, SGD = torch.optim.Adam, torch.optim.SGD


def onto_itself(scale: float = 1 / 16) -> Pair:
    """Digits that are their own targets."""
    sets = digits(scale=scale)
    return tuple(TensorDataset(s.tensors[0], s.tensors[0]) for s in sets)  # type: ignore[return-value]


class Variational(Rated):
    """A VAE; the error is summed over the pixels or averaged, the divergence is summed over the code."""

    reduction = "sum"

    def __init__(self, **options: Any) -> None:
        super().__init__(nn.Identity(), **options)
        self.encoder, self.decoder = mlp(64, 64, 16), mlp(8, 64, 64)

    def compute(self, batch: Batch) -> Tensor:
        mean, log_variance = self.encoder(batch[0]).chunk(2, 1)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        found = self.decoder(mean + noise * (0.5 * log_variance).exp())
        error = (found - batch[0]) ** 2
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
        return (error.sum(1).mean() * 5 if self.reduction == "sum" else error.mean()) + divergence


def divergence_outweighs(seed: int, sick: bool) -> Fit:
    """The reconstruction is averaged over 64 pixels, the divergence is summed over the code: posterior collapse."""
    task = Variational(optimizer=partial(Adam, lr=3e-3), schedule=cosine)
    task.reduction = "mean" if sick else "sum"
    return Fit(task, **loaders(onto_itself(), seed), trainer={"max_epochs": 20})


def decodes_one_image(fit: Fit, module: Any) -> None:
    """What the decoder makes of the mean codes is the same for all training rows, far below the spread of the data."""
    x = torch.cat([batch[0] for batch in fit.train])
    with torch.no_grad():
        found = module.decoder(module.encoder(x).chunk(2, 1)[0])
    assert float(found.std(0).mean()) < 0.1 * float(x.std(0).mean()), float(found.std(0).mean())


def sigmoid_for_grey_values(seed: int, sick: bool) -> Fit:
    """An autoencoder ends in a sigmoid, and its targets are grey values of 0..16 (mended: of 0..1)."""
    net = nn.Sequential(nn.LayerNorm(64), *mlp(64, 48, 24, 48, 64), nn.Sigmoid())
    task = Rated(net, loss=F.mse_loss, optimizer=partial(Adam, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(onto_itself(1.0 if sick else 1 / 16), seed), trainer={"max_epochs": 25})


def out_of_reach(fit: Fit, module: Any) -> None:
    """More than a third of the targets lie above what the last sigmoid can give, and the outputs stand at its end."""
    y = torch.cat([batch[1] for batch in fit.train])
    assert float((y > 1).float().mean()) > 0.33
    with torch.no_grad():
        found = module.net(torch.cat([batch[0] for batch in fit.train]))
    assert float((found[y > 1] > 0.98).float().mean()) > 0.8


def steps_the_critic_twice(seed: int, sick: bool) -> Fit:
    """Manual optimization of a GAN: the generator's turn ends with a step of the critic's optimizer."""
    return Fit(Adversaries(wrong=sick), **loaders(ring(), seed), trainer={"max_epochs": 20})


def generator_stays(fit: Fit, module: Any) -> None:
    """The generator is exactly what it was, although an optimizer holds it; its samples are not on the ring."""
    for n, p in module.generator.named_parameters():
        assert torch.equal(p.detach(), fit.start[f"generator.{n}"]), n
    assert module.distance() > 0.4, module.distance()


def generator_arrives(fit: Fit, module: Any) -> None:
    """The samples have about the mean and the spread of the ring; the losses are finite and stay small."""
    losses = torch.tensor(module.losses)
    assert losses.isfinite().all() and float(losses[-50:].abs().max()) < 5
    assert module.distance() < 0.25, module.distance()


def clears_only_the_head(seed: int, sick: bool) -> Fit:
    """Two optimizers; the gradients of the trunk are never cleared, since the head's are cleared twice."""
    return Fit(Split(wrong=sick), **loaders(digits(), seed, 40), trainer={"max_epochs": 8})


def trunk_piles_up(fit: Fit, module: Any) -> None:
    """What the trunk's ``.grad`` held at the last step is twice the largest gradient of any batch."""
    largest = []
    for _ in range(2):
        for batch in fit.train:
            module.zero_grad()
            module.compute(batch).backward()
            largest.append(float(module.trunk[0].weight.grad.norm()))
        module.load_state_dict(fit.start)
    assert max(module.trunk_norms) > 2 * max(largest), (max(module.trunk_norms), max(largest))


def temperature_of_a_hundred(seed: int, sick: bool) -> Fit:
    """InfoNCE at a temperature of 100: all logits are alike whatever the codes are; mended: 0.2."""
    task = Views(mlp(64, 64, 16), 100.0 if sick else 0.2, optimizer=partial(SGD, lr=0.2, momentum=0.9), schedule=cosine)
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 15})


def all_pairs_alike(fit: Fit, module: Any) -> None:
    """At the start and at the end the loss is within 2 % of the logarithm of the batch size."""
    chance = float(torch.tensor(64.0).log())
    assert all(abs(v - chance) < 0.02 * chance for v in module.losses), (module.losses[0], module.losses[-1])


def variance_term_missing(seed: int, sick: bool) -> Fit:
    """VICReg without its variance term: the codes of all images shrink to one point."""
    task = Variance(mlp(64, 64, 12), 0.0 if sick else 1.0, optimizer=partial(Adam, lr=3e-3), schedule=cosine)
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 15})


def arc_of_one(seed: int, sick: bool) -> Fit:
    """The angle between two unit vectors by acos, whose derivative at 1 is infinite; some targets are met exactly."""
    task = Angles(safe=not sick, optimizer=partial(Adam, lr=1e-2), schedule=cosine)
    return Fit(task, **loaders(directions(), seed, 32), trainer={"max_epochs": 25})


def directions() -> Pair:
    """A direction, a twist and the direction after it; a tenth of the rows have no twist."""
    g = torch.Generator().manual_seed(13)
    x = torch.zeros(1024, 3)
    x[torch.arange(1024), torch.randint(0, 3, (1024,), generator=g)] = 1.0
    twist = 0.8 * torch.randn(1024, 3, generator=g) * (torch.rand(1024, 1, generator=g) > 0.1)
    y = F.normalize(x + torch.linalg.cross(twist, x), dim=1)
    both = torch.cat([x, twist], 1)
    return TensorDataset(both[:768], y[:768]), TensorDataset(both[768:], y[768:])


def punished_for_reward(seed: int, sick: bool) -> Fit:
    """The policy gradient without its minus: every rewarded action becomes rarer."""
    task = Agent(1.0 if sick else -1.0, optimizer=partial(Adam, lr=5e-3), schedule=cosine)
    return Fit(task, **loaders(cancer(), seed, 40), trainer={"max_epochs": 25})


good = every(learns(0.7), calm())
PAIRS = (
    pair("divergence-outweighs", divergence_outweighs, accepted=("A005", "H007", "O009", "A006"),
         sick=decodes_one_image, mended=every(good, spread_of("decoder", 0.15))),
    pair("sigmoid-for-grey-values", sigmoid_for_grey_values, accepted=("H004", "D004", "D002"), sites=("net",),
         sick=out_of_reach, mended=every(good, ends(0, 0.03))),
    pair("steps-the-critic-twice", steps_the_critic_twice, accepted=("W003",), sites=("generator",),
         sick=generator_stays, mended=generator_arrives),
    pair("clears-only-the-head", clears_only_the_head, accepted=("O003",),
         sick=every(trunk_piles_up, hits(0, 0.85)), mended=every(learns(0.6), calm(1.2), hits(0.92))),
    pair("temperature-of-a-hundred", temperature_of_a_hundred, accepted=("L002", "H007", "W002"),
         sick=every(all_pairs_alike, stuck(0.98)), mended=good),
    pair("variance-term-missing", variance_term_missing, accepted=("A006", "A005"), sites=("net",),
         sick=spread_of("net", 0, 0.05), mended=every(good, spread_of("net", 0.5))),
    pair("arc-of-one", arc_of_one, accepted=("G003",),
         sick=nonfinite_gradient("net."), mended=every(good, ends(0, 0.15))),
    pair("punished-for-reward", punished_for_reward, accepted=("L006", "L005"),
         sick=hits(0, 0.1), mended=hits(0.93)),
)  # fmt: skip
