"""The contract of all surgery: changed and trains, or refused untouched."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.order.recorded import tensors

BATCH_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
Operation = Callable[[nn.Module, Any], nn.Module]


def state(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def fingerprint(model: nn.Module) -> list[Any]:
    """All that surgery may not touch when it refuses."""
    modules = [(name, id(m), type(m), m.training, sorted(m.__dict__)) for name, m in model.named_modules()]
    values = [(k, id(v), v.detach().numpy().tobytes()) for k, v in model.state_dict(keep_vars=True).items()]
    return [modules, values, torch.random.get_rng_state().tolist()]


def train(model: nn.Module, inputs: Tensor, steps: int = 2) -> float:
    """Train to put out zeros; return the last loss."""
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.stack([t.square().mean() for t in tensors(model(inputs)) if t.is_floating_point()]).sum()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def outputs(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    model.eval()
    with torch.no_grad():
        return [t.clone() for t in tensors(model(inputs))]


def examine(model: nn.Module, inputs: Tensor, operate: Operation, *, picklable: bool = True) -> str:
    """Operate; return "changed", "same", or the reason of the refusal; assert what was promised of each."""
    model.train()
    before, keys = fingerprint(model), list(model.state_dict())
    try:
        result = operate(model, inputs)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert fingerprint(model) == before
        return refusal
    assert result is model
    if fingerprint(model) == before:
        return "same"
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    gone = set(keys) - set(model.state_dict())
    assert all(key.endswith((".bias", *BATCH_STATISTICS)) for key in gone), gone
    again = fingerprint(model)
    operate(model, inputs)
    assert fingerprint(model) == again, "not idempotent"
    assert torch.isfinite(torch.tensor(train(model, inputs)))
    assert all(p.grad is not None for n, p in model.named_parameters() if ".norm." in n), "an idle norm"
    assert all(torch.isfinite(t).all() for t in outputs(model, inputs[:1]))
    _round_trips(model, inputs, picklable)
    return "changed"


def _round_trips(model: nn.Module, inputs: Tensor, picklable: bool) -> None:
    expected = outputs(model, inputs)
    copies = [copy.deepcopy(model)]
    if picklable:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You are using `torch.load`")  # torch 2.4, of its own loading
            copies.append(pickle.loads(pickle.dumps(model)))
    for twin in copies:
        for p in twin.parameters():
            p.data.zero_()
        twin.load_state_dict(state(model))
        assert all(torch.equal(a, b) for a, b in zip(expected, outputs(twin, inputs), strict=True))
