"""Looking changes nothing: bit-equal weights, losses and random states, and nothing is left behind."""

import logging
import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from lightning_diag import Diagnostics
from tests.models import ALL, Fit, Program

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
QUICK = (
    "cnn-batchnorm", "lstm", "transformer-prenorm", "accumulation", "fine-tuning", "gan", "vae", "dropout", "embedding",
    "gru-clipped", "zero-by-zero",
)  # fmt: skip
CASES = [
    pytest.param(p, id=p.name, marks=[] if p.name in QUICK else [pytest.mark.full]) for p in ALL if p.kind != "twin"
]


def fit(program: Program, root: Path, *callbacks: Any) -> tuple[Fit, dict[str, bytes]]:
    """Fit, and return all that must not depend on who looks, as bytes."""
    done = program.fit(0, callbacks, default_root_dir=str(root))
    module: Any = done.module
    state = {f"weight {name}": value.numpy().tobytes() for name, value in module.state_dict().items()}
    state["losses"] = np.array(module.losses).tobytes()
    state["validation losses"] = np.array(module.val_losses).tobytes()
    state["torch"] = torch.get_rng_state().numpy().tobytes()
    state["numpy"] = np.random.get_state()[1].tobytes()
    state["python"] = repr(random.getstate()).encode()
    return done, state


def leftovers(module: torch.nn.Module) -> list[str]:
    """Return every hook found on modules and parameters."""
    places = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    found = [f"{name or 'model'}.{p}" for name, m in module.named_modules() for p in places if getattr(m, p, None)]
    for name, p in module.named_parameters():
        if p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None):
            found.append(f"{name} (parameter)")
    return found


@pytest.mark.parametrize("program", CASES)
def test_training_is_the_same_with_diagnostics(program: Program, tmp_path: Path) -> None:
    alone, expected = fit(program, tmp_path)
    seen, state = fit(program, tmp_path, diagnostics := Diagnostics(every_n_steps=3, verbose=False))
    assert [key for key in expected if state[key] != expected[key]] == []
    assert len(diagnostics.history) > 3
    assert leftovers(seen.module) == leftovers(alone.module)
    for (name, a), b in zip(alone.module.named_modules(), seen.module.modules(), strict=True):
        assert set(vars(a)) == set(vars(b)), name
    assert torch.overrides._len_torch_function_stack() == 0


class Bomb(L.Callback):
    """Raises in the middle of a batch."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_before_backward(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == 3:
            raise self.error


@pytest.mark.parametrize("error", [RuntimeError("bang"), KeyboardInterrupt()], ids=["exception", "ctrl-c"])
@pytest.mark.parametrize("order", [1, -1], ids=["before", "after"])
def test_nothing_is_left_when_training_dies(error: BaseException, order: int, tmp_path: Path) -> None:
    program = next(p for p in ALL if p.name == "transformer-prenorm")
    kept: list[Fit] = []
    build = program.build
    object.__setattr__(program, "build", lambda seed: kept.append(build(seed)) or kept[0])
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    try:
        with pytest.raises((RuntimeError, KeyboardInterrupt, SystemExit)):
            program.fit(0, [diagnostics, Bomb(error)][::order], default_root_dir=str(tmp_path))
    finally:
        object.__setattr__(program, "build", build)
    assert leftovers(kept[0].module) == []
    assert torch.overrides._len_torch_function_stack() == 0
    assert diagnostics.history.steps.tolist()[:3] == [0, 1, 2]
    assert diagnostics.history.run["status"].startswith(
        "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    )
    assert list(tmp_path.rglob("history.jsonl")), "what was seen is on disk"
