"""What is known of a run without measuring: versions, optimizers, batch size, the plan."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.graph import clean
from lightning_diag.statistics.views import tensors

_PACKAGES = ("lightning_diag", "torch", "lightning", "pytorch_lightning", "torchmetrics", "numpy")
_DEAD_EXAMPLES, _DEAD_LEAST = 512, 64


def run_facts(trainer: Any, module: nn.Module, every_n_steps: int) -> dict[str, Any]:
    """Return the JSON-able facts that are known when training starts."""
    planned = planned_steps(trainer)
    size, examples = loader_facts(trainer)
    accumulate = int(getattr(trainer, "accumulate_grad_batches", 1) or 1)
    scaler = getattr(getattr(trainer, "precision_plugin", None), "scaler", None)
    return {
        "run_id": uuid.uuid4().hex[:12],
        "status": "running",
        "steps": 0,
        "samples": 0,
        "steps_planned": planned,
        "every_n_steps": every_n_steps,
        "batch_size": size,
        "dataset_size": examples,
        "dead_examples": dead_examples(examples, size, planned),
        "precision": str(getattr(trainer, "precision", "32-true")),
        "scaler": scaler is not None,
        "accumulate_grad_batches": accumulate,
        "gradient_clip_val": getattr(trainer, "gradient_clip_val", None),
        "world_size": int(getattr(trainer, "world_size", 1)),
        "strategy": type(getattr(trainer, "strategy", None)).__name__,
        "optimizers": [optimizer_facts(o, module) for o in getattr(trainer, "optimizers", [])],
        "frozen": [clean(n) for n, p in module.named_parameters() if not p.requires_grad],
        "dropout": any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in module.modules()),
        "model": type(module).__name__,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def planned_steps(trainer: Any) -> int | None:
    """Return the number of optimizer steps of the whole fit, None where it cannot be known."""
    try:
        steps = trainer.estimated_stepping_batches
    except Exception:  # e.g. an accumulation schedule, for which Lightning has no estimate
        return None
    return int(steps) if isinstance(steps, (int, float)) and 0 < steps < float("inf") else None


def loader_facts(trainer: Any) -> tuple[int | None, int | None]:
    """Return (batch size, examples in the training set) of a single loader, None where they are not stated."""
    loader = getattr(trainer, "train_dataloader", None)
    size = getattr(loader, "batch_size", None)
    try:
        examples = len(loader.dataset) if loader is not None else None
    except (TypeError, AttributeError, NotImplementedError):
        examples = None
    return (size if isinstance(size, int) else None), examples


def dead_examples(examples: int | None, batch: int | None, planned: int | None) -> int:
    """Return how many silent examples in a row make a unit count as dead.

    512 (fires on fewer than 0.6 % of the examples, with 95 % confidence), or the whole training set where that is
    smaller, or half of what a short run will see; 64 at least.
    """
    limits = [_DEAD_EXAMPLES]
    if examples is not None:
        limits.append(examples)
    if batch is not None and planned is not None:
        limits.append(batch * planned // 2)
    return max(_DEAD_LEAST, min(limits))


def optimizer_facts(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Any]:
    """Return the type of an optimizer and the settings of its groups; numbers only."""
    names = {id(p): clean(n) for n, p in module.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        settings = {k: _number(v) for k, v in group.items() if k != "params" and _number(v) is not None}
        settings["parameters"] = [names.get(id(p), "") for p in group["params"]]
        groups.append(settings)
    inner = getattr(optimizer, "optimizer", optimizer)
    return {"type": type(inner).__name__, "groups": groups}


def _number(value: Any) -> Any:
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 and value.device.type == "cpu" else None
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (tuple, list)) and all(isinstance(v, (int, float)) for v in value):
        return list(value)
    return None


def batch_size(batch: Any) -> int | None:
    """Return the length of the first tensor in a batch that has a dimension."""
    first = next((t for t in tensors(batch) if t.dim() > 0), None)
    return None if first is None else int(first.shape[0])


def group_name(optimizer: torch.optim.Optimizer, group: Mapping[str, Any], index: int) -> str:
    """Return the name of a parameter group: its own, or the optimizer's type and, where there are several, a number."""
    kind = type(getattr(optimizer, "optimizer", optimizer)).__name__
    return str(group.get("name", f"{kind}.{index}" if len(optimizer.param_groups) > 1 else kind))
