"""Every way in which Lightning runs a fit: nothing changes, the report is sane, nothing is left behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import callbacks as LC, loggers
from lightning.pytorch.tuner import Tuner
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_diag import Diagnostics
from tests.contracts.setups import QUIET, Run, Small, crashes, data, leftovers, run, watch

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Stream(IterableDataset[Any]):
    """Examples without a length."""

    def __iter__(self) -> Any:
        return iter(data())


class Streaming(Small):
    def train_dataloader(self) -> Any:
        return DataLoader(Stream(), 8)


class TwoLoaders(Small):
    def val_dataloader(self) -> Any:
        return [DataLoader(data(seed=1), 32), DataLoader(data(32, seed=1), 16)]


class Adversarial(Small):
    """Two optimizers by hand, with toggling, as GANs do."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.judge = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        maker, judge = self.optimizers()
        x, y = batch
        self.toggle_optimizer(judge)
        fake = self.net(x)
        loss = F.softplus(self.judge(fake.detach())).mean() + F.softplus(-self.judge(F.one_hot(y, 4).float())).mean()
        judge.zero_grad()
        self.manual_backward(loss)
        judge.step()
        self.untoggle_optimizer(judge)
        self.toggle_optimizer(maker)
        made = F.softplus(-self.judge(self.net(x))).mean()
        maker.zero_grad()
        self.manual_backward(made)
        maker.step()
        self.untoggle_optimizer(maker)
        self.log_dict({"judge": loss, "maker": made})
        self.losses.append(float(made.detach()))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.net.parameters(), 0.05), torch.optim.Adam(self.judge.parameters(), 0.01)


class Closures(Small):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


class Nameless(loggers.Logger):
    """A logger that has no ``experiment``."""

    name = version = None

    def log_metrics(self, metrics: Any, step: Any = None) -> None: ...
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...


def find_rate(trainer: Any, module: Any) -> None:
    Tuner(trainer).lr_find(module, num_training=8)
    trainer.fit(module)


def find_size(trainer: Any, module: Any) -> None:
    Tuner(trainer).scale_batch_size(module, max_trials=2, steps_per_trial=2)
    trainer.fit(module)


@dataclass(frozen=True)
class Setup:
    model: Callable[[], Any] = Small
    options: dict[str, Any] = field(default_factory=dict)
    callbacks: Callable[[], Sequence[Any]] = tuple
    act: Callable[[Any, Any], Any] | None = None
    steps: int = 16
    files: int = 1


def logged(*kinds: Any) -> dict[str, Any]:
    return {"logger": lambda root: [k(save_dir=str(root)) for k in kinds]}


SETUPS = {
    "plain": Setup(),
    "no sanity check": Setup(options={"num_sanity_val_steps": 0}),
    "accumulation": Setup(options={"accumulate_grad_batches": 3}, steps=6),
    "clipping": Setup(options={"gradient_clip_val": 0.1}),
    "two optimizers by hand": Setup(Adversarial),
    "closures": Setup(Closures),
    "csv": Setup(options=logged(loggers.CSVLogger)),
    "csv, then tensorboard": Setup(options=logged(loggers.CSVLogger, loggers.TensorBoardLogger)),
    "logger without experiment": Setup(options={"logger": lambda root: Nameless()}),
    "fast_dev_run": Setup(options={"fast_dev_run": 2}, steps=2, files=0),
    "barebones": Setup(
        options={"barebones": True, **dict.fromkeys(k for k in QUIET if k.startswith("enable") or k == "logger")},
        model=lambda: Barebones(),
    ),
    "limited batches": Setup(options={"limit_train_batches": 3, "limit_val_batches": 1}, steps=6),
    "max_steps": Setup(options={"max_steps": 11, "max_epochs": -1}, steps=11),
    "max_time": Setup(options={"max_time": "00:01:00:00"}),
    "val_check_interval": Setup(options={"val_check_interval": 0.25}),
    "several validation loaders": Setup(TwoLoaders),
    "unknown length": Setup(Streaming),
    "stochastic weight averaging": Setup(callbacks=lambda: [LC.StochasticWeightAveraging(0.01, 1)]),
    "rate finder": Setup(act=find_rate),
    "batch size scaling": Setup(act=find_size, steps=32),
    "rate finder callback": Setup(callbacks=lambda: [LC.LearningRateFinder(num_training_steps=8)]),
    "batch size finder callback": Setup(
        callbacks=lambda: [LC.BatchSizeFinder(max_trials=2, steps_per_trial=2)], steps=32
    ),
}  # fmt: skip
if hasattr(LC, "EMAWeightAveraging"):
    SETUPS["exponential averaging"] = Setup(callbacks=lambda: [LC.EMAWeightAveraging(decay=0.9)])


class Barebones(Small):
    """Logs nothing, as ``barebones`` asks."""

    def log(self, *args: Any, **kwargs: Any) -> None: ...


def fitted(setup: Setup, root: Path, diagnostics: Diagnostics | None) -> Run:
    options = {k: v(root) if k == "logger" and callable(v) else v for k, v in setup.options.items()}
    return run(root, diagnostics, model=setup.model, callbacks=setup.callbacks(), act=setup.act, **options)


@pytest.mark.parametrize("name", SETUPS)
def test_set_up(name: str, tmp_path: Path) -> None:
    setup = SETUPS[name]
    alone = fitted(setup, tmp_path / "alone", None)
    expected = alone.state()
    seen = fitted(setup, tmp_path / "seen", watch())
    state = seen.state()
    assert [key for key in expected if state[key] != expected[key]] == []
    assert leftovers(seen.module) == leftovers(alone.module)
    assert seen.told == []
    assert crashes(seen) == {}
    assert seen.history.run["steps"] == setup.steps
    assert seen.history.run["status"] == "finished"
    assert len(seen.history) > 1
    assert seen.report.outcomes["non-finite-loss"] == ("unmeasured" if setup.model is Adversarial else "clean")
    written = sorted(p.name for p in (tmp_path / "seen").rglob("h*") if p.is_file() and p.suffix in (".json", ".jsonl"))
    assert written == ["health.json", "history.jsonl"] * setup.files
