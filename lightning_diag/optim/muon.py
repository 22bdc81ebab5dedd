"""Muon for hidden matrices and AdamW for everything else, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from lightning_diag.optim.roles import trainable


class MuonAndAdamW(Optimizer):
    """Muon on the matrices of hidden layers, AdamW on embeddings, the last layer, convolutions, norms and biases.

    Groups of both stand in ``param_groups``, so schedulers, clipping and checkpoints see one optimizer. Muon's rate is
    scaled to AdamW's (``adjust_lr_fn="match_rms_adamw"``), so one rate serves both.

    Args:
        model: tells which matrices are hidden.
        groups: as made by ``parameter_groups``.
        lr: base rate.
        arguments: of ``torch.optim.Muon``.

    Source: Jordan et al. 2024, Muon: an optimizer for hidden layers; Liu et al. 2025 (arXiv:2502.16982) for the rate.
    """

    def __init__(
        self, model: nn.Module, groups: Sequence[Mapping[str, Any]], lr: float, arguments: Mapping[str, Any]
    ) -> None:
        hidden = hidden_matrices(model)
        split: list[list[dict[str, Any]]] = [[], []]
        for group in groups:
            for i, kind in enumerate(("muon", "adamw")):
                params = [p for p in group["params"] if (id(p) in hidden) == (kind == "muon")]
                if params:
                    split[i].append({**group, "params": params, "name": f"{kind}.{group['name']}"})
        self._parts: list[Optimizer] = []
        if split[0]:
            self._parts.append(torch.optim.Muon(split[0], lr=lr, **arguments))
        if split[1]:
            self._parts.append(AdamW(split[1], lr=lr))
        super().__init__([group for part in self._parts for group in part.param_groups], {"lr": lr})
        self._share()

    def _share(self) -> None:
        """Let the parts work on this optimizer's groups and state."""
        start = 0
        for part in self._parts:
            count = len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start : start + count], self.state
            start += count

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_parts": self._parts}

    def __setstate__(self, state: dict[str, Any]) -> None:  # of a pickle, and of load_state_dict
        super().__setstate__(state)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with both; the closure is called once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss


def hidden_matrices(model: nn.Module) -> set[int]:
    """Return the ids of the matrices that Muon is for: two dimensions, no embedding, not of the last layer."""
    parts = trainable(model)
    deepest = max((p.layer for p in parts), default=0)
    matrices = [p for p in parts if p.role == "weight" and p.parameter.ndim == 2]
    return {id(p.parameter) for p in matrices if p.layer != deepest or deepest == 0}
