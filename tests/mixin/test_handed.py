"""Clipping, L1, the learning-rate finder; and what is told where the recipe is not the one to decide."""

import warnings
from dataclasses import replace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.tuner import Tuner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Recipe, RecipeMixin
from lightning_diag.callbacks.recipes import (
    FindRate,
    L1Penalty,
    loader as loader_of,
    recipe_callbacks,
    trainer_arguments,
)
from tests.mixin.nets import BARE, FAMILIAR, Digits, Seen, fit, loader, rows, trainer

pytestmark = FAMILIAR
SGD = Recipe(optimizer="sgd", momentum=0.0, lr=1.0, schedule="constant", **BARE)


def first_step(recipe: Recipe, *callbacks: L.Callback, **options: Any) -> tuple[Digits, Digits]:
    """Return the module after one step of plain gradient descent with a rate of 1, and as it was."""
    module, _, _ = fit(recipe, *callbacks, max_steps=1, max_epochs=1, **options)
    torch.manual_seed(0)
    return module, Digits(recipe=recipe)


def length(after: nn.Module, before: nn.Module) -> float:
    pairs = zip(after.parameters(), before.parameters(), strict=True)
    return float(torch.stack([(a - b).detach().square().sum() for a, b in pairs]).sum().sqrt())


@pytest.mark.parametrize("limit", [0.5, 0.01])
def test_gradients_are_clipped_by_norm(limit: float) -> None:
    assert length(*first_step(replace(SGD, gradient_clip_val=limit))) == pytest.approx(limit, rel=1e-4)


def test_gradients_are_clipped_by_value() -> None:
    after, before = first_step(replace(SGD, gradient_clip_val=1e-3, gradient_clip_algorithm="value"))
    moves = [(a - b).detach().abs().max() for a, b in zip(after.parameters(), before.parameters(), strict=True)]
    assert float(max(moves)) == pytest.approx(1e-3, rel=1e-3)


def test_the_trainer_clips_where_the_recipe_does_not() -> None:
    assert length(*first_step(SGD, gradient_clip_val=0.25)) == pytest.approx(0.25, rel=1e-4)
    assert length(*first_step(replace(SGD, gradient_clip_val=0.25), gradient_clip_val=0.25)) == pytest.approx(
        0.25, rel=1e-4
    )
    with pytest.raises(
        ValueError, match=r"Recipe\(gradient_clip_val=0.5.*Trainer\(gradient_clip_val=0.25.*in one place"
    ):
        first_step(replace(SGD, gradient_clip_val=0.5), gradient_clip_val=0.25)


def test_l1_moves_weights_by_its_sign_and_nothing_else() -> None:
    plain, before = first_step(SGD)
    with_l1, _ = first_step(replace(SGD, l1=0.125))
    for (name, a), b, start in zip(with_l1.named_parameters(), plain.parameters(), before.parameters(), strict=True):
        expected = 0.125 * start.sign() if name in ("net.0.weight", "net.3.weight") else torch.zeros_like(start)
        assert torch.allclose(b - a, expected, atol=1e-6), name
    alone, _ = first_step(SGD, L1Penalty(0.125))
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), with_l1.parameters(), strict=True))


def test_the_tuner_finds_and_sets_the_rate(tmp_path: Any) -> None:
    torch.manual_seed(0)
    module = Digits(recipe=Recipe(optimizer="sgd", lr=0.001, schedule="constant", **BARE))
    found = Tuner(trainer(default_root_dir=str(tmp_path))).lr_find(module, loader(960), num_training=60)
    assert found is not None
    assert module.lr == module.recipe.lr == found.suggestion() == module.hparams["recipe"]["lr"]
    seen = Seen()
    trainer(seen, max_epochs=1).fit(module, loader())
    assert set(seen.rates) == {module.lr}


def test_a_searched_rate_reaches_schedulers_and_layers(tmp_path: Any) -> None:
    recipe = Recipe(lr="search", schedule="linear", layer_decay=0.5, **BARE)
    module, seen, made = fit(recipe, n=960, max_epochs=1, default_root_dir=str(tmp_path), val=False)
    finder = next(c for c in made.callbacks if isinstance(c, FindRate))
    assert module.recipe.lr == finder.found
    assert seen.by_group[-60]["layer1.weights"] == pytest.approx(finder.found)
    assert seen.by_group[-60]["layer0.weights"] == pytest.approx((finder.found or 0) / 2)
    assert seen.by_group[-30]["layer1.weights"] == pytest.approx((finder.found or 0) / 2)
    fit(recipe, fast_dev_run=True)


def test_what_is_the_trainers_is_told() -> None:
    recipe = replace(SGD, max_epochs=7, precision="bf16-mixed", accumulate_grad_batches=4)
    with pytest.warns(UserWarning, match="Recipe: ") as told:
        fit(recipe)
    text = " ".join(str(w.message) for w in told)
    assert "max_epochs=7 is the Trainer's, which has 2: Trainer(max_epochs=7)" in text
    assert "Trainer(precision='bf16-mixed')" in text
    assert "Trainer(accumulate_grad_batches=4)" in text
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Recipe")
        fit(recipe, **trainer_arguments(recipe))


def test_what_is_the_loaders_is_told() -> None:
    recipe = replace(SGD, batch_size=32, shuffle=True, num_workers=0)
    with pytest.warns(UserWarning, match="Recipe: ") as told:
        fit(recipe)
    text = " ".join(str(w.message) for w in told)
    assert "batch_size=32 is the training loader's, which has 16" in text
    assert "shuffle=True is the training loader's, which has False" in text
    assert "num_workers" not in text
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Recipe")
        trainer().fit(Digits(recipe=recipe), loader_of(TensorDataset(*rows()), recipe))


def test_a_loader_is_as_the_recipe_says() -> None:
    data = TensorDataset(*rows())
    made = loader_of(data, Recipe(batch_size=20, shuffle=False), drop_last=True)
    assert (made.batch_size, type(made.sampler).__name__, made.drop_last) == (20, "SequentialSampler", True)
    assert type(loader_of(data, Recipe()).sampler).__name__ == "RandomSampler"
    assert type(loader_of(data, Recipe(curriculum="order")).sampler).__name__ == "SequentialSampler"


class ByHand(RecipeMixin, L.LightningModule):
    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe=recipe)
        self.automatic_optimization = False
        self.layer = nn.Linear(64, 10)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))
        optimizer.step()


def test_a_module_that_optimizes_by_hand_is_told_what_is_its_own() -> None:
    with pytest.warns(UserWarning, match=r"optimizes by hand.*self.lr_schedulers\(\).step\(\)"):
        trainer().fit(ByHand(SGD), loader())
    with pytest.raises(ValueError, match=r"does not clip: call self.clip_gradients\(optimizer, 0.5\)"):
        trainer().fit(ByHand(replace(SGD, gradient_clip_val=0.5, schedule=None)), loader())
    trainer().fit(ByHand(replace(SGD, schedule=None)), loader())


class Untouched(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def test_callbacks_carry_it_out_for_a_module_that_stays_as_it_is() -> None:
    recipe = Recipe(
        optimizer="adamw", lr=0.01, schedule="linear", norm="batch", gradient_clip_val=0.5, standardize="feature"
    )
    module, seen = Untouched(), Seen()
    made = trainer(seen, *recipe_callbacks(recipe))
    made.fit(module, loader())
    assert seen.rates == pytest.approx([0.01 * (1 - t / 12) for t in range(12)])
    assert type(made.optimizers[0]).__name__ == "AdamW"
    assert "BatchNorm1d" in str(module)
    assert float(module.input_preprocessing.state_dict()["mean"].abs().sum()) > 0  # type: ignore[union-attr]
    assert "configure_optimizers" not in vars(module)
    assert made.gradient_clip_val is None
    plain, again = Seen(), Untouched()
    trainer(plain).fit(again, loader())
    assert set(plain.rates) == {0.5}


def test_the_module_is_as_before_after_an_error() -> None:
    class Bad(Untouched):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            raise ZeroDivisionError("of its own")

    module, made = Bad(), trainer(*recipe_callbacks(replace(SGD, gradient_clip_val=0.5)))
    with pytest.raises(ZeroDivisionError):
        made.fit(module, loader())
    assert "configure_optimizers" not in vars(module)
    assert made.gradient_clip_val is None


def test_callbacks_and_mixin_train_alike() -> None:
    recipe = Recipe(optimizer="momentum", lr=0.05, schedule="cosine", l1=1e-4, gradient_clip_val=1.0)

    class Mixed(RecipeMixin, Untouched):
        pass

    torch.manual_seed(0)
    mixed = Mixed()
    mixed.recipe = recipe
    trainer().fit(mixed, loader())
    torch.manual_seed(0)
    module = Untouched()
    trainer(*recipe_callbacks(recipe)).fit(module, loader())
    assert all(torch.equal(a, b) for a, b in zip(mixed.parameters(), module.parameters(), strict=True))


def test_a_loader_without_a_size_is_not_accused() -> None:
    recipe = replace(SGD, batch_size=16)
    x, y = rows()
    batches = DataLoader(TensorDataset(x[:64], y[:64]), batch_sampler=[list(range(16))] * 4)  # type: ignore[arg-type]
    trainer().fit(Digits(recipe=recipe), batches)
