"""Every precision: the same bits, unscaled gradients, skipped steps recognized."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import HalfPrecision, MixedPrecision
from torch import Tensor, nn

from lightning_diag import Diagnostics
from tests.zoo import Case, Task
from tests.zoo.compare import differences, faults, fit
from tests.zoo.weights import Shared, mlp


def scaled(scale: float = 1024.0, interval: int = 2000) -> MixedPrecision:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=interval)  # type: ignore[attr-defined]
    return MixedPrecision("16-mixed", device="cpu", scaler=scaler)


PRECISIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "32-true": dict,
    "bf16-mixed": lambda: {"precision": "bf16-mixed"},
    "bf16-true": lambda: {"precision": "bf16-true"},
    "16-mixed": lambda: {"plugins": [scaled()]},
    "16-true": lambda: {"plugins": [HalfPrecision("16-true")]},
    "64-true": lambda: {"precision": "64-true"},
}
TOLERANCE = {"bf16-mixed": 2e-2, "bf16-true": 2e-2, "16-mixed": 2e-3, "16-true": 2e-3}


class Witness(Task):
    """Takes down gradients, and those of its activations, in the plainest way."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.gradients: list[dict[str, float]] = []
        self.outputs: list[float] = []
        self.above: list[float] = []
        self.scales: list[float] = []

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        found = {n: p.grad.double() for n, p in self.named_parameters() if p.grad is not None}
        self.gradients.append({n: float(g.square().mean().sqrt()) for n, g in found.items()})
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        self.scales.append(1.0 if scaler is None else scaler.get_scale())

    def look(self, module: nn.Module, args: Any, out: Tensor) -> None:
        if self.training:
            self.outputs.append(float(out.detach().double().mean()))
            out.register_hook(lambda g: self.above.append(float(g.double().square().mean().sqrt())))


def watched() -> Witness:
    """A witness that follows its first layer."""
    task = Witness(mlp())
    task.net[0].register_forward_hook(task.look)  # type: ignore[index,operator]
    return task


NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: mlp(nn.LayerNorm(6), nn.Dropout(0.2)),
    "shared": lambda: Shared(3),
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)
    ),
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_bit_changes_in_any_precision(precision: str, net: str, tmp_path: Path) -> None:
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    plugins = PRECISIONS[precision]
    case = Case(precision, lambda: Task(NETS[net]()), trainer={"max_epochs": 2})
    found = [*differences_of(case, tmp_path, diagnostics, plugins), *faults(diagnostics)]
    assert found == []
    assert len(diagnostics.history) == 8


def differences_of(case: Case, root: Path, diagnostics: Any, options: Callable[[], dict[str, Any]]) -> list[str]:
    """A fresh plugin for each of the two trainings."""
    _, alone, usual = fit(replace(case, trainer={**case.trainer, **options()}), root / "alone", [])
    _, seen, heard = fit(replace(case, trainer={**case.trainer, **options()}), root / "seen", [diagnostics])
    return [key for key in alone if seen.get(key) != alone[key]] + sorted(heard - usual)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_those_the_optimizer_gets(precision: str, accumulate: int, tmp_path: Path) -> None:
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    options = {"gradient_clip_val": 0.01, "accumulate_grad_batches": accumulate, "num_sanity_val_steps": 0}
    case = Case("witness", watched, trainer={**options, **PRECISIONS[precision]()})
    task, _, _ = fit(case, tmp_path, [diagnostics])
    history, near = diagnostics.history, TOLERANCE.get(precision, 1e-5)
    table = history.table("gradient/rms")
    expected = [[row[site] for site in table.sites] for row in task.gradients]
    np.testing.assert_allclose(table.matrix, expected, rtol=1e-4)
    outputs = history.table("activation/mean")
    column = outputs.matrix[:, outputs.sites.index("net.0")]
    np.testing.assert_allclose(column, task.outputs[accumulate - 1 :: accumulate], rtol=1e-4, atol=1e-7)
    above = history.table("activation_gradient/rms")
    brute = np.array(task.above[accumulate - 1 :: accumulate]) / np.array(task.scales)
    np.testing.assert_allclose(above.matrix[:, above.sites.index("net.0")], brute, rtol=max(near, 1e-4))
    if precision == "16-mixed":
        assert history.run["scaler"]
        assert set(history.table("total/gradient_scale").matrix.ravel()) == {1024.0}


def test_a_skipped_step_is_no_fault(tmp_path: Path) -> None:
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    case = Case("skipped", watched, trainer={"max_epochs": 4, "plugins": [scaled(2.0**20)]})
    fit(case, tmp_path, [diagnostics])
    bad = diagnostics.history.table("gradient/nonfinite")
    hit = (np.nan_to_num(bad.matrix) > 0).any(1)
    assert hit[0], "the scale is too large at first"
    assert not hit[-6:].any(), "and was lowered"
    changed = diagnostics.history.table("update/rms").matrix
    assert (changed[hit] == 0).all(), "a skipped step changes nothing"
    assert (changed[~hit] > 0).any(1).all()
    assert diagnostics.report.outcomes["non-finite-gradient"] == "clean", diagnostics.report
    assert not diagnostics.report.findings


class Nasty(nn.Module):
    """Sends numbers of every kind through its layers."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.first, self.act, self.head, self.value = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3), value

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.value(self.first(x))))


class Spoils(nn.Module):
    """Puts a number in the place of the first ``n`` elements."""

    def __init__(self, number: float, n: int) -> None:
        super().__init__()
        self.number, self.n = number, n

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(x.numel(), dtype=torch.bool)
        mask[: self.n] = True
        return torch.where(mask.view_as(x), torch.full_like(x, self.number), x)


NUMBERS: dict[str, tuple[float, int]] = {
    "nan": (float("nan"), 3),
    "inf": (float("inf"), 5),
    "minus-inf": (float("-inf"), 24),
    "overflow": (3e38, 4),
    "huge": (1e30, 24),
    "denormal": (1e-42, 24),
    "constant": (0.5, 24),
    "zero": (0.0, 24),
    "negative-zero": (-0.0, 24),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_every_number_is_counted_and_none_is_an_exception(kind: str, tmp_path: Path) -> None:
    number, n = NUMBERS[kind]
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    case = Case(kind, lambda: Task(Nasty(Spoils(number, n))), trainer={"max_epochs": 2})
    assert [*differences(case, tmp_path, diagnostics), *faults(diagnostics)] == []
    history = diagnostics.history

    def first(statistic: str) -> float:
        table = history.table(statistic)
        return float(table.matrix[0, table.sites.index("net.value")])

    assert first("activation/nonfinite") == (0 if np.isfinite(number) else n)
    assert first("activation/nan") == (n if np.isnan(number) else 0)
    if n == 24:
        assert first("activation/std") == 0 or np.isnan(first("activation/std"))
        if np.isfinite(number):
            np.testing.assert_allclose(first("activation/mean"), float(np.float32(number)), rtol=1e-5)
            assert first("activation/zero_fraction") == float(abs(number) < 1e-38)
    elif np.isfinite(number):
        np.testing.assert_allclose(first("activation/max"), np.float32(number), rtol=1e-5)
