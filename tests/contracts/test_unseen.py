"""What hooks on modules never see: functional activations, the loss call, the batch, what the run is made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader

from lightning_diag import Diagnostics
from tests.zoo import Case, Task
from tests.zoo.compare import faults, fit
from tests.zoo.training import Encoder
from tests.zoo.weights import mlp


class Block(nn.Module):
    """Every way to call an activation without a module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.dead = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        nn.init.constant_(self.dead.bias[:7], -50.0)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.a(x))
        x = self.b(x).sigmoid()
        return F.relu(self.dead(x))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = Block(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x))


def observed(case: Case, root: Path, every: int = 1) -> tuple[Any, Any]:
    diagnostics = Diagnostics(every_n_steps=every, verbose=False)
    module, _, _ = fit(case, root, [diagnostics])
    assert list(faults(diagnostics)) == []
    return diagnostics, module


def test_functional_activations_have_the_scope_they_ran_in(tmp_path: Path) -> None:
    diagnostics, _ = observed(Case("functional", lambda: Task(Functional()), trainer={"max_epochs": 8}), tmp_path)
    history = diagnostics.history
    layers = {layer.site: layer for layer in history.layers}
    order = [
        "net.block.a",
        "net.block.a:tanh",
        "net.block.b",
        "net.block.b:sigmoid",
        "net.block.dead",
        "net.block.dead:relu",
    ]
    assert [*layers] == [*order, "net.head"], "in order of execution"
    assert [layers[s].activation for s in order[1::2]] == ["tanh", "sigmoid", "relu"]
    assert [layers[s].follows for s in order[1::2]] == order[::2]
    assert [layers[s].role for s in layers] == ["hidden"] * 6 + ["output"]
    above = history.table("activation_gradient/rms")
    assert np.isfinite(above.matrix[:, [above.sites.index(s) for s in order]]).all()
    flat = history.table("activation/saturated_fraction")
    assert np.isfinite(flat.matrix[0, [flat.sites.index(s) for s in order[1:4:2]]]).all()


def test_dead_functional_units_are_found(tmp_path: Path) -> None:
    diagnostics, _ = observed(Case("dead", lambda: Task(Functional()), trainer={"max_epochs": 16}), tmp_path)
    dead = diagnostics.history.table("activation/dead_fraction")
    assert dead.matrix[-1, dead.sites.index("net.block.dead:relu")] >= 0.5
    assert any(f.code == "A001" and f.site == "net.block.dead" for f in diagnostics.report.findings)


class TwoLosses(Task):
    """A weighted and smoothed loss by a module, another by a function; a metric that is none of ours."""

    def __init__(self) -> None:
        super().__init__(mlp())
        self.criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1)

    def compute(self, batch: Any) -> Tensor:
        out = self(batch[0])
        return self.criterion(out, batch[1]) + F.mse_loss(out, torch.zeros_like(out), reduction="sum")


def test_the_loss_call_is_recorded(tmp_path: Path) -> None:
    diagnostics, _ = observed(Case("losses", TwoLosses), tmp_path)
    first, second = diagnostics.history.run["losses"]
    assert (first["loss"], first["scope"], first["weighted"], first["reduction"]) == (
        "cross_entropy", "criterion", True, "mean",
    )  # fmt: skip
    assert first["label_smoothing"] == 0.1
    assert (first["prediction_shape"], first["prediction_dtype"]) == ([4, 3], "torch.float32")
    assert (first["target_shape"], first["target_dtype"]) == ([4], "torch.int64")
    assert (second["loss"], second["scope"], second["reduction"], second["weighted"]) == ("mse_loss", "", "sum", False)
    history = diagnostics.history
    assert history.table("prediction/mean").sites == ("cross_entropy", "mse_loss")
    targets = history.table("target/max")
    assert targets.matrix[:, targets.sites.index("cross_entropy")].max() == 2


@dataclass
class Sheet:
    pixels: Tensor
    labels: dict[str, Tensor]


class Sheets(Task):
    def compute(self, batch: Any) -> Tensor:
        return F.cross_entropy(self(batch[0].pixels), batch[0].labels["kind"])


def items() -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 2, 1])
    return [(Sheet(torch.randn(4, 6, generator=generator) * 3 + 5, {"kind": labels}), "a note") for _ in range(4)]


def sheets() -> Any:
    return DataLoader(items(), batch_size=None)  # type: ignore[arg-type]


def test_the_batch_is_recorded_as_handed_over(tmp_path: Path) -> None:
    diagnostics, _ = observed(Case("sheets", lambda: Sheets(mlp()), data=sheets), tmp_path)
    history = diagnostics.history
    assert history.run["batch"] == {
        "0.pixels": {"shape": [4, 6], "dtype": "torch.float32"},
        "0.labels.kind": {"shape": [4], "dtype": "torch.int64"},
    }
    table = history.table("batch/mean")
    assert table.sites == ("0.pixels", "0.labels.kind")
    expected = [[float(s[0].pixels.mean()), 1.0] for s in items()]
    np.testing.assert_allclose(table.matrix, expected, rtol=1e-5)
    assert history.run["batch_size"] == 4


class Scheduled(Task):
    def configure_optimizers(self) -> Any:
        head, body = self.net[-1].parameters(), self.net[0].parameters()  # type: ignore[index]
        optimizer = torch.optim.AdamW([{"params": head, "name": "head"}, {"params": body, "lr": 1e-4}], lr=0.01)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), "interval": "step"},
        }


def frozen_middle() -> Task:
    task = Scheduled(mlp(nn.Linear(6, 6)))
    task.net[2].requires_grad_(False)  # type: ignore[index,operator]
    return task


def test_optimizers_groups_and_frozen_parameters_are_known(tmp_path: Path) -> None:
    diagnostics, _ = observed(Case("groups", frozen_middle), tmp_path)
    run = diagnostics.history.run
    (optimizer,) = run["optimizers"]
    assert optimizer["type"] == "AdamW"
    names = [group["parameters"] for group in optimizer["groups"]]
    assert names == [["net.3.weight", "net.3.bias"], ["net.0.weight", "net.0.bias"]]
    assert run["frozen"] == ["net.2.weight", "net.2.bias"]
    rates = diagnostics.history.series("learning_rate/head").values
    np.testing.assert_allclose(rates, [0.01, 0.005, 0.0025, 0.00125])
    assert np.isfinite(diagnostics.history.table("total/eval_modules").matrix).all()


def test_loss_and_functions_are_seen_beside_a_frozen_fused_encoder(tmp_path: Path) -> None:
    diagnostics, _ = observed(Case("encoder", lambda: Task(Encoder(frozen=True))), tmp_path)
    assert "net:relu" in [layer.site for layer in diagnostics.history.layers]
    assert diagnostics.history.run["losses"][0]["loss"] == "cross_entropy"


class Silent(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Crossing(Task):
    """Modes that are not nested in the doctor's: opened before it and closed during, opened during and closed after."""

    def on_train_start(self) -> None:
        self.older, self.younger = Silent(), Silent()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx == 1:
            self.older.__exit__(None, None, None)
        if batch_idx == 2:
            self.younger.__enter__()
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, *args: Any) -> None:
        if args[2] == 0:
            self.older.__enter__()
        if args[2] == 2:
            self.younger.__exit__(None, None, None)


def test_modes_that_cross_the_doctors_are_let_be(tmp_path: Path) -> None:
    diagnostics, _ = observed(Case("crossing", lambda: Crossing(mlp())), tmp_path)
    assert torch._C._len_torch_function_stack() == 0
    assert len(diagnostics.history) == 4
