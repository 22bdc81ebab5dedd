"""However a fit ends, nothing of the doctor stays on the model, in torch, or in memory."""

import copy
import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from lightning_diag import Diagnostics
from tests.zoo import Case, Task
from tests.zoo.compare import fit, left_behind
from tests.zoo.training import Checkpointed, Scripted
from tests.zoo.weights import Shared, mlp

PLACES = ("forward", "training_step", "backward", "before_step", "step", "validation", "batch_end")


class BangError(Exception):
    """The user's own."""


class Fails(Task):
    """Raises at one place in the third step."""

    def __init__(self, net: nn.Module, place: str, error: BaseException) -> None:
        super().__init__(net)
        self.place, self.error, self.calls = place, error, 0
        kept.append(self)

    def maybe(self, place: str) -> None:
        if place == self.place and (self.calls == 3 or place == "validation"):
            raise self.error

    def compute(self, batch: Any) -> Tensor:
        loss = super().compute(batch)
        self.maybe("forward")
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.calls += 1
        loss = super().training_step(batch, batch_idx)
        if self.place == "backward" and self.calls == 3:
            loss.register_hook(lambda g: self.maybe("backward"))
        self.maybe("training_step")
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.maybe("before_step")

    def on_before_zero_grad(self, optimizer: Any) -> None:
        self.maybe("step")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.maybe("validation")

    def on_train_batch_end(self, *args: Any) -> None:
        self.maybe("batch_end")


kept: list[Any] = []


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize("error", [BangError("x"), KeyboardInterrupt()], ids=["exception", "ctrl-c"])
@pytest.mark.parametrize("place", PLACES)
def test_nothing_stays_after_an_error(place: str, error: BaseException, compiled: bool, tmp_path: Path) -> None:
    kept.clear()
    net: Any = torch.compile(Shared(3), backend="eager") if compiled else Shared(3)
    clean = left_behind(Fails(Shared(3), place, error))
    case = Case("fails", lambda: Fails(net, place, error))
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    with pytest.raises((BangError, KeyboardInterrupt, SystemExit)):
        fit(case, tmp_path, [diagnostics])
    module = kept[-1]
    left = left_behind(module)
    assert not any(sum(v) for k, v in left.items() if k.startswith(("hooks", "extras", "parameter hooks")))
    assert "training_step" not in module.__dict__
    for key in ("function modes", "dispatch modes", "switches", "global hooks"):
        assert left[key] == clean[key], key
    assert diagnostics.history.run["status"].startswith(
        "interrupted" if isinstance(error, KeyboardInterrupt) else "failed: BangError"
    )
    if compiled:
        torch._dynamo.reset()
        module.net(torch.ones(2, 6))
        assert torch._dynamo.utils.counters["frames"]["ok"] > 0, "compiled code is compiled again"
        torch._dynamo.reset()


class Follows(L.Callback):
    """Counts the tensors that are alive between steps, and keeps weak references to activations."""

    def __init__(self) -> None:
        self.alive: list[int] = []
        self.outputs: list[Any] = []
        self.handle: Any = None

    def on_train_start(self, trainer: Any, module: Any) -> None:
        layers = [m for m in module.modules() if isinstance(m, nn.Linear)]
        self.handle = layers[0].register_forward_hook(self.look)

    def look(self, module: nn.Module, args: Any, out: Tensor) -> None:
        self.outputs.append(weakref.ref(out))

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        if trainer.global_step in (8, 16):
            gc.collect()
            self.alive.append(sum(isinstance(x, Tensor) for x in gc.get_objects()))

    def on_train_end(self, *args: Any) -> None:
        self.handle.remove()


@pytest.mark.parametrize("net", [lambda: mlp(nn.BatchNorm1d(6)), lambda: Checkpointed(reentrant=False), Scripted])
def test_no_tensor_of_a_step_outlives_it(net: Any, tmp_path: Path) -> None:
    follows, diagnostics = Follows(), Diagnostics(every_n_steps=1, verbose=False)
    case = Case("follows", lambda: Task(net()), trainer={"max_epochs": 4})
    module, _, _ = fit(case, tmp_path, [diagnostics, follows])
    assert follows.alive[0] == follows.alive[1], "as many tensors after 16 steps as after 8"
    gc.collect()
    assert follows.outputs
    assert not any(ref() is not None for ref in follows.outputs)
    held = pickle.dumps(diagnostics)
    assert len(held) < 1_000_000
    assert not any(isinstance(x, Tensor) for x in _reachable(diagnostics))
    del module


def _reachable(thing: Any) -> list[Any]:
    """Everything the callback holds, apart from Lightning's own references to the model on it."""
    seen: dict[int, Any] = {}
    todo = [v for k, v in vars(thing).items() if k not in ("log", "log_dict")]
    while todo:
        x = todo.pop()
        if id(x) in seen or isinstance(x, type) or callable(x):
            continue
        seen[id(x)] = x
        todo += gc.get_referents(x)
    return list(seen.values())


def test_a_module_copied_within_a_sampled_step_is_free_of_hooks(tmp_path: Path) -> None:
    copies: list[nn.Module] = []

    class Copies(Task):
        def compute(self, batch: Any) -> Tensor:
            copies.append(pickle.loads(pickle.dumps(self.net)))
            copies.append(copy.deepcopy(self.net))
            return super().compute(batch)

    fit(Case("copies", lambda: Copies(mlp())), tmp_path, [Diagnostics(every_n_steps=1, verbose=False)])
    for clone in copies:
        clone(torch.ones(2, 6))
        assert not any(sum(v) for k, v in left_behind(clone).items() if k.startswith(("hooks", "extras")))
