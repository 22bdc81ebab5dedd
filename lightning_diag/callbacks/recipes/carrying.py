"""Nothing of a recipe is lost in silence: hooks that were overridden without super() are errors."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import Callback

from lightning_diag.callbacks.recipes.handed import tell


def carried(module: Any) -> set[str]:
    """Return the names of the mixin's hooks that ran for a module; what is added to it is remembered."""
    names: set[str] = module.__dict__.setdefault("recipe_hooks", set())
    return names


class CarriedOut(Callback):
    """Checks that the mixin's hooks were called, and tells what is left to the Trainer and the loaders.

    Raises:
        RuntimeError: the module overrides a hook of the mixin without calling ``super()``.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        _require(pl_module, "configure_model")
        _require(pl_module, "configure_optimizers")
        tell(pl_module.recipe, trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if pl_module.recipe.gradient_clip_val is not None and trainer.global_step:
            _require(pl_module, "configure_gradient_clipping")


def _require(module: Any, hook: str) -> None:
    if hook not in carried(module):
        name = type(module).__name__
        raise RuntimeError(
            f"{name} overrides {hook} without calling super().{hook}, so its recipe is not carried out; call it, or "
            f"remove {name}.{hook}"
        )
