"""How a run is put together: loaders, schedules, parameters and where they are, what was left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_diag.graph import clean

_MOST_NAMES = 2000
_FRESH_MARGIN = 0.02


def wiring_facts(trainer: Any, module: nn.Module) -> dict[str, Any]:
    """Return the JSON-able facts that rules about wiring need; each part is left out where it cannot be had."""
    parts: dict[str, Any] = {
        "parameters": _parameters(trainer, module),
        "norms": _norms(module),
        "dropout": {clean(n): m.p for n, m in module.named_modules() if isinstance(m, _DROPOUT) and m.p > 0},
        "fresh_frozen": list(fresh_frozen(module)),
        "schedulers": [_scheduler(c) for c in getattr(trainer, "lr_scheduler_configs", [])],
        "train_loader": _loader(getattr(trainer, "train_dataloader", None)),
        "val_loader": _loader(getattr(trainer, "val_dataloaders", None)),
        "callbacks": [type(c).__name__ for c in getattr(trainer, "callbacks", [])],
        "automatic_optimization": bool(getattr(module, "automatic_optimization", True)),
        "max_epochs": getattr(trainer, "max_epochs", None),
        "max_steps": getattr(trainer, "max_steps", None),
        "batches_per_epoch": _whole(getattr(trainer, "num_training_batches", None)),
        "fast_dev_run": bool(getattr(trainer, "fast_dev_run", False)),
        "gradient_clip_algorithm": str(getattr(trainer, "gradient_clip_algorithm", None) or "norm"),
    }
    return parts


_DROPOUT: Final = nn.modules.dropout._DropoutNd


def _whole(x: Any) -> int | None:
    return int(x) if isinstance(x, (int, float)) and math.isfinite(x) else None


def _parameters(trainer: Any, module: nn.Module) -> dict[str, Any]:
    """Return name -> [shape, trainable, number of the optimizer or -1]."""
    owner = {
        id(p): i for i, o in enumerate(getattr(trainer, "optimizers", [])) for g in o.param_groups for p in g["params"]
    }
    found: dict[str, Any] = {}
    for name, p in module.named_parameters():
        if len(found) == _MOST_NAMES:
            break
        shape = None if isinstance(p, nn.parameter.UninitializedParameter) else list(p.shape)
        found[clean(name)] = [shape, p.requires_grad, owner.get(id(p), -1)]
    return found


def _norms(module: nn.Module) -> dict[str, dict[str, Any]]:
    kinds = nn.modules.batchnorm._BatchNorm
    return {
        clean(name): {"momentum": m.momentum, "track": bool(m.track_running_stats), "eps": m.eps}
        for name, m in module.named_modules()
        if isinstance(m, kinds)
    }


def fresh_frozen(root: nn.Module) -> Iterator[str]:
    """Yield the frozen weights that look as torch initializes them: never trained, not pretrained.

    Linear and convolution weights start uniform in +-1/sqrt(fan in): then the largest is that bound and the
    root mean square is the bound / sqrt(3), each within 2 %. Trained weights have another shape.
    """
    for name, module in root.named_modules():
        if not isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
            continue
        w = module._parameters.get("weight")  # not the attribute: a parametrization would be computed
        if not isinstance(w, Tensor) or w.requires_grad or w.numel() < 64 or w.device.type == "meta" or w.dim() < 2:
            continue
        bound = 1 / math.sqrt(w[0].numel())
        values = w.detach().float()
        largest, rms = float(values.abs().amax()), float(values.square().mean().sqrt())
        near = 1 - 8 / w.numel() - _FRESH_MARGIN <= largest / bound <= 1 + 1e-4
        noise = 3 / math.sqrt(w.numel())
        if near and abs(rms * math.sqrt(3) / bound - 1) < _FRESH_MARGIN + noise:
            yield clean(f"{name}.weight")


def _scheduler(config: Any) -> dict[str, Any]:
    """Return what a schedule is: its type, when it steps, and its numbers."""
    scheduler = config.scheduler
    numbers = {
        k: v for k, v in vars(scheduler).items() if not k.startswith("_") and isinstance(v, (int, float, str, bool))
    }
    return {
        "type": type(scheduler).__name__,
        "interval": config.interval,
        "frequency": config.frequency,
        "monitor": config.monitor,
        "settings": numbers,
    }


def _loader(loader: Any) -> dict[str, Any]:
    """Return how a single DataLoader draws its batches."""
    if isinstance(loader, (list, tuple)) and len(loader) == 1:
        loader = loader[0]
    if not isinstance(loader, torch.utils.data.DataLoader):
        return {"type": type(loader).__name__} if loader is not None else {}
    try:
        size: int | None = len(loader.dataset)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        size = None
    return {
        "type": type(loader).__name__,
        "sampler": type(loader.sampler).__name__,
        "batch_size": loader.batch_size,
        "drop_last": bool(loader.drop_last),
        "dataset": type(loader.dataset).__name__,
        "dataset_size": size,
        "workers": loader.num_workers,
    }
