"""One streaming pass over the training data that leaves no trace: neither in random numbers nor in the loader."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_diag.preprocessing.modules import Preprocessing, TargetPreprocessing

_LONG: Final = 3.0  # seconds after which progress is shown


def fit(
    batches: Iterable[Any],
    inputs: Preprocessing | None = None,
    target: TargetPreprocessing | None = None,
    *,
    input_key: int | str = 0,
    target_key: int | str = 1,
    max_batches: int | None = None,
    progress: bool = True,
) -> int:
    """Fit preprocessings in one pass over batches, and return how many batches were read.

    In a distributed run every rank reads its own batches and the statistics are merged over ranks. The random state of
    torch, numpy, Python and of the loader's own generators is put back; a plain DataLoader is read through a copy with
    the same sampler, so that workers that persist are not started.

    Args:
        batches: a DataLoader, or anything that can be read again and again.
        inputs: preprocessing of the inputs, None for none.
        target: preprocessing of the targets, None for none.
        input_key: index or key of the inputs in a batch; a batch that is a tensor is the input itself.
        target_key: index or key of the targets in a batch.
        max_batches: read at most so many; None: all.
        progress: whether a bar is shown after three seconds.

    Raises:
        TypeError: batches without such a key, inputs that are no tensor, targets that are whole numbers (classes).
        ValueError: an iterator that can be read only once, no batch, or data that a preprocessing refuses.
    """
    if isinstance(batches, Iterator):
        raise ValueError("an iterator can be read only once, and training would miss what it gave; give a loader")
    meters = [p.meter() for p in (inputs, target) if p is not None]
    device = next((p.offset.device for p in (inputs, target) if p is not None), torch.device("cpu"))
    seen = 0
    with undisturbed(batches):
        for batch in _watched(_read(batches, max_batches), _length(batches, max_batches), progress):
            keys = [input_key] if inputs is not None else []
            values = [part_of(batch, k, "input") for k in keys]
            if target is not None:
                values.append(_target(part_of(batch, target_key, "target")))
            for meter, value in zip(meters, values, strict=True):
                meter.update(value.cpu())
            seen += 1
    if not seen:
        raise ValueError("no data was seen: the loader gave no batch")
    for preprocessing, meter in zip([p for p in (inputs, target) if p is not None], meters, strict=True):
        if device.type == "cuda":
            meter.to(device)  # NCCL takes no tensors of the CPU
        preprocessing.set_statistics(meter)
    return seen


def part_of(batch: Any, key: int | str, what: str) -> Tensor:
    """Return the tensor of a batch at an index or key; a batch that is a tensor is its own input.

    Raises:
        TypeError: there is no such part, or it is no tensor.
    """
    if isinstance(batch, Tensor) and what == "input":
        return batch
    try:
        part = batch[key]
    except (KeyError, IndexError, TypeError) as error:
        have = f"keys {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
        raise TypeError(f"the batch has no {what} at {key!r}, it is {have}; pass {what}_key=") from error
    if not isinstance(part, Tensor):
        raise TypeError(f"the {what} of a batch must be a tensor, at {key!r} there is a {type(part).__name__}")
    return part


@contextmanager
def undisturbed(loader: Any = None) -> Iterator[None]:
    """Put the random state of torch, numpy, Python and a loader's generators back at the end."""
    generators = list({id(g): g for g in _generators(loader)}.values())
    states = [g.get_state() for g in generators]
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def _generators(loader: Any) -> Iterator[torch.Generator]:
    places = [loader, *(getattr(loader, n, None) for n in ("sampler", "batch_sampler", "dataset"))]
    places += [getattr(p, "sampler", None) for p in places]
    for place in places:
        generator = getattr(place, "generator", None)
        if isinstance(generator, torch.Generator):
            yield generator


def _read(batches: Iterable[Any], most: int | None) -> Iterator[Any]:
    return islice(iter(_twin(batches)), most)


def _twin(loader: Any) -> Any:
    """Return a DataLoader that gives the same batches and shares no iterator with the one of the training."""
    if type(loader) is not DataLoader:
        return loader
    sized = loader.batch_sampler is not None
    how: dict[str, Any] = (
        {"batch_sampler": loader.batch_sampler} if sized else {"sampler": loader.sampler, "batch_size": None}
    )
    if isinstance(loader.dataset, torch.utils.data.IterableDataset):
        how = {"batch_size": loader.batch_size, "drop_last": loader.drop_last}
    workers = {"prefetch_factor": loader.prefetch_factor, "multiprocessing_context": loader.multiprocessing_context}
    return DataLoader(
        loader.dataset, num_workers=loader.num_workers, collate_fn=loader.collate_fn, timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn, generator=loader.generator, **how,
        **(workers if loader.num_workers else {}),
    )  # fmt: skip


def _length(batches: Any, most: int | None) -> int | None:
    try:
        n = len(batches)
    except TypeError:  # an iterable dataset has none
        return most
    return n if most is None else min(n, most)


def _watched(batches: Iterator[Any], total: int | None, shown: bool) -> Iterator[Any]:
    """Yield the batches; show a bar once the pass has lasted some seconds."""
    start, bar, task, seen = time.monotonic(), None, None, 0
    try:
        for batch in batches:
            yield batch
            seen += 1
            if shown and bar is None and time.monotonic() - start > _LONG:
                columns = (TextColumn("statistics of the training data"), BarColumn(), MofNCompleteColumn())
                # a console of its own: on the shared one a bar that somebody left running would hide this one
                bar = Progress(*columns, TimeRemainingColumn(), transient=True, console=Console())
                bar.start()
                task = bar.add_task("", total=total)
                bar.refresh()
            if bar is not None and task is not None:
                bar.update(task, completed=seen)
    finally:
        if bar is not None:
            bar.stop()


def _target(values: Tensor) -> Tensor:
    if not values.is_floating_point():
        raise TypeError(f"targets of type {values.dtype} are classes or counts, only floats are standardized")
    return values
