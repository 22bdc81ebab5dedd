"""A small model and how to fit it with and without Diagnostics, for the contracts on set-ups and failures."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "max_epochs": 2,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "logger": False,
}


def data(examples: int = 64, seed: int = 0) -> TensorDataset:
    """Return 4 classes in 8 dimensions."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, 8, generator=generator)
    return TensorDataset(x, x[:, :4].argmax(1))


class Small(L.LightningModule):
    """Two hidden layers with dropout; shuffled data, a validation set, logged losses."""

    def __init__(self, batch_size: int = 8, lr: float = 0.05) -> None:
        super().__init__()
        self.batch_size, self.lr = batch_size, lr
        self.net = nn.Sequential(
            nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
        )
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        x, y = batch
        self.log("val_loss", F.cross_entropy(self.net(x), y))

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.lr, momentum=0.9)

    def train_dataloader(self) -> Any:
        return DataLoader(data(), self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(data(seed=1), batch_size=32)

    test_dataloader = val_dataloader

    def predict_dataloader(self) -> Any:
        return DataLoader(data(), batch_size=32)


@dataclass
class Run:
    """What a run left."""

    module: Any
    trainer: Any
    diagnostics: Diagnostics | None
    told: list[str] = field(default_factory=list)  # our own warnings
    error: BaseException | None = None

    @property
    def report(self) -> Any:
        assert self.diagnostics is not None
        return self.diagnostics.report

    @property
    def history(self) -> Any:
        assert self.diagnostics is not None
        return self.diagnostics.history

    def state(self) -> dict[str, bytes]:
        """Return all that must not depend on who looks."""
        out = {f"weight {n}": v.detach().numpy().tobytes() for n, v in self.module.state_dict().items()}
        out["losses"] = np.array(self.module.losses).tobytes()
        out["logged"] = repr({k: float(v) for k, v in self.trainer.callback_metrics.items()}).encode()
        out["counters"] = repr((self.trainer.global_step, self.trainer.current_epoch)).encode()
        out["torch"] = torch.get_rng_state().numpy().tobytes()
        out["numpy"] = np.random.get_state()[1].tobytes()
        out["python"] = repr(random.getstate()).encode()
        return out


def run(
    root: Path,
    diagnostics: Diagnostics | None = None,
    *,
    model: Callable[[], Any] = Small,
    callbacks: Sequence[Any] = (),
    act: Callable[[Any, Any], Any] | None = None,
    trainer: type[Any] = L.Trainer,
    catch: bool = False,
    **options: Any,
) -> Run:
    """Seed, build, fit (or ``act``) quietly; warnings of Lightning are ignored, our own kept."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        L.seed_everything(1, verbose=False)
        module = model()
        ours = [] if diagnostics is None else [diagnostics]
        done = Run(
            module,
            trainer(**{**QUIET, "default_root_dir": str(root), **options}, callbacks=[*callbacks, *ours]),
            diagnostics,
        )
        try:
            (act or (lambda t, m: t.fit(m)))(done.trainer, module)
        except BaseException as error:
            if not catch:
                raise
            done.error = error
    done.told = [str(w.message) for w in caught if "lightning_diag" in str(w.message)]
    return done


def leftovers(module: nn.Module) -> list[str]:
    """Return every hook found on modules and parameters, and a function mode left open."""
    places = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    found = [f"{name or 'model'}.{p}" for name, m in module.named_modules() for p in places if getattr(m, p, None)]
    found += [f"{n} (parameter)" for n, p in module.named_parameters() if p._backward_hooks]
    if torch.overrides._len_torch_function_stack():
        found.append("function mode")
    return found


def watch(**options: Any) -> Diagnostics:
    """Return Diagnostics that sample often and print nothing."""
    return Diagnostics(**{"every_n_steps": 3, "verbose": False, **options})


def crashes(done: Run) -> dict[str, str]:
    """Return the outcomes that crashed."""
    return {name: o.reason for name, o in done.report.outcomes.items() if o == "crashed"}


def open_files(root: Path) -> list[str]:
    """Return what this process holds open below a directory."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except OSError:
            continue
    return [name for name in found if name.startswith(str(root))]
