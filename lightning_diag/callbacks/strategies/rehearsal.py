"""Passes over training data with a copy of the module, between steps, that leave the run as it was."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader


@contextmanager
def rehearsing(trainer: Any, copy: Any, loader: Any) -> Iterator[None]:
    """Let a copy of the Trainer's module be called on batches of ``loader``.

    It sees the Trainer, but what it logs goes nowhere (what it writes to a logger's ``experiment`` is written). Random
    number generators, those of the loader too, are put back at the end.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # what a module caches in such a pass is used in training
        stack.enter_context(torch.no_grad())
        stack.enter_context(isolate_rng())
        stack.enter_context(_generators_kept(loader))
        stack.enter_context(_attached(copy, trainer))
        stack.enter_context(trainer.precision_plugin.train_step_context())
        yield


def call_step(module: Any, batch: Any, index: int) -> Any:
    """Call a training step with the arguments that it takes; return what it returns."""
    takes = inspect.signature(module.training_step).parameters
    return module.training_step(*(batch, index, 0)[: max(len(takes), 1)])


def refuses_step(module: Any) -> str:
    """Return why a module's training step cannot be rehearsed; "" if it can."""
    if not module.automatic_optimization:
        return "it has manual optimization, so its training_step would step optimizers"
    return draws_batches(module)


def draws_batches(module: Any) -> str:
    """Return why the batches of a module's training step are not seen; "" if they are."""
    takes = inspect.signature(module.training_step).parameters
    return "its training_step takes a dataloader_iter, no batch" if "dataloader_iter" in takes else ""


def transferred(trainer: Any, raw: Iterable[Any]) -> Iterator[Any]:
    """Yield batches as the training step gets them."""
    for batch in raw:
        batch = trainer.precision_plugin.convert_input(batch)
        for owner in (trainer.datamodule, trainer.lightning_module):
            batch = batch if owner is None else owner.on_before_batch_transfer(batch, 0)
        yield trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def another(loader: DataLoader[Any], **sampling: Any) -> DataLoader[Any]:
    """Return a loader of the same data with other sampling, whose workers are its own."""
    return DataLoader(
        loader.dataset, collate_fn=loader.collate_fn, num_workers=loader.num_workers, generator=loader.generator,
        worker_init_fn=loader.worker_init_fn, multiprocessing_context=loader.multiprocessing_context, **sampling,
    )  # fmt: skip


@contextmanager
def _generators_kept(loader: Any) -> Iterator[None]:
    holders = [loader, getattr(loader, "sampler", None)]
    holders.append(getattr(getattr(loader, "batch_sampler", None), "sampler", None))
    found = {id(g): g for h in holders if isinstance(g := getattr(h, "generator", None), torch.Generator)}
    states = [(g, g.get_state()) for g in found.values()]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


@contextmanager
def _attached(copy: Any, trainer: Any) -> Iterator[None]:
    copy.trainer = trainer
    copy.log = copy.log_dict = _nothing
    try:
        yield
    finally:
        del copy.log, copy.log_dict
        copy.trainer = None


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Log nothing."""
