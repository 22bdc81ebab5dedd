"""A recipe with nearly everything in it, on real digits: trained, tested, reloaded; from YAML; by callbacks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn

from lightning_diag import Diagnostics, Recipe, RecipeMixin
from lightning_diag.callbacks.recipes import recipe_callbacks
from tests.mixin.nets import FAMILIAR, Digits, Seen, loader, trainer

pytestmark = [
    FAMILIAR,
    pytest.mark.filterwarnings(
        "ignore:MixUp handed the training step", "ignore:dropout is inserted ahead of BatchNorm"
    ),
]
ALL = Recipe(
    optimizer="adamw", lr=3e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, init="kaiming_normal", norm="batch",
    activation="gelu", dropout=0.1, standardize="feature", mixup=0.2, averaging="ema", ema_decay=0.9,
    early_stopping=3, l1=1e-6, gradient_clip_val=1.0, layer_decay=0.9, input_noise=0.05, curriculum="order",
    output_init="small", bias_init="prior", norm_momentum=0.2,
)  # fmt: skip


class Conv(L.LightningModule):
    """Two convolutions; it has an optimizer of its own, and knows nothing of recipes."""

    def __init__(self) -> None:
        super().__init__()
        hidden = (nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.net = nn.Sequential(*hidden, nn.Flatten(), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.view(-1, 1, 8, 8))  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


class Mixed(RecipeMixin, Conv):
    """The same, trained as its recipe says."""

    recipe = ALL


@pytest.mark.parametrize("by", ["mixin", "callbacks", "mixin with diagnostics"])
def test_all_of_it_at_once(by: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Conv() if by == "callbacks" else Mixed()
    callbacks = {"callbacks": recipe_callbacks(ALL), "mixin": []}.get(by, [Diagnostics(verbose=False)])
    made = trainer(*callbacks, max_epochs=2, default_root_dir=str(tmp_path))
    made.fit(module, loader(160), loader(64, 64))
    kinds = {type(c).__name__.removeprefix("Late") for c in made.callbacks}
    assert kinds >= {"Preprocess", "Initialize", "L1Penalty", "InputNoise", "MixUp", "Curriculum", "EMA", "StopEarly"}
    inside = [type(m).__name__ for m in module.modules()]
    assert [inside.count(k) for k in ("BatchNorm2d", "GELU", "Dropout")] == [2, 2, 2]
    assert all(m.momentum == 0.2 for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    assert float(made.callback_metrics["val_loss"]) < 2.3
    assert type(made.optimizers[0]).__name__ == "AdamW"


def test_it_is_reloaded_and_tested_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, made = Mixed(), trainer(default_root_dir=str(tmp_path))
    made.fit(module, loader(160), loader(64, 64))
    made.save_checkpoint(tmp_path / "a.ckpt")
    again = Mixed.load_from_checkpoint(tmp_path / "a.ckpt")
    results = [trainer().test(m, loader(64, 64), verbose=False)[0]["val_loss"] for m in (module, again)]
    assert results[0] == results[1]
    weights = {k: v.clone() for k, v in again.state_dict().items()}
    again.recipe = replace(ALL, optimizer="sgd", lr=1e-12, schedule=None, warmup=None, early_stopping=None, l1=None,
                           layer_decay=None, averaging=None, ema_decay=None)  # fmt: skip
    trainer(max_epochs=1).fit(again, loader(160))
    trained = dict(again.named_parameters())
    assert all(torch.allclose(trained[k], weights[k], atol=1e-6) for k in trained)


def test_a_rate_is_searched_for_an_untouched_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    seen = Seen()
    made = trainer(seen, *recipe_callbacks(Recipe(lr="search", schedule="linear")), default_root_dir=str(tmp_path))
    made.fit(Conv(), loader(960))
    assert seen.rates[-120] > 2 * seen.rates[-1] > 0
    assert seen.rates[-120] == made.optimizers[0].param_groups[0]["initial_lr"] != 3e-4


def test_epochs_are_known_from_max_steps() -> None:
    seen = Seen()
    recipe = Recipe(lr=0.01, schedule="step", schedule_options={"factor": 0.5}, init=None, bias_init=None)
    trainer(seen, max_epochs=-1, max_steps=18).fit(Digits(recipe=recipe), loader())
    assert seen.rates[::6] == pytest.approx([0.01, 0.005, 0.0025])


class Data(L.LightningDataModule):
    def train_dataloader(self) -> Any:
        return loader()

    def val_dataloader(self) -> Any:
        return loader(64, 64)


def test_lightning_cli_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "seed_everything: 1\n"
        "model: {width: 9, recipe: {optimizer: nesterov, lr: 0.05, schedule: cosine, warmup: 0.25, norm: null, "
        "schedule_options: {final: 0.1}, overrides: {'net.3.*': {lr: x0.1}}}}\n"
        "trainer: {max_epochs: 1, accelerator: cpu, devices: 1, logger: false, enable_progress_bar: false, "
        "enable_checkpointing: false, enable_model_summary: false}\n"
    )
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # what LightningCLI itself still calls
    monkeypatch.setattr("sys.argv", ["train.py", "fit", f"--config={config}", "--model.recipe.lr=0.125"])
    cli = LightningCLI(Digits, Data, save_config_callback=None)
    assert cli.model.recipe == Recipe(
        optimizer="nesterov", lr=0.125, schedule="cosine", warmup=0.25, schedule_options={"final": 0.1},
        overrides={"net.3.*": {"lr": "x0.1"}},
    )  # fmt: skip
    assert {g["name"] for g in cli.trainer.optimizers[0].param_groups} >= {"net.3.*.weights", "weights", "no_decay"}
    cli.trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = Digits.load_from_checkpoint(tmp_path / "a.ckpt")
    assert (again.recipe, again.net[0].out_features) == (cli.model.recipe, 9)
