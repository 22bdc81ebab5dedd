"""Runs many tasks in fresh processes of one thread each; no task is lost, not even with its process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
DIED = "the process died"


def run(
    work: Callable[[Task], Outcome],
    tasks: Sequence[Task],
    workers: int,
    tell: Callable[[Task, Outcome | Exception], object],
) -> None:
    """Call ``work`` on every task and ``tell`` its outcome, or the exception that ended it, as soon as it is known.

    A process that dies takes the whole pool with it; the unfinished tasks are then run one at a time, so that the
    one that kills its process is known.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # before the processes start, which inherit it
    rest = dict(enumerate(tasks))
    while rest:
        alone = workers < 1
        batch = list(rest)[:1] if alone else list(rest)
        with ProcessPoolExecutor(max(1, min(workers, len(batch))), multiprocessing.get_context("spawn")) as pool:
            futures = {pool.submit(work, tasks[i]): i for i in batch}
            for future in as_completed(futures):
                i, error = futures[future], future.exception()
                if isinstance(error, BrokenProcessPool) and not alone:
                    continue
                del rest[i]
                if isinstance(error, BrokenProcessPool):
                    tell(tasks[i], RuntimeError(DIED))
                elif error is not None and not isinstance(error, Exception):
                    raise error
                else:
                    tell(tasks[i], error if error is not None else future.result())
        workers = 0  # what is left now was in a pool that broke
