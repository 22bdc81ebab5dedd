"""The helper for tests: fits for some steps, gives the report, leaves nothing behind."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics
from lightning_diag.testing import fit


def training_step(self: Any, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
    return nn.functional.mse_loss(self.layer(batch[0]), batch[1]) * self.scale


def make(base: Any, scale: float = 1.0) -> Any:
    """A small module of either package."""

    def configure_optimizers(self: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)

    module = type("Net", (base,), {"training_step": training_step, "configure_optimizers": configure_optimizers})()
    torch.manual_seed(0)
    module.layer, module.scale = nn.Linear(4, 1), scale
    return module


def loader() -> DataLoader[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=generator)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16, shuffle=True)


@pytest.mark.parametrize("base", [L.LightningModule, pl.LightningModule], ids=["lightning", "pytorch_lightning"])
def test_it_takes_as_many_steps_as_asked(base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = fit(make(base), loader(), steps=10)
    assert report.run["steps"] == 10  # two and a half epochs
    assert report.count("clean") > 5
    assert list(tmp_path.iterdir()) == []


def test_it_sees_a_sick_training(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False, select=["L001"])
    report = fit(make(L.LightningModule, float("nan")), loader(), steps=4, diagnostics=diagnostics, directory=tmp_path)
    assert [f.code for f in report.findings] == ["L001"]
    assert len(diagnostics.history.series("loss")) == 4
    assert list(tmp_path.rglob("history.jsonl")) != []


def test_the_same_seed_gives_the_same_and_random_states_are_restored() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    curves = []
    for seed in (0, 0, 1):
        diagnostics = Diagnostics(verbose=False)
        fit(make(L.LightningModule), loader(), steps=6, seed=seed, diagnostics=diagnostics)
        torch.set_rng_state(torch.tensor(states[2], dtype=torch.uint8))  # make() draws weights
        curves.append(diagnostics.history.series("loss").values.tolist())
    assert curves[0] == curves[1] != curves[2]
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index]


def test_options_of_the_trainer_win_and_its_callbacks_stay() -> None:
    seen: list[int] = []

    class Own(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            seen.append(trainer.global_step)

    report = fit(make(L.LightningModule), loader(), steps=3, callbacks=Own(), accumulate_grad_batches=2)
    assert report.run["steps"] == 3
    assert seen == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "3"])
def test_steps_out_of_range(steps: Any) -> None:
    with pytest.raises(ValueError, match=f"steps must be an integer of 1 or more, got {steps!r}"):
        fit(make(L.LightningModule), loader(), steps=steps)


def test_another_kind_of_module() -> None:
    with pytest.raises(TypeError, match="fit needs a LightningModule, got Linear"):
        fit(nn.Linear(1, 1), loader())
