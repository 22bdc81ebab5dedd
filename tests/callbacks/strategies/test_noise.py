"""How much noise, on what, until when; and that nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_diag.callbacks.strategies import InputNoise
from tests.callbacks.strategies.runs import Plain, Shuffled, Watcher, run, same


class Sees(Plain):
    """Keeps the batches that the training step gets."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append(batch)
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(("decay", "half"), [("linear", 0.5), ("cosine", 0.5), ("exponential", 0.1), ("constant", 1.0)])
def test_the_course_of_the_noise(decay: Any, half: float) -> None:
    noise = InputNoise(2.0, decay=decay, until=0.5)
    levels = [noise.std_at(t / 100) for t in range(101)]
    assert levels[0] == 2.0
    assert levels[25] == pytest.approx(2 * half)
    assert all(a >= b for a, b in zip(levels, levels[1:], strict=False))
    assert set(levels[50:]) == ({2.0} if decay == "constant" else {0.0})


def test_what_is_added_has_the_spread_of_the_schedule_and_the_batch_stays(tmp_path: Path) -> None:
    watcher = Watcher()
    module, _ = run(tmp_path, watcher, InputNoise(0.5, until=0.5), module=Sees, loaders=Shuffled(shuffle=False))
    added = [(s[0] - b[0]).std().item() for s, b in zip(module.seen, watcher.batches, strict=True)]
    wanted = [0.5 * max(0, 1 - t / 10) for t in range(20)]
    assert added == pytest.approx(wanted, rel=0.25, abs=1e-8)
    assert all(torch.equal(s[1], b[1]) for s, b in zip(module.seen, watcher.batches, strict=True))
    first = torch.cat([b[0] for b in watcher.batches[:10]])
    assert torch.equal(first, Shuffled().train_dataloader().dataset.tensors[0])  # type: ignore[attr-defined]


def test_shuffling_is_what_it_was_and_no_noise_is_no_change(tmp_path: Path) -> None:
    plain, with_noise, with_none = Watcher(), Watcher(), Watcher()
    run(tmp_path, plain)
    run(tmp_path, InputNoise(0.5), with_noise)
    run(tmp_path, InputNoise(0.0), with_none)
    order = [b[1].tolist() for b in plain.batches]
    assert order == [b[1].tolist() for b in with_noise.batches]
    assert same(plain.weights[-1], with_none.weights[-1])
    assert not same(plain.weights[-1], with_noise.weights[-1], 1e-3)


def test_a_resumed_run_sees_the_same_noise(tmp_path: Path) -> None:
    class Save(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    still = Shuffled(shuffle=False)
    whole, _ = run(tmp_path, InputNoise(), Save(), loaders=still, max_epochs=2)
    again, _ = run(tmp_path, InputNoise(), loaders=still, max_epochs=2, ckpt_path=str(tmp_path / "0.ckpt"))
    assert same(list(whole.parameters()), list(again.parameters()))


def test_batches_of_one_step_get_noise_of_their_own(tmp_path: Path) -> None:
    watcher = Watcher()
    module, _ = run(
        tmp_path, watcher, InputNoise(decay="constant"), module=Sees, accumulate_grad_batches=5, max_epochs=1,
        loaders=Shuffled(shuffle=False),
    )  # fmt: skip
    added = [s[0] - b[0] for s, b in zip(module.seen, watcher.batches, strict=True)]
    assert len({round(float(a[0, 0]), 6) for a in added}) == 10


def test_a_line_search_sees_one_batch(tmp_path: Path) -> None:
    class Searches(Sees):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), max_iter=4)

    module, _ = run(tmp_path, InputNoise(), module=Searches, max_steps=2)
    assert len(module.seen) > 4
    assert len({id(b) for b in module.seen}) == 2


def test_numbers_that_are_no_floats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"floating point inputs, got torch.int64"):
        run(tmp_path, InputNoise(inputs=1))
    assert "training_step" not in vars(run(tmp_path)[0])


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"std": -1}, ValueError, "std must be a finite number of 0 or more, got -1"),
        ({"std": float("nan")}, ValueError, "std must be a finite number"),
        ({"std": "a"}, TypeError, "std must be a number, got 'a'"),
        ({"decay": "liner"}, ValueError, r"got 'liner' \(did you mean 'linear'\?\)"),
        ({"until": 0}, ValueError, r"until must be in \(0, 1\], got 0"),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        InputNoise(**options)


def test_an_unknown_length_is_refused_unless_noise_stays(tmp_path: Path) -> None:
    class Stop(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            trainer.should_stop = True

    with pytest.raises(ValueError, match=r"number of optimizer steps of this run is unknown.*decay='constant'"):
        run(tmp_path, InputNoise(), max_epochs=-1)
    run(tmp_path, InputNoise(decay="constant"), Stop(), max_epochs=-1)
