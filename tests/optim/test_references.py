"""Each optimizer of the lectures against a few lines of numpy, as the papers and torch have it."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_diag.optim import build_optimizer
from lightning_diag.recipe import Recipe

STEPS, START = 12, np.array([[1.5, -2.0], [0.3, 0.0]])
CURVATURE = np.array([[1.0, 10.0], [0.1, 3.0]])


def gradient(w: np.ndarray) -> np.ndarray:
    """Of a long valley, tilted so that no gradient is zero at the start."""
    return CURVATURE * w + 0.25


def trained(recipe: Recipe) -> np.ndarray:
    """Return the path of the weights under the recipe's optimizer."""
    model = nn.Linear(2, 2, bias=False).double()
    model.weight.data = torch.tensor(START)
    optimizer, path = build_optimizer(model, recipe), []
    for _ in range(STEPS):
        model.weight.grad = torch.tensor(gradient(model.weight.detach().numpy()))
        optimizer.step()
        path.append(model.weight.detach().numpy().copy())
    return np.array(path)


def walk(step: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    w, path = START.copy(), []
    for t in range(1, STEPS + 1):
        w = step(w, t)
        path.append(w.copy())
    return np.array(path)


def plain(lr: float = 0.05) -> np.ndarray:
    return walk(lambda w, t: w - lr * gradient(w))


def momentum(lr: float = 0.05, m: float = 0.9) -> np.ndarray:
    d = np.zeros_like(START)

    def step(w: np.ndarray, t: int) -> np.ndarray:
        d[:] = m * d + lr * gradient(w)  # a sum of two terms, where a slide multiplies them
        return w - d

    return walk(step)


def nesterov(lr: float = 0.05, m: float = 0.9) -> np.ndarray:
    """Sutskever's: the gradient at w + m v, not at w + v. What torch keeps is that point itself."""
    v, w = np.zeros_like(START), START.copy()
    path = []
    for _ in range(STEPS):
        v = m * v - lr * gradient(w + m * v)
        w = w + v
        path.append(w + m * v)
    return np.array(path)


def rmsprop(lr: float = 0.01, s: float = 0.99, eps: float = 1e-2) -> np.ndarray:
    v = np.zeros_like(START)

    def step(w: np.ndarray, t: int) -> np.ndarray:
        g = gradient(w)
        v[:] = s * v + (1 - s) * g**2
        return w - lr * g / (np.sqrt(v) + eps)  # outside the root

    return walk(step)


def adam(lr: float = 0.1, b: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, l2: float = 0.0,
         decoupled: float = 0.0) -> np.ndarray:  # fmt: skip
    m, v = np.zeros_like(START), np.zeros_like(START)

    def step(w: np.ndarray, t: int) -> np.ndarray:
        g = gradient(w) + l2 * w
        m[:] = b[0] * m + (1 - b[0]) * g
        v[:] = b[1] * v + (1 - b[1]) * g**2
        unbiased = m / (1 - b[0] ** t), v / (1 - b[1] ** t)  # t from 1; m and v keep their own values
        return w - lr * decoupled * w - lr * unbiased[0] / (np.sqrt(unbiased[1]) + eps)

    return walk(step)


def adagrad(lr: float = 0.1, eps: float = 1e-10) -> np.ndarray:
    v = np.zeros_like(START)

    def step(w: np.ndarray, t: int) -> np.ndarray:
        g = gradient(w)
        v[:] = v + g**2
        return w - lr * g / (np.sqrt(v) + eps)

    return walk(step)


def adadelta(lr: float = 1.0, s: float = 0.9, eps: float = 1e-6) -> np.ndarray:
    v, u = np.zeros_like(START), np.zeros_like(START)

    def step(w: np.ndarray, t: int) -> np.ndarray:
        g = gradient(w)
        v[:] = s * v + (1 - s) * g**2
        d = g * np.sqrt(u + eps) / np.sqrt(v + eps)
        u[:] = s * u + (1 - s) * d**2
        return w - lr * d

    return walk(step)


def adamax(lr: float = 0.1, b: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> np.ndarray:
    m, u = np.zeros_like(START), np.zeros_like(START)

    def step(w: np.ndarray, t: int) -> np.ndarray:
        g = gradient(w)
        m[:] = b[0] * m + (1 - b[0]) * g
        u[:] = np.maximum(b[1] * u, np.abs(g) + eps)
        return w - lr / (1 - b[0] ** t) * m / u

    return walk(step)


ROWS: dict[str, tuple[dict[str, Any], Callable[[], np.ndarray]]] = {
    "gradient descent": ({"optimizer": "sgd", "lr": 0.05, "momentum": 0.0}, plain),
    "sgd is nesterov": ({"optimizer": "sgd", "lr": 0.05}, nesterov),
    "momentum": ({"optimizer": "momentum", "lr": 0.05}, momentum),
    "momentum 0.5": ({"optimizer": "momentum", "lr": 0.05, "momentum": 0.5}, lambda: momentum(m=0.5)),
    "sgd without nesterov": ({"optimizer": "sgd", "lr": 0.05, "nesterov": False}, momentum),
    "nesterov": ({"optimizer": "nesterov", "lr": 0.05}, nesterov),
    "nesterov 0.7": ({"optimizer": "nesterov", "lr": 0.05, "momentum": 0.7}, lambda: nesterov(m=0.7)),
    "rmsprop": ({"optimizer": "rmsprop", "lr": 0.01, "eps": 1e-2}, rmsprop),
    "rmsprop 0.9": ({"optimizer": "rmsprop", "lr": 0.01, "smoothing": 0.9, "eps": 1e-8},
                    lambda: rmsprop(s=0.9, eps=1e-8)),
    "adagrad": ({"optimizer": "adagrad", "lr": 0.1}, adagrad),
    "adadelta": ({"optimizer": "adadelta", "lr": 1.0}, adadelta),
    "adam": ({"optimizer": "adam", "lr": 0.1}, adam),
    "adam betas": ({"optimizer": "adam", "lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
                   lambda: adam(b=(0.5, 0.9), eps=1e-3)),
    "adam with L2": ({"optimizer": "adam", "lr": 0.1, "weight_decay": 0.3}, lambda: adam(l2=0.3)),
    "adamw": ({"optimizer": "adamw", "lr": 0.1, "weight_decay": 0.3}, lambda: adam(decoupled=0.3)),
    "adamw by default": ({"optimizer": "adamw", "lr": 0.1}, lambda: adam(decoupled=0.01)),
    "adamax": ({"optimizer": "adamax", "lr": 0.1}, adamax),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_it_walks_as_the_reference(name: str) -> None:
    fields, reference = ROWS[name]
    np.testing.assert_allclose(trained(Recipe(**fields)), reference(), rtol=1e-9, atol=1e-12)


def test_decay_of_adamw_is_not_l2() -> None:
    l2 = trained(Recipe(optimizer="adam", lr=0.1, weight_decay=0.3))
    decoupled = trained(Recipe(optimizer="adamw", lr=0.1, weight_decay=0.3))
    assert np.abs(l2 - decoupled).max() > 0.1


def test_momentum_is_a_sum_with_limit_one_over_one_minus_beta() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    optimizer = build_optimizer(model, Recipe(optimizer="momentum", lr=0.01))
    steps = list(constant_gradient(model, optimizer, 300))
    assert steps[0] == pytest.approx(0.01)
    assert steps[-1] == pytest.approx(0.01 / (1 - 0.9))


def constant_gradient(model: nn.Linear, optimizer: torch.optim.Optimizer, n: int) -> Iterator[float]:
    for _ in range(n):
        before = float(model.weight.detach())
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
        yield before - float(model.weight.detach())


def test_the_look_ahead_of_the_slide_is_another_path() -> None:
    """One slide evaluates the gradient at w + v instead of w + beta v."""
    v, w = np.zeros_like(START), START.copy()
    for _ in range(STEPS):
        v = 0.9 * v - 0.05 * gradient(w + v)
        w = w + v
    assert np.abs(w + 0.9 * v - nesterov()[-1]).max() > 0.01


def test_adam_with_overwritten_moments_is_another_path() -> None:
    """One slide stores the corrected moments and so corrects them again at every step."""
    m = v = np.zeros_like(START)
    w = START.copy()
    for t in range(1, STEPS + 1):
        g = gradient(w)
        m, v = (0.9 * m + 0.1 * g) / (1 - 0.9**t), (0.999 * v + 0.001 * g**2) / (1 - 0.999**t)
        w = w - 0.1 * m / (np.sqrt(v) + 1e-8)
    assert np.abs(w - adam()[-1]).max() > 0.01
