"""The table of optimizers: rows over torch.optim, with what each takes, its update and where it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from lightning_diag.recipe import OptimizerName, Recipe
from lightning_diag.recipe.words import unknown


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer.

    Attributes:
        name: what a Recipe calls it.
        torch_name: its class in ``torch.optim``.
        update: the step in symbols, g the gradient, a the rate, w the weights.
        source: paper, or the lecture that teaches it; how torch differs from it.
        takes: field of Recipe -> argument in torch.
        fixed: arguments that make the row what it is, where the recipe says nothing else.
        decay: its weight decay where the recipe says none.
        decoupled: whether decay shrinks the weights themselves (AdamW) rather than adding to the gradient (L2).
        matrices_only: whether it takes only matrices; AdamW then trains the rest.
    """

    name: OptimizerName
    torch_name: str
    update: str
    source: str
    takes: Mapping[str, str] = field(default_factory=dict, hash=False)
    fixed: Mapping[str, Any] = field(default_factory=dict, hash=False)
    decay: float = 0.0
    decoupled: bool = False
    matrices_only: bool = False

    @property
    def available(self) -> bool:
        """Whether the installed torch has it."""
        return hasattr(torch.optim, self.torch_name)

    def arguments(self, recipe: Recipe) -> dict[str, Any]:
        """Return the arguments of the torch class, but for parameters, rate and weight decay."""
        made = dict(self.fixed)
        made.update(
            {argument: value for f, argument in self.takes.items() if (value := getattr(recipe, f)) is not None}
        )
        if made.get("momentum") == 0:
            made.pop("nesterov", None)
        return made


_SGD, _ADAM = {"momentum": "momentum", "nesterov": "nesterov"}, {"betas": "betas", "eps": "eps"}
_MOMENTUM: Final = "D = m D + g; w = w - a D"
OPTIMIZERS: Final[tuple[OptimizerRow, ...]] = (
    OptimizerRow("sgd", "SGD", "w = w - a g; with momentum (0.9 by default) as nesterov",
                 "lecture Optimization revisited, gradient descent", _SGD, {"momentum": 0.9, "nesterov": True}),
    OptimizerRow("momentum", "SGD", _MOMENTUM, "Qian 1999; a sum with limit g / (1 - m), not an average",
                 _SGD, {"momentum": 0.9}),
    OptimizerRow("nesterov", "SGD", "D = m D + g; w = w - a (g + m D)", "Sutskever et al. 2013: look ahead by m v",
                 _SGD, {"momentum": 0.9, "nesterov": True}),
    OptimizerRow("rmsprop", "RMSprop", "v = s v + (1 - s) g^2; w = w - a g / (sqrt(v) + eps)",
                 "Hinton 2012; eps stands outside the root, on a slide inside",
                 {"smoothing": "alpha", "eps": "eps", "momentum": "momentum"}),
    OptimizerRow("adagrad", "Adagrad", "v = v + g^2; w = w - a g / (sqrt(v) + eps)", "Duchi et al. 2011",
                 {"eps": "eps"}),
    OptimizerRow("adadelta", "Adadelta",
                 "v = s v + (1 - s) g^2; d = g sqrt(u + eps) / sqrt(v + eps); u = s u + (1 - s) d^2; w = w - a d",
                 "Zeiler 2012; its own rate is 1", {"smoothing": "rho", "eps": "eps"}),
    OptimizerRow("adam", "Adam", "m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; "
                 "w = w - a (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps), t from 1",
                 "Kingma and Ba 2015; m and v keep their uncorrected values, which a slide overwrites", _ADAM),
    OptimizerRow("adamw", "AdamW", "w = w - a d w, then as adam", "Loshchilov and Hutter 2019: not L2", _ADAM,
                 decay=0.01, decoupled=True),
    OptimizerRow("adamax", "Adamax", "u = max(b2 u, |g| + eps); w = w - a / (1 - b1^t) m / u",
                 "Kingma and Ba 2015, section 7.1", _ADAM),
    OptimizerRow("nadam", "NAdam", "as adam, with the momentum of the next step", "Dozat 2016", _ADAM),
    OptimizerRow("radam", "RAdam", "as adam, without division while the variance of v is unknown", "Liu et al. 2020",
                 _ADAM),
    OptimizerRow("asgd", "ASGD", "w = w - a_t g, a_t = a / (1 + l a t)^alpha, beside it the mean of w",
                 "Polyak and Juditsky 1992; averaging='polyak' is what evaluates the mean"),
    OptimizerRow("rprop", "Rprop", "w = w - s sign(g); s grows while the sign stays, shrinks when it turns",
                 "Riedmiller and Braun 1993; for full batches"),
    OptimizerRow("adafactor", "Adafactor", "as adam without momentum, v as the product of row and column means",
                 "Shazeer and Stern 2018", decoupled=True),
    OptimizerRow("muon", "Muon", "D = m D + g; w = w - a orthogonalized(D)",
                 "Jordan et al. 2024; hidden matrices only, AdamW trains the rest",
                 {"momentum": "momentum", "nesterov": "nesterov", "eps": "eps"},
                 {"adjust_lr_fn": "match_rms_adamw"}, decay=0.1, decoupled=True, matrices_only=True),
)  # fmt: skip


def row(name: str) -> OptimizerRow:
    """Return the row of that name.

    Raises:
        ValueError: there is none; the message lists the names and the nearest.
        ImportError: the installed torch has no such optimizer.
    """
    found = next((r for r in OPTIMIZERS if r.name == name), None)
    if found is None:
        raise unknown("optimizer", name, [r.name for r in OPTIMIZERS])
    if not found.available:
        have = ", ".join(r.name for r in OPTIMIZERS if r.available)
        raise ImportError(f"torch {torch.__version__} has no optim.{found.torch_name}; it has {have}")
    return found
