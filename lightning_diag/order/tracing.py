"""The order of execution: by torch.fx, else by a recorded forward pass, else by names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from lightning_diag.order.calls import Call, Order
from lightning_diag.order.kinds import module_kind
from lightning_diag.order.recorded import record
from lightning_diag.order.symbolic import trace_symbolically
from lightning_diag.order.untouched import untouched


class Untraceable(ValueError):  # noqa: N818 - a name for a reason, as in "Unmeasured"
    """The order of execution could not be found."""


def trace(model: nn.Module, example_inputs: Any = None, *, names: Iterable[str] | None = None) -> Order:
    """Return the calls of one forward pass of a model in order of execution.

    Nothing of the model changes: buffers, modes, attributes and the random state are put back.

    Args:
        model: the model; uncompiled and not wrapped.
        example_inputs: one input of ``model``: a tensor, a tuple of positional or a dict of named arguments. Needed
            where torch.fx cannot follow the model: control flow that depends on data, a forward that counts.
        names: instead of looking, the names of modules in the order in which they run, one feeding the next.

    Raises:
        Untraceable: (a ValueError) if neither way works, with the reasons.
        ValueError: if a name is not that of a module.
    """
    if names is not None:
        return _from_names(model, tuple(names))
    lazy = [name for name, p in model.named_parameters() if isinstance(p, nn.parameter.UninitializedParameter)]
    if lazy:
        raise Untraceable(f"{lazy[0]} of a lazy module has no shape yet: run the model once on real data before")
    with untouched(model):
        symbolic = trace_symbolically(model)
    if isinstance(symbolic, Order):
        return symbolic
    if example_inputs is None:
        raise Untraceable(
            f"torch.fx cannot follow {type(model).__name__}.forward ({symbolic}); give example_inputs=, so that one "
            "forward pass can be recorded, or names= of the modules in order of execution"
        )
    return _recorded(model, example_inputs, symbolic)


def _recorded(model: nn.Module, example_inputs: Any, symbolic: str) -> Order:
    try:
        return record_untouched(model, example_inputs)
    except Untraceable as error:
        name = type(model).__name__
        raise Untraceable(f"torch.fx cannot follow {name}.forward ({symbolic}), and {error}") from error


def record_untouched(model: nn.Module, example_inputs: Any) -> Order:
    """Return the order of one forward pass, in training mode, where auxiliary heads run; if that fails in evaluation.

    Without gradients; if that fails with them, since some models differentiate in their forward.

    Raises:
        Untraceable: (a ValueError) if both fail.
    """
    reasons = []
    for training, gradients in ((True, False), (True, True), (False, False)):
        with untouched(model), torch.set_grad_enabled(gradients):
            model.train(training)
            try:
                return record(model, example_inputs)
            except Exception as error:
                reasons.append(f"{type(error).__name__}: {error}")
    raise Untraceable(f"running {type(model).__name__} on example_inputs failed: {reasons[0]}")


def _from_names(model: nn.Module, names: Sequence[str]) -> Order:
    modules = dict(model.named_modules())
    unknown = [name for name in names if name not in modules]
    if unknown:
        raise ValueError(f"names= has {unknown[0]!r}, which is no module; there are {', '.join(filter(None, modules))}")
    if not names:
        raise ValueError("names= is empty; give the names of the modules in order of execution")
    calls = [Call(0, "input", "input", "", None, ())]
    for index, name in enumerate(names, start=1):
        kind, what = module_kind(modules[name]) or ("other", type(modules[name]).__name__)
        calls.append(Call(index, kind, what, name, modules[name], (index - 1,)))
    return Order(tuple(calls), frozenset({len(names)}), "names")


def output_shapes(model: nn.Module, example_inputs: Any) -> dict[nn.Module, torch.Size]:
    """Return the shape of the first tensor that each module put out in one forward pass.

    Raises:
        Untraceable: (a ValueError) if the forward pass fails.
    """
    order = record_untouched(model, example_inputs)
    return {c.module: c.shape for c in order.calls if c.module is not None and c.shape is not None}
