"""What cannot be operated on, and whether what was operated on still runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.order.recorded import arguments, tensors
from lightning_diag.order.untouched import untouched
from lightning_diag.surgery.changes import Changes

_WRAPPERS = ("DistributedDataParallel", "DataParallel", "FullyShardedDataParallel", "FSDPModule", "DeepSpeedEngine")


def check_operable(model: Any) -> None:
    """Refuse what surgery cannot reach: compiled, wrapped, scripted.

    Raises:
        TypeError: if it is no module.
        ValueError: with the reason.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"surgery wants a torch.nn.Module, got {type(model).__name__}")
    for name, module in model.named_modules():
        at = f"{name or 'the model'} ({type(module).__name__})"
        if type(module).__name__ == "OptimizedModule" or any(
            getattr(module, name, None) is not None for name in ("_compiled_call_impl", "_compiler_ctx")
        ):
            raise ValueError(f"{at} is under torch.compile, which has the old forward: do the surgery before compiling")
        wrappers = {cls.__name__ for cls in type(module).__mro__} & set(_WRAPPERS)
        if wrappers:
            raise ValueError(
                f"{at} is wrapped by {wrappers.pop()}, which knows the old parameters: do it before wrapping"
            )
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("a TorchScript module cannot be changed: do the surgery before scripting")


def failure(model: nn.Module, example_inputs: Any, *, training: bool) -> str:
    """Return why a model does not train on example inputs, or evaluate one sample of them; "" if it does.

    Training means a forward and a backward pass; a single sample is doubled for it. Nothing of the model changes.
    """
    args, kwargs = arguments(model, example_inputs)
    size = {t.shape[0] if t.dim() else 0 for t in tensors((args, kwargs))}
    one = len(size) == 1 and min(size) > 0

    def cut(value: Any) -> Any:
        if not one or not isinstance(value, Tensor):
            return value
        return value[:1] if not training else torch.cat([value, value]) if size == {1} else value

    with untouched(model):
        model.train(training)
        try:
            with torch.set_grad_enabled(training):
                out = model(*map(cut, args), **{k: cut(v) for k, v in kwargs.items()})
                if training:
                    _backward(model, out)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return ""


def perform(
    model: nn.Module, operate: Callable[[Changes], object], example_inputs: Any = None, *, what: str
) -> nn.Module:
    """Return the model, changed; if it does not run then on ``example_inputs``, it is as it was, bit for bit.

    What the model could not do before either (evaluate a single sample, say) is no fault of the change.

    Args:
        model: the model.
        operate: makes the changes.
        example_inputs: what it is tried on: one training pass, and the evaluation of one sample; None tries nothing.
        what: the change in words, for the error.

    Raises:
        ValueError: with the reason.
    """
    with Changes(model) as changes:
        operate(changes)
        if example_inputs is None:
            return model
        failed = {training: failure(model, example_inputs, training=training) for training in (True, False)}
        if any(failed.values()):
            changes.undo()
            for training, reason in failed.items():
                if reason and not failure(model, example_inputs, training=training):
                    doing = "train on example_inputs" if training else "evaluate one sample"
                    raise ValueError(f"with {what} {type(model).__name__} would not {doing}: {reason}")
            operate(changes)
    return model


def _backward(model: nn.Module, out: Any) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    sums = [t.float().sum() for t in tensors(out) if t.requires_grad and not t.is_complex()]
    if sums and parameters:
        torch.autograd.grad(torch.stack(sums).sum(), parameters, allow_unused=True)
