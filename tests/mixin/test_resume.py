"""A run that was interrupted goes on bit for bit: the same rates, the same weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_diag import Recipe
from tests.mixin.nets import BARE, FAMILIAR, Digits, Seen, loader, trainer

pytestmark = FAMILIAR
PLATEAU = {"patience": 0, "factor": 0.5, "threshold": 0.99}
RECIPES = {
    "cosine": {"schedule": "cosine", "optimizer": "adamw", "warmup": 0.2},
    "one_cycle": {"schedule": "one_cycle", "optimizer": "sgd"},
    "step": {"schedule": "step", "schedule_options": {"every": 1, "factor": 0.5}, "optimizer": "rmsprop"},
    "cosine_restarts": {"schedule": "cosine_restarts", "layer_decay": 0.7},
    "milestones with warmup": {"schedule": "milestones", "warmup": 3, "optimizer": "nadam"},
    "plateau": {"schedule": "plateau", "schedule_options": PLATEAU},
    "plateau with warmup": {"schedule": "plateau", "schedule_options": PLATEAU, "warmup": 4},
    "plateau without validation": {"schedule": "plateau", "schedule_options": PLATEAU, "monitor": None},
    "muon": {"schedule": "linear", "optimizer": "muon"},
}


def run(
    recipe: Recipe, folder: Path, val: bool, epochs: int = 4, ckpt: str | None = None, **options: Any
) -> tuple[Digits, Seen]:
    torch.manual_seed(0)
    module, seen = Digits(recipe=recipe), Seen()
    keep = ModelCheckpoint(folder, "{epoch}-{step}", save_top_k=-1, every_n_epochs=1, save_on_train_epoch_end=None)
    made = trainer(seen, keep, enable_checkpointing=True, max_epochs=epochs, **options)
    made.fit(module, loader(), loader(64, 64) if val else None, ckpt_path=ckpt, weights_only=True)
    return module, seen


@pytest.mark.parametrize("name", RECIPES)
def test_it_continues_exactly(name: str, tmp_path: Path) -> None:
    if name == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("torch has no Muon")
    recipe, val = Recipe(lr=0.01, **BARE, **RECIPES[name]), name != "plateau without validation"  # type: ignore[arg-type]
    whole, seen = run(recipe, tmp_path / "whole", val)
    path = str(tmp_path / "whole" / "epoch=1-step=12.ckpt")
    again, later = run(recipe, tmp_path / "again", val, ckpt=path)
    assert later.rates == seen.rates[12:]
    assert later.by_group == seen.by_group[12:]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert len(set(seen.rates)) > 1


def test_rates_continue_exactly_from_the_middle_of_an_epoch(tmp_path: Path) -> None:
    recipe = Recipe(lr=0.01, schedule="cosine", **BARE)
    torch.manual_seed(0)
    module, seen = Digits(recipe=recipe), Seen()
    keep = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1)
    trainer(seen, keep, enable_checkpointing=True).fit(module, loader())
    again, later = Digits(recipe=recipe), Seen()
    trainer(later).fit(again, loader(), ckpt_path=str(tmp_path / "step=4.ckpt"), weights_only=True)
    assert later.rates == seen.rates[4:]  # a DataLoader begins its epoch anew, so the weights are others


def test_another_recipe_in_a_resumed_run_is_told(tmp_path: Path) -> None:
    run(Recipe(lr=0.01, schedule="linear", **BARE), tmp_path, val=False, epochs=2)
    with pytest.warns(UserWarning, match=r"resumed with another recipe: lr=0.5 \(was 0.01\).*load_from_checkpoint"):
        run(Recipe(lr=0.5, schedule="linear", **BARE), tmp_path, False, ckpt=str(tmp_path / "epoch=0-step=6.ckpt"))


def test_a_longer_run_follows_the_longer_schedule(tmp_path: Path) -> None:
    recipe = Recipe(lr=0.01, schedule="linear", **BARE)
    run(recipe, tmp_path, val=False, epochs=2)
    _, seen = run(recipe, tmp_path, False, epochs=4, ckpt=str(tmp_path / "epoch=0-step=6.ckpt"))
    assert seen.rates[1:3] == pytest.approx([0.01 * (1 - t / 24) for t in (7, 8)])
