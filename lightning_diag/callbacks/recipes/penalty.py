"""The L1 penalty as a callback."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import Callback

from lightning_diag.optim import add_l1_gradient, penalized
from lightning_diag.recipe import Recipe


class L1Penalty(Callback):
    """Adds ``l1 * sum |w|`` to what is minimized, over the weights that weight decay holds for.

    Its gradient is added before each optimizer step, after unscaling and before clipping; the loss that is logged does
    not contain it. Norms, biases and PReLU slopes are left alone.

    Args:
        l1: weight of the penalty, at least 0.
        decay_embeddings: whether it holds for embeddings too.

    Source: lecture "Training neural networks", L1 regularization: for every w add l |w|.
    """

    def __init__(self, l1: float, decay_embeddings: bool = True) -> None:
        self.recipe = Recipe(l1=l1, decay_embeddings=decay_embeddings)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        its = {id(p) for group in optimizer.param_groups for p in group["params"]}
        chosen = [p for p in penalized(pl_module, self.recipe) if id(p) in its]
        add_l1_gradient(chosen, self.recipe.l1 or 0.0)
