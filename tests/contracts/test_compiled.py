"""Compiled models: seen on sampled steps, bit-equal where the back end is, never compiled anew."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_diag import Diagnostics
from lightning_diag.probes.compiled import EagerStep
from tests.zoo import Case, Task
from tests.zoo.compare import QUIET, differences, faults, fit
from tests.zoo.task import rows
from tests.zoo.weights import mlp

pytestmark = pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="this torch has no set_stance")
SITES = {"net.0", "net.1", "net.2", "net.4"}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def net() -> nn.Sequential:
    return mlp(nn.BatchNorm1d(6), nn.Dropout(0.3))


def compiled_child(backend: str) -> Task:
    return Task(torch.compile(net(), backend=backend))  # type: ignore[arg-type]


def compiled_in_place(backend: str) -> Task:
    task = Task(net())
    task.net.compile(backend=backend)
    return task


@torch.compile(backend="eager")
def squashed(x: Tensor) -> Tensor:
    return torch.tanh(F.relu(x) - 1)


class CallsCompiled(nn.Module):
    """A plain module that calls a compiled function, as users of flex_attention do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(squashed(self.first(x)))


class Hidden(CallsCompiled):
    """The same, but nothing in the module tells so."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(hidden(self.first(x)))


def hidden(x: Tensor) -> Tensor:
    return squashed(x)


FORMS: dict[str, Callable[[str], Any]] = {
    "child": compiled_child,
    "in-place": compiled_in_place,
    "function": lambda backend: Task(CallsCompiled()),
    "hidden-function": lambda backend: Task(Hidden()),
}


def compilations() -> dict[str, int]:
    counters = torch._dynamo.utils.counters
    return {**counters["stats"], "breaks": sum(counters["graph_break"].values())}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.full)])
@pytest.mark.parametrize("treatment", ["eager", "skip"])
def test_bits_and_compilations_stay_the_same(form: str, backend: str, treatment: Any, tmp_path: Path) -> None:
    case = Case(form, lambda: FORMS[form](backend), trainer={"max_epochs": 3})
    counted = []
    for callbacks in ([], [Diagnostics(every_n_steps=2, compiled=treatment, verbose=False)]):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        _, state, heard = fit(case, tmp_path, callbacks)
        counted.append((compilations(), state, heard))
    (before, alone, usual), (after, seen, heard) = counted
    if not (form == "hidden-function" and treatment == "skip"):
        assert after.get("unique_graphs", 0) <= before.get("unique_graphs", 0)
        assert after["breaks"] <= before["breaks"]
    assert [key for key in alone if seen[key] != alone[key]] == []
    assert heard <= usual
    assert list(faults(callbacks[0])) == []
    history = callbacks[0].history
    sites = {layer.site for layer in history.layers}
    if treatment == "eager":
        assert sites >= ({"net.first", "net.head"} if "function" in form else SITES)
    elif form != "hidden-function":
        assert not sites
        assert history.run["compiled"]["sampled_steps"].startswith("forward pass unmeasured")
    assert len(history.table("gradient/rms").sites) > 3
    assert not any("_orig_mod" in s for s in [*sites, *history.table("gradient/rms").sites])


@pytest.mark.parametrize("first", ["callback", "model"])
def test_a_compiled_lightning_module(first: str, tmp_path: Path) -> None:
    results = []
    for looked_at in (False, True):
        torch._dynamo.reset()
        torch.manual_seed(0)
        made = [Diagnostics(every_n_steps=2, verbose=False)] if first == "callback" else []
        lit = Quiet(net())
        model = torch.compile(lit, backend="eager")
        made = made or [Diagnostics(every_n_steps=2, verbose=False)]
        trainer = L.Trainer(**QUIET, max_epochs=3, default_root_dir=tmp_path, callbacks=made if looked_at else [])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(model, rows())  # type: ignore[arg-type]
        results.append([p.detach().clone() for p in lit.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert list(faults(made[0])) == []
    assert {layer.site for layer in made[0].history.layers} >= SITES


class Quiet(Task):
    """Does not log: Lightning 2.6 cannot log from a compiled training step."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.compute(batch)


class Small(nn.Module):
    """Does not fit into memory when it runs eagerly."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.calls = net(), 0

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def test_out_of_memory_in_the_eager_step_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = {"now": False}
    opened, closed = EagerStep.open, EagerStep.close
    monkeypatch.setattr(EagerStep, "open", lambda self: (eager.update(now=True), opened(self))[1])
    monkeypatch.setattr(EagerStep, "close", lambda self: (eager.update(now=False), closed(self))[1])

    class Tight(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            draw = torch.rand(())
            if eager["now"]:
                raise torch.OutOfMemoryError("tried to allocate 20 GiB")
            return super().training_step(batch, batch_idx) + draw

    case = Case("tight", lambda: Tight(torch.compile(net(), backend="eager")), trainer={"max_epochs": 3})  # type: ignore[arg-type]
    diagnostics = Diagnostics(every_n_steps=2, verbose=False)
    found = list(differences(case, tmp_path, diagnostics))
    assert len(found) == 1, found
    assert "ran out of memory" in found[0]
    assert list(faults(diagnostics)) == []
    assert "ran out of memory" in diagnostics.history.run["compiled"]["sampled_steps"]
    assert len(diagnostics.history.table("gradient/rms").steps) > 5


@pytest.mark.full
def test_generated_code_differs_by_rounding_only(tmp_path: Path) -> None:
    case = Case("inductor", lambda: Task(torch.compile(mlp())))  # type: ignore[arg-type]
    try:
        plain, _, _ = fit(case, tmp_path, [])
    except torch._dynamo.exc.BackendCompilerFailed as error:
        pytest.skip(f"no compiler: {error}")
    torch._dynamo.reset()
    seen, _, _ = fit(case, tmp_path, [Diagnostics(every_n_steps=2, verbose=False)])
    torch._dynamo.reset()
    left_alone, _, _ = fit(case, tmp_path, [Diagnostics(every_n_steps=2, compiled="skip", verbose=False)])
    for a, b, c in zip(plain.parameters(), seen.parameters(), left_alone.parameters(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)
        assert torch.equal(a, c)
