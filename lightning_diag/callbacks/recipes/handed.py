"""What a recipe says of the Trainer and of the loaders: handed back, and told where it was not taken up."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

from torch.utils.data import DataLoader, IterableDataset, SequentialSampler

from lightning_diag.recipe import Recipe

TRAINER: Final = ("max_epochs", "accumulate_grad_batches", "precision")
LOADERS: Final = ("batch_size", "shuffle", "num_workers")


def trainer_arguments(recipe: Recipe) -> dict[str, Any]:
    """Return what the recipe says of the Trainer, as its arguments: ``Trainer(**trainer_arguments(recipe))``.

    Example:
        >>> trainer_arguments(Recipe(max_epochs=5, precision="bf16-mixed"))
        {'max_epochs': 5, 'precision': 'bf16-mixed'}
    """
    return {name: value for name in TRAINER if (value := getattr(recipe, name)) is not None}


def loader(dataset: Any, recipe: Recipe, **options: Any) -> DataLoader[Any]:
    """Return a loader of the training data with the recipe's batch size, shuffling and processes.

    Args:
        dataset: of samples.
        recipe: its batch_size, shuffle, num_workers; unset ones are 32, True (but for an iterable dataset) and 0.
        options: further arguments of ``DataLoader``; they win.

    Example:
        >>> loader(range(100), Recipe(batch_size=20)).batch_size
        20
    """
    said = {name: value for name in LOADERS if (value := getattr(recipe, name)) is not None}
    usual: dict[str, Any] = {"batch_size": 32}
    if not isinstance(dataset, IterableDataset) and not {"sampler", "batch_sampler"} & set(options):
        usual["shuffle"] = recipe.curriculum is None
    return DataLoader(dataset, **{**usual, **said, **options})


def not_taken_up(recipe: Recipe, trainer: Any) -> list[str]:
    """Return, in sentences, what of the recipe is the Trainer's or the loaders' and is otherwise there."""
    found = []
    for name in ("max_epochs", "accumulate_grad_batches"):
        said, has = getattr(recipe, name), getattr(trainer, name)
        if said is not None and said != has and not trainer.fast_dev_run:
            found.append(f"{name}={said} is the Trainer's, which has {has}: Trainer({name}={said})")
    if recipe.precision is not None and str(trainer.precision) != recipe.precision:
        found.append(
            f"precision={recipe.precision!r} is the Trainer's, which has {trainer.precision!r}: "
            f"Trainer(precision={recipe.precision!r})"
        )
    loaded = trainer.train_dataloader
    for name, has in (_of_loader(loaded) if isinstance(loaded, DataLoader) else {}).items():
        said = getattr(recipe, name)
        if said is not None and has is not None and said != has:
            found.append(
                f"{name}={said} is the training loader's, which has {has}: DataLoader({name}={said}), or make it with "
                "lightning_diag.callbacks.loader(dataset, recipe)"
            )
    return found


def _of_loader(loaded: DataLoader[Any]) -> Mapping[str, Any]:
    """Return batch size, shuffling and processes of a loader; None for what it does not tell."""
    in_order = isinstance(loaded.sampler, SequentialSampler)
    shuffles = None if isinstance(loaded.dataset, IterableDataset) else not in_order
    return {"batch_size": loaded.batch_size, "shuffle": shuffles, "num_workers": loaded.num_workers}


def tell(recipe: Recipe, trainer: Any) -> None:
    """Warn of what was not taken up."""
    for sentence in not_taken_up(recipe, trainer):
        warnings.warn(f"Recipe: {sentence}", stacklevel=2)
