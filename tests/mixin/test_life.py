"""Where a recipe comes from, where it is kept, and what happens to hooks of the user's own."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from lightning_diag import Recipe, RecipeMixin
from tests.mixin.nets import BARE, FAMILIAR, Digits, Seen, fit, loader, trainer

pytestmark = FAMILIAR
FULL = Recipe(optimizer="adamw", lr=0.01, schedule="cosine", norm="batch", dropout=0.1, activation="gelu", **BARE)


class Plain(RecipeMixin, L.LightningModule):
    """No ``recipe`` argument: the recipe is the class's."""

    recipe = Recipe(lr=0.02, schedule="constant", **BARE)

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


class Given(Plain):
    """With a ``recipe`` argument, and without a norm of its own."""

    def __init__(self, recipe: Any = None) -> None:
        RecipeMixin.__init__(self, recipe=recipe)
        self.net = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


class NoInit(RecipeMixin, L.LightningModule):
    """No ``__init__`` at all."""


def saved(module: Any, path: Path) -> str:
    made = trainer(max_epochs=1)
    made.fit(module, loader())
    made.save_checkpoint(path / "a.ckpt")
    return str(path / "a.ckpt")


def test_a_recipe_comes_from_the_class_the_argument_or_a_mapping() -> None:
    assert Plain().recipe.lr == 0.02
    assert Digits(recipe=FULL).recipe == FULL
    assert Digits(recipe={"lr": 0.5, "schedule": "linear"}).recipe == Recipe(lr=0.5, schedule="linear")
    assert NoInit(recipe=Recipe(lr=1.0)).recipe.lr == 1.0
    assert NoInit().recipe == Recipe()
    with pytest.raises(TypeError, match="must be a Recipe or a mapping of its fields, got 'cosine'"):
        Digits(recipe="cosine")  # type: ignore[arg-type]


@pytest.mark.parametrize("recipe", [FULL, replace(FULL, lr=0.5, norm="layer", norm_position="post")])
def test_it_comes_back_with_the_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    module = Digits(width=9, recipe=recipe)
    path = saved(module, tmp_path)
    again = Digits.load_from_checkpoint(path)
    assert (again.recipe, again.hparams["width"]) == (recipe, 9)
    assert again.hparams["recipe"] == recipe.to_dict()
    assert list(again.state_dict()) == list(module.state_dict())
    x = torch.rand(4, 64)
    assert torch.equal(again.eval()(x), module.eval()(x))
    assert torch.load(path, weights_only=True)["hyper_parameters"]["recipe"] == recipe.to_dict()


def test_it_comes_back_where_init_takes_none(tmp_path: Path) -> None:
    module = Plain(width=5)
    module.recipe = replace(module.recipe, lr=0.3, norm="layer")
    again = Plain.load_from_checkpoint(saved(module, tmp_path))
    assert again.recipe == module.recipe
    assert torch.equal(again(torch.ones(2, 64)), module(torch.ones(2, 64)))


def test_another_recipe_can_be_given_when_loading(tmp_path: Path) -> None:
    path = saved(Given(recipe=FULL), tmp_path)
    assert Given.load_from_checkpoint(path, recipe=replace(FULL, lr=0.5)).recipe.lr == 0.5
    with pytest.raises(RuntimeError, match=r"Unexpected key|Missing key"):
        Given.load_from_checkpoint(path, recipe=replace(FULL, norm=None))


def test_the_recipe_is_among_what_the_logger_gets(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    fit(Recipe(lr=0.125, **BARE), logger=CSVLogger(str(tmp_path), name="", version=""))
    assert "lr: 0.125" in (tmp_path / "hparams.yaml").read_text()


def test_restored_weights_stay_and_a_second_fit_does_not_begin_anew(tmp_path: Path) -> None:
    module = Digits(recipe=Recipe(lr=1e-12, optimizer="sgd", schedule="constant"))
    trainer(max_epochs=1).fit(module, loader())
    before = copy.deepcopy(module.state_dict())
    assert float(module.net[0].weight.detach().std()) == pytest.approx((2 / 1.0625 / 64) ** 0.5, rel=0.1)
    assert float(module.net[0].bias.detach().abs().max()) < 1e-6
    trainer(max_epochs=1).fit(module, loader())
    made = trainer(max_epochs=1)
    made.fit(module, loader())
    made.save_checkpoint(tmp_path / "a.ckpt")
    again = Digits.load_from_checkpoint(tmp_path / "a.ckpt")
    trainer(max_epochs=1).fit(again, loader())
    loaded = Digits(recipe=module.recipe)
    loaded.load_state_dict(module.state_dict())
    trainer(max_epochs=1).fit(loaded, loader())
    for net in (module, again, loaded):
        assert all(torch.allclose(v, before[k], atol=1e-6) for k, v in net.state_dict().items())


def test_layers_are_changed_once_before_the_optimizer_exists() -> None:
    module, made = Given(recipe=FULL), trainer()
    made.fit(module, loader())
    kinds = [type(m).__name__ for m in module.modules()]
    assert [kinds.count(k) for k in ("GELU", "ReLU", "Dropout", "BatchNorm1d")] == [1, 0, 1, 1]
    inside = {id(p) for g in made.optimizers[0].param_groups for p in g["params"]}
    assert inside == {id(p) for p in module.parameters()}
    trainer().fit(module, loader())
    trainer().predict(module, torch.utils.data.DataLoader(torch.rand(4, 64), 4))
    assert [type(m).__name__ for m in module.modules()] == kinds
    twin = copy.deepcopy(module)
    assert twin.recipe == FULL
    assert pickle.loads(pickle.dumps(module.recipe)) == FULL


def test_a_changed_model_refuses_another_structure() -> None:
    module = Given(recipe=FULL)
    trainer().fit(module, loader())
    module.recipe = replace(FULL, norm="group")
    with pytest.raises(RuntimeError, match=r"already changed by its recipe.*norm='group' \(it has 'batch'\)"):
        trainer().fit(module, loader())


def test_lr_is_the_rate_of_the_recipe() -> None:
    module = Plain()
    module.lr = 1
    assert (module.lr, module.recipe.lr, module.hparams["recipe"]["lr"]) == (1.0, 1.0, 1.0)
    with pytest.raises(TypeError, match=r"Plain\.lr is the learning rate of its recipe, a number above 0; got None"):
        module.lr = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"Recipe\.lr must be a number"):
        module.lr = -1.0


def test_the_mixin_must_stand_first() -> None:
    with pytest.raises(TypeError, match=r"class Wrong\(RecipeMixin, L\.LightningModule\)"):

        class Wrong(L.LightningModule, RecipeMixin):  # type: ignore[misc]
            pass


@pytest.mark.parametrize("hook", ["configure_optimizers", "configure_model", "configure_callbacks"])
def test_a_hook_without_super_is_an_error(hook: str) -> None:
    def own(self: Any) -> Any:
        return {"configure_callbacks": []}.get(hook, torch.optim.SGD(self.parameters(), lr=0.1))

    kind = type("Own", (Plain,), {hook: own})
    message = "must add what super" if hook == "configure_callbacks" else rf"Own overrides {hook} without calling super"
    with pytest.raises(RuntimeError, match=message):
        trainer().fit(kind(), loader())


def test_a_clipping_hook_without_super_is_an_error() -> None:
    class Own(Plain):
        recipe = replace(Plain.recipe, gradient_clip_val=1.0)

        def configure_gradient_clipping(self, *args: Any, **options: Any) -> None:
            return

    with pytest.raises(RuntimeError, match="overrides configure_gradient_clipping without calling super"):
        trainer().fit(Own(), loader())


def test_hooks_with_super_go_on() -> None:
    class Own(Plain):
        def configure_optimizers(self) -> Any:
            made = super().configure_optimizers()
            made["optimizer"].param_groups[0]["lr"] = 0.125
            return made

    seen = Seen()
    trainer(seen).fit(Own(), loader())
    assert seen.rates[0] == 0.125


def test_without_an_optimizer_the_next_class_has_its_say() -> None:
    class Mine(L.LightningModule):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0625)

    class Net(RecipeMixin, Mine):
        recipe = Recipe.untouched(gradient_clip_val=0.5)
        __init__ = Plain.__init__
        forward, training_step = Plain.forward, Plain.training_step

    seen, net = Seen(), object.__new__(Net)
    RecipeMixin.__init__(net)
    net.net = nn.Linear(64, 10)  # type: ignore[assignment]
    trainer(seen).fit(net, loader())
    assert set(seen.rates) == {0.0625}


def test_fast_dev_run_and_every_stage_work() -> None:
    recipe = replace(
        FULL, warmup=500, schedule="cosine", early_stopping=2, averaging="ema", l1=1e-4, init="kaiming_normal"
    )
    module = Digits(recipe=recipe)
    trainer(fast_dev_run=True).fit(module, loader(), loader())
    made = trainer()
    made.validate(module, loader(), verbose=False)
    assert len(made.predict(module, torch.utils.data.DataLoader(torch.rand(4, 64), 4)) or []) == 1
    trainer().validate(Digits(recipe=recipe), loader(), verbose=False)
