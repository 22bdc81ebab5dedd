"""What a fit leaves in its history equals what is measured by hand, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_diag import Diagnostics

from .fits import Net, fit


def rms(x: Tensor) -> float:
    return float(x.detach().double().square().mean().sqrt())


class ByHand(Net):
    """Keeps every number itself, in float64."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.seen: dict[tuple[str, str], list[float]] = {}
        self.before: dict[str, Tensor] = {}
        self.losses: list[float] = []
        self.rates: list[float] = []
        for name, layer in self.net.named_children():
            layer.register_forward_hook(lambda _, __, out, name=name: self.activation(f"net.{name}", out))

    def keep(self, statistic: str, site: str, value: float) -> None:
        self.seen.setdefault((statistic, site), []).append(value)

    def activation(self, site: str, out: Tensor) -> None:
        if not self.training:
            return
        x = out.detach().double()
        self.keep("activation/mean", site, float(x.mean()))
        self.keep("activation/std", site, float(x.std(correction=0)))
        self.keep("activation/rms", site, rms(x))
        self.keep("activation/min", site, float(x.min()))
        self.keep("activation/max", site, float(x.max()))
        self.keep("activation/zero_fraction", site, float((x == 0).double().mean()))
        out.register_hook(lambda g: self.keep("activation_gradient/rms", site, rms(g)))  # type: ignore[no-untyped-call]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(float(loss.detach()))
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])
        total = 0.0
        for name, p in self.named_parameters():
            assert p.grad is not None
            self.keep("gradient/rms", name, rms(p.grad))
            self.keep("gradient/max", name, float(p.grad.max()))
            self.keep("parameter/rms", name, rms(p))
            self.keep("parameter/std", name, float(p.detach().double().std(correction=0)))
            self.before[name] = p.detach().clone()
            total += float(p.grad.double().square().sum())
        self.keep("total/gradient_norm", "", total**0.5)

    def on_train_batch_end(self, *args: Any) -> None:
        for name, p in self.named_parameters():
            if name in self.before:
                update = rms(p.detach().double() - self.before[name].double())
                self.keep("update/rms", name, update)
                self.keep("update/ratio", name, update / rms(self.before[name]))
        self.before.clear()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[ByHand, Diagnostics]:
    diagnostics = Diagnostics(verbose=False)
    module = fit(tmp_path_factory.mktemp("fit"), diagnostics, module=ByHand(decay=0.9))
    assert isinstance(module, ByHand)
    return module, diagnostics


ACTIVATIONS = ("mean", "std", "rms", "min", "max", "zero_fraction")
STATISTICS = [f"activation/{x}" for x in ACTIVATIONS] + [
    "activation_gradient/rms", "gradient/rms", "gradient/max", "parameter/rms", "parameter/std", "update/rms",
    "update/ratio", "total/gradient_norm",
]  # fmt: skip


@pytest.mark.parametrize("statistic", STATISTICS)
def test_equal_to_what_is_measured_by_hand(statistic: str, seen: tuple[ByHand, Diagnostics]) -> None:
    module, history = seen[0], seen[1].history
    expected = {site: values for (name, site), values in module.seen.items() if name == statistic}
    table = history.table(statistic)
    assert table.steps.tolist() == list(range(20))
    assert set(table.sites) == set(expected)
    for site, values in expected.items():
        found = history[statistic, site].values
        np.testing.assert_allclose(found, values, rtol=2e-4, atol=1e-6, err_msg=f"{statistic} at {site}")


def test_the_loss_is_there_at_every_step(seen: tuple[ByHand, Diagnostics]) -> None:
    loss = seen[1].history.series("loss")
    assert loss.steps.tolist() == list(range(20))
    np.testing.assert_allclose(loss.values, seen[0].losses, rtol=1e-5)


def test_learning_rates_follow_the_schedule(seen: tuple[ByHand, Diagnostics]) -> None:
    rates = seen[1].history.series("learning_rate/SGD")
    assert rates.steps.tolist() == list(range(20))
    np.testing.assert_allclose(rates.values, seen[0].rates, rtol=1e-5)
    np.testing.assert_allclose(rates.values, 0.05 * 0.9 ** np.arange(20), rtol=1e-5)


def test_logged_metrics_of_training_and_validation(seen: tuple[ByHand, Diagnostics]) -> None:
    history = seen[1].history
    logged = history.series("metric/train_loss")
    assert logged.steps.tolist() == list(range(20))
    np.testing.assert_allclose(logged.values, seen[0].losses, rtol=1e-5)
    assert len(history.series("metric/train_acc")) == 20
    validated = history.series("metric/val_loss", "validate")
    assert validated.steps.tolist() == [9, 19], "one point a validation run, at its step"
    assert validated.values[1] == pytest.approx(float(seen[0].trainer.callback_metrics["val_loss"]), rel=1e-5)
    assert history.series_names("validate") == ("metric/val_loss", "metric/val_accuracy")
    assert history.run["metric_direction"] == {"val_accuracy": "higher"}


def test_layers_are_known_in_order_of_execution(seen: tuple[ByHand, Diagnostics]) -> None:
    layers = seen[1].history.layers
    assert [x.site for x in layers] == ["net.0", "net.1", "net.2", "net.3", "net.4"]
    assert [x.activation for x in layers] == ["", "relu", "", "relu", ""]
    assert [x.role for x in layers] == ["hidden"] * 4 + ["output"]
    assert [x.follows for x in layers] == ["", "net.0", "net.1", "net.2", "net.3"]
    assert [x.units for x in layers] == [16, 16, 16, 16, 3]
    assert layers[0].parameters == ("net.0.weight", "net.0.bias")


def test_facts_on_the_run(seen: tuple[ByHand, Diagnostics]) -> None:
    run = seen[1].history.run
    known = {k: run[k] for k in ("steps", "samples", "steps_planned", "batch_size", "dataset_size", "status", "model")}
    assert known == {
        "steps": 20, "samples": 20, "steps_planned": 20, "batch_size": 16, "dataset_size": 160, "status": "finished",
        "model": "ByHand",
    }  # fmt: skip
    assert run["optimizers"][0]["type"] == "SGD"
    assert 0 < run["overhead_fraction"] < 1
    assert {"torch", "lightning", "python", "lightning_diag"} <= run["versions"].keys()


def test_an_accumulated_step_has_the_mean_loss_and_the_whole_gradient(tmp_path: Path) -> None:
    module = ByHand()
    fit(tmp_path, diagnostics := Diagnostics(verbose=False), module=module, accumulate_grad_batches=2)
    loss = diagnostics.history.series("loss")
    assert loss.steps.tolist() == list(range(10))
    np.testing.assert_allclose(loss.values, np.reshape(module.losses, (10, 2)).mean(1), rtol=1e-5)
    found = diagnostics.history["gradient/rms", "net.0.weight"].values
    np.testing.assert_allclose(found, module.seen["gradient/rms", "net.0.weight"], rtol=2e-4)
    by_batch = module.seen["activation/rms", "net.1"]
    np.testing.assert_allclose(diagnostics.history["activation/rms", "net.1"].values, by_batch[1::2], rtol=2e-4)


def test_gradients_are_taken_before_they_are_clipped(tmp_path: Path) -> None:
    module = ByHand()
    fit(tmp_path, diagnostics := Diagnostics(verbose=False), module=module, gradient_clip_val=1e-3, max_epochs=1)
    norms = diagnostics.history["total/gradient_norm", ""].values
    np.testing.assert_allclose(norms, module.seen["total/gradient_norm", ""], rtol=2e-4)
    assert norms.min() > 0.01


def test_dead_units_of_the_history_are_those_that_never_fire(tmp_path: Path) -> None:
    module = Net()
    with torch.no_grad():
        module.net[0].bias[:4] = -100.0
    fit(tmp_path, diagnostics := Diagnostics(verbose=False), module=module)
    dead = diagnostics.history["activation/dead_fraction", "net.1"]
    assert dead.values[-1] == 0.25
    assert diagnostics.history["activation/dead_from_start_fraction", "net.1"].values[-1] == 0.25
    assert diagnostics.history["activation/dead_examples", "net.1"].values[-1] == 320
    assert diagnostics.history["activation/dead_by_bias_fraction", "net.1"].values[-1] == 1.0


def test_saturation_of_a_bounded_activation(tmp_path: Path) -> None:
    module = ByHand(lr=0.0)
    module.net[1] = nn.Sigmoid()
    module.net[1].register_forward_hook(
        lambda _, __, y: module.keep("y", "", float((y * (1 - y) < 0.0125).float().mean()))
    )
    with torch.no_grad():
        module.net[0].weight.mul_(20)
    fit(tmp_path, diagnostics := Diagnostics(verbose=False), module=module, max_epochs=1)
    found = diagnostics.history["activation/saturated_fraction", "net.1"].values
    np.testing.assert_allclose(found, module.seen["y", ""][:10], atol=1e-5)
    assert found.min() > 0.2
