"""Corners where counting, naming or looking went wrong once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics, History, check
from lightning_diag.probes.activations import ActivationProbe
from lightning_diag.probes.metrics import MetricReader

pytestmark = [  # what lightning and torch say of themselves
    pytest.mark.filterwarnings(r"ignore::Warning:(lightning|torch|typing_extensions)(\..*)?"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


class Net(L.LightningModule):
    """A small classifier."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net or nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.05)


def data(n: int = 320, shape: tuple[int, ...] = (4,)) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, *shape, generator=generator)
    return DataLoader(TensorDataset(x, (x.flatten(1).sum(1) > 0).long()), 8)


def fit(module: L.LightningModule, root: Path, *, epochs: int = 1, loader: Any = None, **settings: Any) -> Diagnostics:
    diag = Diagnostics(settings.pop("every_n_steps", 50), verbose=False)
    trainer = L.Trainer(
        max_epochs=epochs, callbacks=[diag], default_root_dir=root, logger=False, accelerator="cpu",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **settings,
    )  # fmt: skip
    trainer.fit(module, loader or data())
    return diag


def test_a_loss_on_a_device_is_watched_when_it_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bad(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch) * (float("nan") if batch_idx >= 193 else 1.0)

    add = MetricReader.add
    monkeypatch.setattr(MetricReader, "add", lambda *args, **given: add(*args, **given) and None)  # as on a GPU
    steps = fit(Bad(), tmp_path, loader=data(3200)).history.steps.tolist()
    first = next(s for s in steps if s >= 193)
    assert {first, first + 1, first + 2} <= set(steps)  # 400 steps: the regular distance is 6


class Manual(Net):
    """Manual optimization that accumulates over four batches."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        self.manual_backward(self.loss(batch) / 4)
        if (batch_idx + 1) % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()


def test_under_manual_accumulation_samples_wait_for_a_step(tmp_path: Path) -> None:
    diag = fit(Manual(), tmp_path, loader=data(1600))
    table = diag.history.table("gradient/rms")
    assert diag.history.run["steps"] == 50
    assert len(table) >= 20
    assert torch.isfinite(torch.tensor(table.matrix)).all()


def test_an_optimizer_that_bypasses_lightning_is_still_a_fit_that_is_looked_at(tmp_path: Path) -> None:
    class Bypass(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers(use_pl_optimizer=False)
            self.loss(batch).backward()
            optimizer.step()
            optimizer.zero_grad()

    diag = fit(Bypass(), tmp_path, loader=data(640))
    assert len(diag.history.table("activation/rms")) > 10


def test_rates_of_two_optimizers_have_two_names(tmp_path: Path) -> None:
    class Two(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer in self.optimizers():  # type: ignore[union-attr]
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.Adam(self.net[i].parameters(), lr) for i, lr in ((0, 1e-3), (2, 1e-1))]  # type: ignore[index]

    history = fit(Two(), tmp_path).history
    assert set(history.series("learning_rate/0.Adam").values) == {1e-3}
    assert set(history.series("learning_rate/1.Adam").values) == {1e-1}


def test_a_metric_is_there_once_for_each_time_it_was_logged(tmp_path: Path) -> None:
    class Seldom(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            if batch_idx % 10 == 0:
                self.log("seldom", loss)
            return loss

    assert fit(Seldom(), tmp_path).history.series("metric/seldom").steps.tolist() == [0, 10, 20, 30]


def test_a_skipped_epoch_leaves_nothing_attached(tmp_path: Path) -> None:
    class Skips(Net):
        hooks = -1

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if batch_idx == 4 else None

        def on_train_epoch_end(self) -> None:
            self.hooks = sum(len(m._forward_hooks) for m in self.modules())

    module = Skips()
    fit(module, tmp_path, every_n_steps=1)
    assert module.hooks == 0


def test_a_crash_is_on_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, *args: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(ActivationProbe, "_take", broken)
    with pytest.warns(UserWarning, match="stands aside"):
        diag = fit(Net(), tmp_path)
    stored = check(History.load(diag.history.run["log_dir"]))
    assert diag.report.outcomes["diagnostics"] == "crashed"
    assert stored.outcomes["diagnostics"] == "crashed"
    assert stored.exit_code() == 2


def test_units_of_a_pooled_convolution_are_its_channels(tmp_path: Path) -> None:
    net = nn.Sequential(
        nn.Conv1d(3, 16, 3, padding=1), nn.MaxPool1d(2), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 4, 2)
    )  # fmt: skip
    with torch.no_grad():
        net[0].bias[:12] = -100.0  # type: ignore[index]
    diag = fit(Net(net), tmp_path, loader=data(640, (3, 8)))
    layer = diag.history.layer("net.2")
    assert layer is not None
    assert layer.units == 16
    assert diag.history["activation/dead_fraction", "net.2"].values[-1] == 0.75


def test_every_head_that_a_loss_is_called_with_is_an_output(tmp_path: Path) -> None:
    class Heads(Net):
        def __init__(self) -> None:
            super().__init__(nn.Linear(4, 8))
            self.first, self.squash, self.second = nn.Linear(8, 1), nn.Sigmoid(), nn.Linear(8, 2)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            h = self.net(x)
            own = nn.functional.binary_cross_entropy(self.squash(self.first(h)), y.float()[:, None])
            return own + nn.functional.cross_entropy(self.second(h), y)

    roles = {x.site: x.role for x in fit(Heads(), tmp_path).history.layers}
    assert roles == {"net": "hidden", "first": "output", "squash": "output", "second": "output"}


def test_a_run_resumed_in_the_middle_of_an_epoch_loses_no_step(tmp_path: Path) -> None:
    settings = {"default_root_dir": tmp_path, "logger": False, "accelerator": "cpu"}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    first = L.Trainer(max_steps=10, callbacks=[Diagnostics(verbose=False)], **settings, **quiet)
    first.fit(Net(), data())
    first.save_checkpoint(tmp_path / "middle.ckpt")
    diag = Diagnostics(verbose=False)
    L.Trainer(max_steps=20, callbacks=[diag], **settings, **quiet).fit(
        Net(), data(), ckpt_path=tmp_path / "middle.ckpt", weights_only=True
    )
    assert diag.history.series("loss").steps.tolist() == list(range(20))
    assert diag.history.run["steps"] == 20
    assert diag.history.run["continues"]["at_step"] == 10


@pytest.mark.parametrize(
    ("gate", "bias", "dead"), [(nn.GELU(), -5.0, 1.0), (nn.SiLU(), -5.0, 0.0), (nn.SiLU(), -12.0, 1.0)]
)
def test_shut_gates_are_dead_units(gate: nn.Module, bias: float, dead: float, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 16), gate, nn.Linear(16, 2))
    nn.init.constant_(net[0].bias, bias)
    nn.init.uniform_(net[0].weight, -0.1, 0.1)
    history = fit(Net(net), tmp_path, epochs=3).history
    assert history["activation/dead_fraction", "net.1"].values[-1] == dead
