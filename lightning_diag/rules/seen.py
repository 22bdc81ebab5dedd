"""What a history knows beside its tables: loss calls, data, parameters, loaders; absent parts are unmeasured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lightning_diag.records import Floats, History
from lightning_diag.rules.rule import Unmeasured


def loss_calls(history: History) -> list[dict[str, Any]]:
    """Return what was seen of the loss calls of a step; empty where the loss is written by hand or unseen."""
    return list(history.run.get("losses") or ())


def wiring(history: History) -> Mapping[str, Any]:
    """Return how the run is put together (parameters, loaders, schedules, ...).

    Raises:
        Unmeasured: an old history that does not know.
    """
    found = history.run.get("wiring")
    if not isinstance(found, dict):
        raise Unmeasured("how the run is put together was not recorded; record it again with this version")
    return found


def data(history: History) -> Mapping[str, Any]:
    """Return what was seen of the data.

    Raises:
        Unmeasured: no tensor was found in the batches.
    """
    found = history.run.get("data")
    if not isinstance(found, dict) or not found.get("train"):
        raise Unmeasured("no tensor was found in the batches (tuples, lists, dicts, dataclasses are looked into)")
    return found


def target_path(history: History) -> str:
    """Return the path of the target in the batch, "" if it is not known."""
    calls = [c.get("target") for c in loss_calls(history) if c.get("target")]
    differences = [d.get("target") for d in history.run.get("differences") or () if d.get("target")]
    known = data(history).get("target", {}).get("path")
    return str(next(iter([*calls, known, *differences]), "") or "")


def target_of_data(history: History) -> str:
    """Return the path of what looks like the target by its place and values in the batch, "" if it is not known."""
    return str(((history.run.get("data") or {}).get("target") or {}).get("path") or "")


def inputs(history: History, stage: str = "train") -> dict[str, Mapping[str, Any]]:
    """Return path -> what was seen of the tensors of a batch that are no targets and hold real numbers.

    A batch of one tensor that is its own target, as an autoencoder's, is the input too.
    """
    seen = data(history).get(stage) or {}
    target = target_path(history)
    batch = history.run.get("batch") or {}
    real = {
        path: facts
        for path, facts in seen.items()
        if facts.get("rows") and "float" in str(batch.get(path, {}).get("dtype", "float"))
    }
    if list(batch) == [target] and len((real.get(target) or {}).get("mean") or ()) > 1:
        return real  # what is to be reconstructed
    return {path: facts for path, facts in real.items() if path != target}


def symbols(history: History, stage: str = "train") -> dict[str, Mapping[str, Any]]:
    """Return path -> what was seen of the tensors of a batch that are no targets and hold several numbers a sample."""
    seen, target = data(history).get(stage) or {}, target_path(history)
    return {p: f for p, f in seen.items() if p != target and f.get("rows") and len(f.get("mean") or ()) > 1}


def floats(facts: Mapping[str, Any], name: str) -> Floats:
    """Return a list of numbers as an array; empty where it is absent."""
    return np.array(facts.get(name) or (), dtype=np.float64)


def rates(history: History) -> dict[str, Any]:
    """Return name -> series of the learning rate of every parameter group."""
    return {n: history.series(n) for n in history.series_names("train") if n.startswith("learning_rate/")}


def planned(history: History) -> int:
    """Return the number of optimizer steps planned; those taken where the plan is not known."""
    loss = history.series("loss").steps
    taken = int(loss[-1]) + 1 if len(loss) else 0
    return int(history.run.get("steps_planned") or taken)


def seen_steps(history: History) -> tuple[int, int]:
    """Return the first and the last sampled step, (0, 0) where there is none."""
    steps = history.steps
    return (int(steps[0]), int(steps[-1])) if len(steps) else (0, 0)


def first_is_norm(history: History) -> bool:
    """Tell whether a normalization layer is the first layer that sees the input."""
    first = next((x for x in history.layers if x.parameters or "norm" in x.type.lower()), None)
    return first is not None and "norm" in first.type.lower()
