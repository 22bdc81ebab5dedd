"""Records fits of the programs, each once, in parallel processes.

``python -m tests.laboratory`` records what is missing; ``--all`` everything anew, words choose programs by name.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.laboratory import keys, pool
from tests.laboratory.store import CRASH, DIRECTORY, HISTORY, Store, lines

if TYPE_CHECKING:
    from lightning_diag import Diagnostics
    from tests.programs.program import Program

SEEDS = (0, 1)
Case = tuple[str, int]  # program, seed
Task = tuple[str, int, str, str]  # program, seed, key, directory


def observe(program: Program, seed: int, root: str | Path) -> Diagnostics:
    """Fit a program with Diagnostics as a user would, but quietly and writing under ``root``."""
    from lightning_diag import Diagnostics  # takes seconds, and a process that judges needs none of it

    diagnostics = Diagnostics(verbose=False, histograms=False)
    program.fit(seed, [diagnostics], default_root_dir=str(root))
    return diagnostics


def work(task: Task) -> str:
    """Record one fit in a process of its own; return "ok", or the last line of what went wrong."""
    from lightning_diag.callbacks.judgement import Judgement

    name, seed, key, directory = task
    program, store = programs()[name], Store(directory)
    Judgement.due = lambda *_: False  # type: ignore[method-assign] # what is judged live is not in the history
    trace, text = attempt(lambda root: _recorded(program, seed, root))
    if trace:
        store.write(store.path(name, seed, key, CRASH), trace)
        return f"CRASHED {trace.strip().splitlines()[-1]}"
    store.path(name, seed, key, CRASH).unlink(missing_ok=True)
    store.write(store.path(name, seed, key, HISTORY), text)
    return "ok"


def attempt(act: Callable[[str], str]) -> tuple[str, str]:
    """Call ``act`` with a fresh directory; return a traceback and "", or "" and what it gave."""
    quiet()
    with tempfile.TemporaryDirectory() as root:
        try:
            return "", act(root)
        except Exception:
            return traceback.format_exc(), ""


def quiet() -> None:
    """Say nothing but what failed, on one thread."""
    import lightning  # noqa: F401 - it sets the level of its logger when it is imported
    import torch

    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


@cache
def programs() -> dict[str, Program]:
    """Return name -> program; only here, because a process that judges needs no torch."""
    from tests.models import ALL

    return {p.name: p for p in ALL}


def record(
    cases: Sequence[tuple[Program, int]],
    store: Store,
    *,
    workers: int = 0,
    anew: bool = False,
    tell: Callable[[str], object] = print,
    worker: Callable[[Task], str] = work,
    key: Callable[[Program], str] = keys.key,
    kind: str = HISTORY,
) -> dict[Case, str]:
    """Record what is missing; return program and seed -> what went wrong, of all cases that have no file then."""
    crash = CRASH if kind == HISTORY else f"{kind}.{CRASH}"
    tasks: list[Task] = []
    for p, seed in cases:
        if anew or store.find(p.name, seed, key(p), kind) is None:
            tasks.append((p.name, seed, key(p), str(store.directory)))
    start, crashed = time.perf_counter(), dict[Case, str]()

    def done(task: Task, outcome: str | Exception) -> None:
        said = outcome if isinstance(outcome, str) else f"CRASHED {outcome!r}"
        finished[0] += 1
        if said != "ok":
            crashed[task[:2]] = said
        if isinstance(outcome, Exception):
            store.write(store.path(*task[:3], crash), f"{outcome!r}\n")
        tell(f"[{finished[0]}/{len(tasks)}] {time.perf_counter() - start:6.0f} s  {task[0]} {task[1]}  {said}")

    finished = [0]
    pool.run(worker, tasks, workers or os.cpu_count() or 1, done)
    return crashed


def main(argv: Sequence[str] | None = None) -> int:
    """Record; 1 if a fit crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.laboratory", description=__doc__)
    parser.add_argument("names", nargs="*", help="only programs whose name holds one of these words")
    add_options(parser)
    parser.add_argument("--all", action="store_true", help="record everything anew")
    parser.add_argument("--prune", action="store_true", help="remove what no present program and recorder made")
    args = parser.parse_args(argv)
    store, chosen = Store(args.histories), choose(args.names, args.seeds)
    if not args.prune:
        crashed = record(chosen, store, workers=args.workers, anew=args.all)
        print(f"{len(chosen)} fits, {len(crashed)} crashed" + "".join(f"\n  {k}: {v}" for k, v in crashed.items()))
        return int(bool(crashed))
    kept = [store.path(p.name, s, keys.key(p), kind) for p, s in chosen for kind in (HISTORY, CRASH)]
    print(f"{store.prune(kept)} files removed")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command that needs histories understands."""
    parser.add_argument("--seeds", type=int, default=len(SEEDS), metavar="N", help="seeds 0 to N-1 (default: all)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one a core)")
    parser.add_argument("--histories", type=Path, default=DIRECTORY, metavar="DIR", help="where recorded fits lie")


def choose(names: Sequence[str], seeds: int, keep: Callable[[Program], bool] = lambda p: True) -> list[Any]:
    """Return program and seed of all programs whose name holds one of the words (all without)."""
    chosen = [p for p in programs().values() if keep(p) and (not names or any(n in p.name for n in names))]
    return [(p, seed) for p in chosen for seed in range(seeds)]


def _recorded(program: Program, seed: int, root: str) -> str:
    start = time.process_time()
    history = observe(program, seed, root).history
    history.update_run(cpu_seconds=round(time.process_time() - start, 2))
    return lines(history)
