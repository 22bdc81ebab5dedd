"""Which steps of a fit are sampled, and that nothing is attached on the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_diag import Diagnostics

from .fits import Net, Watch, fit


def stop_at(step: int) -> Watch:
    """A run that ends earlier than it was planned."""

    def stop(trainer: L.Trainer) -> None:
        trainer.should_stop = trainer.global_step >= step

    return Watch(stop)


class Attached(Net):
    """Counts hooks and modes inside every training step."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.attached: dict[int, int] = {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in self.modules())
        hooks += sum(len(p._backward_hooks or ()) for p in self.parameters())
        self.attached[self.global_step] = hooks + torch.overrides._len_torch_function_stack()
        return super().training_step(batch, batch_idx)


def test_nothing_is_attached_on_steps_that_are_not_sampled(tmp_path: Path) -> None:
    module = Attached()
    fit(tmp_path, diagnostics := Diagnostics(every_n_steps=4, verbose=False), module=module, max_epochs=30)
    steps = diagnostics.history.steps.tolist()
    assert 64 <= len(steps) < 160
    assert steps[:5] == [0, 1, 2, 4, 8]
    assert max(np.diff(steps)) <= 4
    assert [step for step, count in module.attached.items() if count] == steps
    assert len(diagnostics.history.series("loss")) == 300


class Jump(Net):
    """The loss of one step is a thousand times larger, or not finite."""

    factor = 1000.0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * self.factor if self.global_step == 101 else loss


@pytest.mark.parametrize("factor", [1000.0, float("nan")])
def test_a_jump_of_the_loss_makes_the_next_steps_sampled(factor: float, tmp_path: Path) -> None:
    module = Jump(lr=1e-4)
    module.factor = factor
    fit(tmp_path, diagnostics := Diagnostics(verbose=False), stop_at(110), module=module, max_epochs=40)
    steps = diagnostics.history.steps.tolist()
    assert 101 not in steps
    assert {102, 103, 104, 105} <= set(steps)
    found = [f for f in diagnostics.report.findings if f.code == "L001"]
    assert bool(found) == (factor != factor)


def test_suspects_are_confirmed_on_extra_steps(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False)
    fit(tmp_path, diagnostics, stop_at(20), module=Net(dead=True), max_epochs=100)
    assert diagnostics.history.run["dead_examples"] == 160
    assert diagnostics.history.steps.tolist()[:12] == list(range(12)), "three silent samples, then a step after a step"
    assert diagnostics.report.outcomes["dead-units"] == "found"
