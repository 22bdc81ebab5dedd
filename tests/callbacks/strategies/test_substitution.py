"""The stand-in for a training step: arguments, several changes, copies, and that it is gone at the end."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections import UserDict, namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_diag.callbacks.strategies import InputNoise
from lightning_diag.callbacks.strategies.batches import place_of, with_parts
from lightning_diag.callbacks.strategies.substitution import BatchChange, plain_copy
from tests.callbacks.strategies.runs import Plain, Watcher, run, same

Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass(frozen=True)
class Graph:
    """A batch with attributes."""

    x: Tensor
    label: Tensor


class Negate(BatchChange):
    """Hands over minus the inputs."""

    def change(self, batch: Any) -> Any:
        return [-batch[0], batch[1]]


class Double(BatchChange):
    """Hands over twice the inputs plus one."""

    def change(self, batch: Any) -> Any:
        return [2 * batch[0] + 1, batch[1]]


class OneArgument(Plain):
    """Takes the batch only."""

    def training_step(self, batch: Any) -> Tensor:  # type: ignore[override]
        self.seen = batch
        return super().training_step(batch, 0)


class OddNames(Plain):
    """Names its arguments as it likes."""

    def training_step(self, samples: Any, number: int) -> Tensor:
        self.seen, self.number = samples, number
        return super().training_step(samples, number)


class AnyArguments(Plain):
    """Takes what comes."""

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        self.seen = kwargs["batch"] if kwargs else args[0]
        return super().training_step(self.seen, 0)


@pytest.mark.parametrize("kind", [OneArgument, OddNames, AnyArguments])
def test_steps_with_all_kinds_of_arguments(tmp_path: Path, kind: type[Plain]) -> None:
    watcher = Watcher()
    module, _ = run(tmp_path, watcher, Negate(), module=kind)
    assert torch.equal(module.seen[0], -watcher.batches[-1][0])
    assert getattr(module, "number", 9) == 9
    assert "training_step" not in vars(module)


def test_changes_are_made_in_their_order(tmp_path: Path) -> None:
    watcher = Watcher()
    module, _ = run(tmp_path, watcher, Negate(), Double(), module=OneArgument)
    assert torch.equal(module.seen[0], 1 - 2 * watcher.batches[-1][0])


class Bad(Plain):
    """Fails in its third step."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx == 2:
            raise RuntimeError("bang")
        return super().training_step(batch, batch_idx)


def test_the_module_has_its_own_step_after_an_error(tmp_path: Path) -> None:
    module = Bad()
    with pytest.raises(RuntimeError, match="bang"):
        run(tmp_path, Negate(), Double(), module=module)
    assert "training_step" not in vars(module)


def test_a_step_that_the_module_itself_holds_is_given_back(tmp_path: Path) -> None:
    module = Plain()
    calls = []

    def own(batch: Any, batch_idx: int) -> Tensor:
        calls.append(batch)
        return Plain.training_step(module, batch, batch_idx)

    module.training_step = own  # type: ignore[method-assign]
    watcher = Watcher()
    run(tmp_path, watcher, Negate(), module=module, max_epochs=1)
    assert torch.equal(calls[-1][0], -watcher.batches[-1][0])
    assert module.training_step is own


@pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # torch 2.4 of its own pickles
def test_a_copy_made_while_training_is_bound_to_itself(tmp_path: Path) -> None:
    class Copies(Watcher):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            self.plain, self.copy = plain_copy(pl_module), copy.deepcopy(pl_module)
            self.pickled = pickle.loads(pickle.dumps(pl_module))

    watcher = Copies()
    module, _ = run(tmp_path, watcher, Negate(), max_steps=1)
    assert vars(watcher.copy)["training_step"].__self__ is watcher.copy
    assert "training_step" not in vars(watcher.plain)
    assert type(watcher.pickled) is type(module)


def test_two_fits_with_the_same_callback_give_the_same(tmp_path: Path) -> None:
    noise = InputNoise(0.3)
    first, _ = run(tmp_path, noise)
    second, _ = run(tmp_path, noise)
    assert same(list(first.parameters()), list(second.parameters()))


def test_a_step_that_draws_its_own_batches_is_refused(tmp_path: Path) -> None:
    class Draws(Plain):
        def training_step(self, dataloader_iter: Any) -> Tensor:  # type: ignore[override]
            return super().training_step(next(dataloader_iter)[0], 0)

    with pytest.raises(ValueError, match=r"Negate cannot change the batches of Draws: its training_step takes a datal"):
        run(tmp_path, Negate(), module=Draws)


X, Y, Z = torch.ones(4, 2), torch.arange(4), torch.zeros(4)


@pytest.mark.parametrize(
    ("batch", "inputs", "targets"),
    [
        ([X, Y], 0, 1),
        ((X, Y, Z), 0, 1),
        (Pair(X, Y), 0, 1),
        ({"image": X, "label": Y, "id": Y}, "image", "label"),
        (UserDict({"x": X, "y": Z}), "x", "y"),
    ],
)
def test_where_inputs_and_targets_are(batch: Any, inputs: Any, targets: Any) -> None:
    assert place_of(batch, None, "inputs") == inputs
    assert place_of(batch, None, "targets") == targets


@pytest.mark.parametrize("batch", [[X, Y], (X, Y), Pair(X, Y), {0: X, 1: Y}])
def test_another_batch_of_the_same_kind(batch: Any) -> None:
    other = with_parts(batch, {0: Z})
    assert type(other) is type(batch)
    assert other[0] is Z
    assert other[1] is Y
    assert batch[0] is X


def test_batches_with_attributes() -> None:
    batch = Graph(X, Y)
    assert place_of(batch, "x", "inputs") == "x"
    other = with_parts(batch, {"x": Z})
    assert (other.x is Z, other.label is Y, batch.x is X) == (True, True, True)
    assert with_parts(X, {None: Z}) is Z
    assert place_of(X, None, "inputs") is None


@pytest.mark.parametrize(
    ("batch", "place", "role", "match"),
    [
        (
            {"a": X, "b": Z},
            None,
            "inputs",
            r"inputs is not clear: .*'a': float32 \[4, 2\], 'b': float.*inputs=<",
        ),
        ({"a": X}, None, "targets", "targets is not clear"),
        ([X], None, "targets", r"among 0: float32 \[4, 2\]"),
        ([X, Y], 5, "inputs", r"no tensor at 5 among 0: float32"),
        ([[X], Y], None, "inputs", "0: list"),
        (Graph(X, Y), None, "inputs", r"'x': float32"),
        (X, None, "targets", r"among float32 \[4, 2\]"),
    ],
)
def test_what_is_not_clear_is_asked_for(batch: Any, place: Any, role: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        place_of(batch, place, role)
