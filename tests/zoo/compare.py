"""Train twice, looked at and not, and tell every difference."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from tests.zoo.task import Case, rows

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")


def raw(x: Any) -> bytes:
    """Return the bits of a tensor of any kind."""
    if not isinstance(x, Tensor):
        return repr(x).encode()
    x = x.detach()
    if hasattr(x, "to_local"):
        x = x.to_local()
    if x.is_quantized:
        x = x.int_repr()
    return x.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if x.numel() else b""


def state(module: Any, trainer: L.Trainer) -> dict[str, Any]:
    """Return all that must not depend on who looks."""
    found: dict[str, Any] = {f"weight {k}": raw(v) for k, v in module.state_dict().items()}
    for i, optimizer in enumerate(trainer.optimizers):
        for j, kept in enumerate(optimizer.state.values()):
            found |= {f"optimizer {i} {j} {k}": raw(v) for k, v in kept.items()}
        found[f"learning rates {i}"] = repr([g.get("lr") for g in optimizer.param_groups])
    found["seen"] = np.array(getattr(module, "seen", [])).tobytes()
    found |= {f"metric {k}": raw(v) for k, v in trainer.callback_metrics.items()}
    found["gradients"] = [None if p.grad is None else p.grad.shape for p in module.parameters()]
    found["torch"] = torch.get_rng_state().numpy().tobytes()
    found["numpy"] = np.random.get_state()[1].tobytes()  # type: ignore[union-attr]
    found["python"] = repr(random.getstate())
    return found | left_behind(module)


def left_behind(module: nn.Module) -> dict[str, Any]:
    """Return every hook, attribute and global switch that an instrument could leave."""
    found: dict[str, Any] = {}
    for name, m in module.named_modules():
        found[f"attributes {name}"] = sorted(m.__dict__)
        found[f"hooks {name}"] = [len(getattr(m, place, None) or ()) for place in _HOOKS]
        extra = ("_forward_hooks_always_called", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
        found[f"extras {name}"] = [len(getattr(m, place, None) or ()) for place in extra]
    for name, p in module.named_parameters():
        hooks = (p._backward_hooks, getattr(p, "_post_accumulate_grad_hooks", None))
        found[f"parameter hooks {name}"] = [len(h or ()) for h in hooks]
    found["function modes"] = torch._C._len_torch_function_stack()
    found["dispatch modes"] = torch._C._len_torch_dispatch_stack()
    found["switches"] = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
    found["global hooks"] = len(nn.modules.module._global_forward_hooks)
    return found


def fit(case: Case, root: Path, callbacks: list[Any], **options: Any) -> tuple[Any, dict[str, Any], set[str]]:
    """Train a case; return the module, its state, and the warnings heard."""
    with warnings.catch_warnings(record=True) as heard, case.around() if case.around else nullcontext():
        warnings.simplefilter("always")
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(0)
        data = (case.data or rows)()
        arguments = {**QUIET, "max_epochs": 1, "default_root_dir": str(root), **case.trainer, **options}
        module = case.build()
        trainer = L.Trainer(**arguments, callbacks=callbacks)
        trainer.fit(module, data, data)
        result = state(module, trainer)
    return module, result, {f"{w.category.__name__}: {w.message}" for w in heard}


def differences(case: Case, root: Path, diagnostics: Any, **options: Any) -> Iterator[str]:
    """Yield what is not the same with and without diagnostics."""
    _, alone, usual = fit(case, root / "alone", [], **options)
    _, seen, heard = fit(case, root / "seen", [diagnostics], **options)
    yield from (key for key in alone.keys() | seen.keys() if alone.get(key) != seen.get(key))
    yield from sorted(heard - usual)


def faults(diagnostics: Any) -> Iterator[str]:
    """Yield why an observation did not go as it should: a crash, an early end."""
    for name, outcome in diagnostics.report.outcomes.items():
        if outcome.verdict == "crashed":
            yield f"{name} crashed: {outcome.reason}"
    status = diagnostics.history.run.get("status")
    if status != "finished":
        yield f"status {status}"
