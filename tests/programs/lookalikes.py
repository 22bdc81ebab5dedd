"""Healthy controls that look like a fault at first sight, and have none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from .lookalikes_modules import (
    Adapted,
    Adapters,
    Brier,
    Classifier,
    Logistic,
    LogProbabilities,
    MobileNet,
    RandomFeatures,
    Shares,
    TwoHeads,
)  # fmt: skip
from .lookalikes_more import (
    Averaged,
    Clipped,
    Online,
    Prices,
    RateOfOne,
    Regressor,
    Restarts,
    SmallBatches,
    Stream,
    Summed,
)  # fmt: skip
from .ordinary_parts import chain, settled
from .parts import Fit, Pair, Task, cancer, cnn, digits, loaders, mlp, split, wine
from .program import healthy
from .verify import Check, every, learns, weights_of_start


def simple(
    kind: Callable[[], Any], data: Callable[[], Any], *, epochs: int, batch: int = 64, **trainer: Any
) -> Callable[[int], Fit]:
    """Return a builder of a module on a data set."""

    def build(seed: int) -> Fit:
        return Fit(kind(), **loaders(data(), seed, batch), trainer={"max_epochs": epochs, **trainer})

    return build


# -- data ------------------------------------------------------------------------------------------------


def malign() -> Pair:
    """Breast cancer with a column of targets 0 and 1."""
    return tuple(TensorDataset(s.tensors[0], s.tensors[1].float()[:, None]) for s in cancer())  # type: ignore[return-value]


def rows(*, moved: int = 0) -> Pair:
    """Digits as eight rows of eight; flat where they are moved to the side."""
    sets = []
    for s in digits():
        x = s.tensors[0].reshape(-1, 8, 8)
        sets.append(TensorDataset(x.roll(moved, 2).flatten(1) if moved else x, s.tensors[1]))
    return sets[0], sets[1]


def few_images() -> Pair:
    """Half of the training images."""
    train, val = digits(image=True)
    return TensorDataset(*(t[:640] for t in train.tensors)), val


def centred() -> Pair:
    """Digits round zero."""
    return tuple(TensorDataset((s.tensors[0] - 0.3) / 0.38, s.tensors[1]) for s in digits())  # type: ignore[return-value]


def generated(target: Callable[[Any, Any], Any], features: int, *, train: int = 1280) -> Pair:
    """Normal features and a target made of them (and of a random generator)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(train + 512, features))
    return split(x, target(x, rng)[:, None], train=train, kind=torch.float32)


def answers(x: Any, rng: Any) -> Any:
    return rng.binomial(5, 1 / (1 + np.exp(-1.5 * x[:, 0] - x[:, 1] * x[:, 2]))) / 5


def brightness(x: Any, rng: Any) -> Any:
    return 1 / (1 + np.exp(-x[:, 0] + 0.7 * np.tanh(x[:, 1])))


def visitors(x: Any, rng: Any) -> Any:
    return rng.poisson(np.maximum(2.0 + 1.5 * x[:, 0] - x[:, 1] + 0.5 * x[:, 2], 0))


def worth(x: Any, rng: Any) -> Any:
    return 3000 + 500 * x[:, 0] - 300 * x[:, 1] + 300 * np.sin(2 * x[:, 2]) + 150 * rng.normal(size=len(x))


# -- builders --------------------------------------------------------------------------------------------


def adapters(seed: int) -> Fit:
    """A network trained on digits in the middle, frozen; thin adapters teach it those moved to the side."""
    net = mlp(64, 96, 96, 10, act=nn.GELU)
    x, y = digits()[0].tensors
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(100):
        part = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        F.cross_entropy(net(x[part]), y[part], label_smoothing=0.1).backward()
        optimizer.step()
    adapted = nn.Sequential(*[Adapted(m) if isinstance(m, nn.Linear) else m for m in net])
    return simple(lambda: Adapters(adapted), partial(rows, moved=1), epochs=10)(seed)


def kept_head(seed: int) -> Fit:
    """A body that learnt even and odd first; the head of that time stays, frozen and unused."""
    module = TwoHeads()
    module.pretrain(*rows()[0].tensors)
    return simple(lambda: module, rows, epochs=10)(seed)


def rectified() -> Any:
    """Counts cannot be negative, and neither can a ReLU; the bias starts at the mean count."""
    net = nn.Sequential(*mlp(6, 32, 1, act=nn.LeakyReLU), nn.ReLU())
    nn.init.constant_(net[2].bias, 2.2)  # type: ignore[arg-type]
    return Regressor(net, nn.MSELoss())


def at_rest() -> Any:
    """A sigmoid output for targets between 0 and 1; Adam at 1e-2; the loss rests near zero."""
    module = Regressor(nn.Sequential(*mlp(3, 32, 1, act=nn.Tanh), nn.Sigmoid()), nn.MSELoss())
    module.rate = 1e-2
    return module


def stream(seed: int) -> Fit:
    """Every batch is new; nothing to shuffle."""
    val = next(iter(Stream(99, 4096)))
    trainer = {"max_steps": 400, "val_check_interval": 40, "limit_train_batches": 400, "max_epochs": 1}
    held = DataLoader(TensorDataset(*val), 4096)
    return Fit(Online(), DataLoader(Stream(seed), batch_size=None), held, trainer=trainer)


def prices() -> Any:
    y = generated(worth, 5)[0].tensors[1]
    return Prices(float(y.mean()), float(y.std()))


def smoke(seed: int) -> Fit:
    """Twelve steps, to see whether it runs."""
    module = Task(mlp(64, 64, 10, act=nn.GELU), optimizer=partial(torch.optim.Adam, lr=1e-2))
    return simple(lambda: module, centred, epochs=1, max_steps=12, limit_train_batches=12)(seed)


def fresh_norm() -> Any:
    """BatchNorm on the raw features does what standardizing would."""
    return Classifier(nn.Sequential(nn.BatchNorm1d(30), nn.Linear(30, 16), nn.GELU(), nn.Linear(16, 2)))


def of_eight() -> Any:
    """Eight images a batch, but 512 places in every channel."""
    return SmallBatches(cnn(norm=True, width=8))


def normalized() -> Any:
    """Convolutions with BatchNorm, and means over the image."""
    layers: list[nn.Module] = []
    for a, b in ((1, 12), (12, 16), (16, 24)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if b == 16 else []
    return RateOfOne(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 10)))


# -- checks of their own ---------------------------------------------------------------------------------


def scores(value: float) -> Check:
    """The last validation score is at least this."""

    def check(fit: Fit, module: Any) -> None:
        assert module.val_accuracies[-1] >= value, f"score {module.val_accuracies[-1]:.4f}"

    return check


def floor(value: float, tolerance: float) -> Check:
    """The validation loss comes to the irreducible loss, within a tolerance (relative)."""

    def check(fit: Fit, module: Any) -> None:
        end = float(np.mean(module.val_losses[-2:]))
        assert abs(end - value) <= tolerance * value, f"{end:.4g}, irreducible {value}"

    return check


def keeps(*names: str) -> Check:
    """The parameters with these prefixes are frozen and as they were, all others moved."""

    def check(fit: Fit, module: Any) -> None:
        for name, p in module.named_parameters():
            frozen = name.startswith(names)
            assert p.requires_grad != frozen, name
            assert torch.equal(p.detach(), fit.start[name]) == frozen, name

    return check


def taught_by(low: float) -> Check:
    """Before the training the network's accuracy on the validation set is below ``low``."""

    def check(fit: Fit, module: Any) -> None:
        assert fit.val is not None
        x, y = next(iter(fit.val))
        with weights_of_start(fit, module), torch.no_grad():
            found: Tensor = module.eval()(x).argmax(1)
        assert (found == y).float().mean() < low

    return check


def often_clipped(fit: Fit, module: Any) -> None:
    """The norm was above 1 in a good part of the steps, and never far above."""
    norms = np.asarray(module.norms)
    assert (norms > 1).mean() > 0.25 and np.median(norms) > 0.6, f"{(norms > 1).mean():.2f}, {np.median(norms):.2f}"
    assert module.val_losses[-1] < 1.06, module.val_losses[-1]


def easier_in_validation(fit: Fit, module: Any) -> None:
    """Dropout makes the training loss the larger one, to the end."""
    train, val = np.mean(module.losses[-40:]), module.val_losses[-1]
    assert val < 0.95 * train, f"training {train:.3g}, validation {val:.3g}"


good = every(learns(0.4, accuracy=0.93), settled)
HEALTHY = (
    healthy("logistic-regression", simple(lambda: Logistic(nn.Linear(30, 1), nn.BCEWithLogitsLoss()), malign,
            epochs=15, batch=32), good),
    healthy("low-rank-adapters", adapters, every(good, keeps("model.0.base", "model.2.base", "model.4.base"),
            taught_by(0.7))),
    healthy("inverted-residuals", simple(MobileNet, partial(digits, image=True), epochs=7), good),
    healthy("random-features", simple(RandomFeatures, centred, epochs=12), every(good, keeps("projection"))),
    healthy("kept-head", kept_head, every(good, keeps("parity_head"))),
    healthy("log-probabilities", simple(LogProbabilities, centred, epochs=10), good),
    healthy("annotator-shares", simple(Shares, partial(generated, answers, 4), epochs=15),
            every(learns(0.9), scores(0.5), settled)),
    healthy("brier-score", simple(Brier, wine, epochs=20, batch=16), good),
    healthy("sigmoid-at-rest", simple(at_rest, partial(generated, brightness, 3), epochs=20),
            every(learns(0.1), scores(0.99), settled)),
    healthy("rectified-counts", simple(rectified, partial(generated, visitors, 6), epochs=15),
            every(learns(0.7), scores(0.5), settled)),
    healthy("summed-loss", simple(lambda: Summed(32), centred, epochs=8, batch=32), good),
    healthy("noisy-stream", stream, every(learns(0.5), floor(0.25, 0.12), settled)),
    healthy("raw-into-batchnorm", simple(fresh_norm, partial(cancer, standardized=False), epochs=20, batch=50), good),
    healthy("rescaled-thousands", simple(prices, partial(generated, worth, 5), epochs=15),
            every(learns(0.5), scores(0.85), settled)),
    healthy("clipped-language-model", simple(Clipped, chain, epochs=2, batch=8, gradient_clip_val=1.0,
            val_check_interval=0.25),
            every(learns(0.6), often_clipped, settled)),
    healthy("warm-restarts", simple(lambda: Restarts(cnn(norm=True, act=nn.GELU)), partial(digits, image=True),
            epochs=14), good),
    healthy("averaged-with-dropout", simple(lambda: Averaged(mlp(64, 96, 96, 10, dropout=0.3)), centred, epochs=14),
            every(good, easier_in_validation)),
    healthy("batchnorm-of-eight", simple(of_eight, few_images, epochs=6, batch=8), good),
    healthy("rate-of-one", simple(normalized, partial(digits, image=True), epochs=7), good),
    healthy("twelve-steps", smoke, learns(0.8)),
)  # fmt: skip
