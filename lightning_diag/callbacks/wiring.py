"""How a run is put together: loaders, schedules, parameters and where they are, what was left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_diag.graph import clean

_MOST_NAMES = 2000
_FRESH_MARGIN = 0.02
_LEAST, _LEAST_NORMAL, _LEAST_EMBEDDED = 32, 1024, 128  # elements of a matrix that tells


def wiring_facts(trainer: Any, module: nn.Module) -> dict[str, Any]:
    """Return the JSON-able facts that rules about wiring need; each part is left out where it cannot be had."""
    owner = {
        id(p): i for i, o in enumerate(getattr(trainer, "optimizers", [])) for g in o.param_groups for p in g["params"]
    }
    parts: dict[str, Any] = {
        "parameters": _parameters(module, owner),
        "norms": _norms(module),
        "dropout": {clean(n): m.p for n, m in module.named_modules() if isinstance(m, _DROPOUT) and m.p > 0},
        "fresh_frozen": list(fresh(module, lambda p: not p.requires_grad)),
        "fresh_left_out": list(fresh(module, lambda p: p.requires_grad and id(p) not in owner)),
        "schedulers": [_scheduler(c) for c in getattr(trainer, "lr_scheduler_configs", [])],
        "train_loader": _loader(getattr(trainer, "train_dataloader", None)),
        "val_loader": _loader(getattr(trainer, "val_dataloaders", None)),
        "callbacks": [type(c).__name__ for c in getattr(trainer, "callbacks", [])],
        "early_stopping": [_stopping(c) for c in getattr(trainer, "callbacks", []) if _stops_early(c)],
        "automatic_optimization": bool(getattr(module, "automatic_optimization", True)),
        "max_epochs": getattr(trainer, "max_epochs", None),
        "max_steps": getattr(trainer, "max_steps", None),
        "batches_per_epoch": _whole(getattr(trainer, "num_training_batches", None)),
        "fast_dev_run": bool(getattr(trainer, "fast_dev_run", False)),
        "gradient_clip_algorithm": str(getattr(trainer, "gradient_clip_algorithm", None) or "norm"),
    }
    return parts


_DROPOUT: Final = nn.modules.dropout._DropoutNd
_EMBEDDINGS: Final = (nn.Embedding, nn.EmbeddingBag)
_UNIFORM: Final = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


def _whole(x: Any) -> int | None:
    return int(x) if isinstance(x, (int, float)) and math.isfinite(x) else None


def _parameters(module: nn.Module, owner: Mapping[int, int]) -> dict[str, Any]:
    """Return name -> [shape, trainable, number of the optimizer or -1]."""
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


def fresh(root: nn.Module, which: Callable[[Tensor], bool]) -> Iterator[str]:
    """Yield those weights that look as they are initialized: never trained, not pretrained.

    Weights of linear, convolution, recurrent and attention layers start uniform in +-b, by the defaults or by Xavier,
    Kaiming or LeCun: then the largest magnitude is b and the root mean square b / sqrt(3), each within 2 % and the
    error of a sample of that size. Or they start normal with one of the usual deviations (Xavier, Kaiming, LeCun; 0.02
    and 0.01): then deviation, mean and kurtosis are those, each within three errors of a sample. So do embeddings,
    with a deviation of 1, the padding row apart. Trained weights have another shape; small matrices, which tell too
    little, are left out.
    """
    for name, module in root.named_modules():
        if not isinstance(module, (*_UNIFORM, *_EMBEDDINGS)):
            continue
        for part, w in module._parameters.items():  # not the attribute: a parametrization would be computed
            if not isinstance(w, Tensor) or w.numel() < _LEAST or w.device.type == "meta" or w.dim() < 2:
                continue
            if which(w) and _looks_fresh(module, w):
                yield clean(f"{name}.{part}")


def _looks_fresh(module: nn.Module, w: Tensor) -> bool:
    values = w.detach().float()
    if isinstance(module, _EMBEDDINGS):
        rows = values[values.abs().amax(1) > 0]
        return rows.numel() >= _LEAST_EMBEDDED and _is_normal(rows, (1.0, 0.02, 0.01, 1 / math.sqrt(w.shape[1])))
    largest, rms = float(values.abs().amax()), float(values.square().mean().sqrt())
    bounds, n = _bounds(module, w), w.numel()
    if any(_is_uniform(largest, rms, n, b) for b in bounds):
        return True
    deviations = (*(b / math.sqrt(3) for b in bounds), math.sqrt(2 / w.shape[0] / max(1, w[0, 0].numel())), 0.02, 0.01)
    return n >= _LEAST_NORMAL and _is_normal(values, deviations)


def _is_normal(values: Tensor, deviations: tuple[float, ...]) -> bool:
    """Tell whether numbers are normal around zero with one of the deviations, as far as so many can tell."""
    n, rms = values.numel(), float(values.square().mean().sqrt())
    if not any(abs(rms / d - 1) < _errors(n, 1 / math.sqrt(2)) for d in deviations):
        return False
    kurtosis = float((values / max(rms, 1e-30)).pow(4).mean())
    return abs(float(values.mean())) < rms * _errors(n) and abs(kurtosis - 3) < _errors(n, math.sqrt(24))


def _errors(n: int, deviation: float = 1.0) -> float:
    """Return three standard errors of a mean of n numbers."""
    return 3 * deviation / math.sqrt(n)


def _bounds(module: nn.Module, w: Tensor) -> tuple[float, ...]:
    """Return the b of the usual uniform initializations."""
    fan_in, fan_out = w[0].numel(), w.shape[0] * w[0, 0].numel()
    hidden = getattr(module, "hidden_size", None)
    default = 1 / math.sqrt(hidden if isinstance(hidden, int) else fan_in)
    return default, math.sqrt(6 / (fan_in + fan_out)), math.sqrt(6 / fan_in), math.sqrt(3 / fan_in)


def _is_uniform(largest: float, rms: float, n: int, bound: float) -> bool:
    near = 1 - 8 / n - _FRESH_MARGIN <= largest / bound <= 1 + 1e-4
    return near and abs(rms * math.sqrt(3) / bound - 1) < _FRESH_MARGIN + 3 / math.sqrt(n)


def _stops_early(callback: Any) -> bool:
    """Tell an EarlyStopping, of lightning or of pytorch_lightning, by its name."""
    return any(kind.__name__ == "EarlyStopping" for kind in type(callback).__mro__)


def _stopping(callback: Any) -> dict[str, Any]:
    """Return what an EarlyStopping watches, which way is better, and when it ends the run."""
    keys = ("monitor", "mode", "patience", "min_delta", "stopping_threshold", "divergence_threshold")
    return {k: getattr(callback, k, None) for k in keys}


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
