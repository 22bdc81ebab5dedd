"""Which samples come when, what difficulty is measured as, and that the loader gets its own order back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from lightning_diag.callbacks.strategies import Curriculum, MixUp
from lightning_diag.callbacks.strategies.curriculum import EasyFirst
from tests.callbacks.fits import data, quietly, trainer
from tests.callbacks.strategies.runs import Normed, Plain, Shuffled, Watcher, run, same

RANK = list(range(160))


class Numbered(L.LightningDataModule):
    """The blobs, each with its number as third element; one loader object for all epochs."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        x, y = data().tensors
        self.train = DataLoader(
            TensorDataset(x, y, torch.arange(160)), **{"batch_size": 16, "shuffle": True, **options}
        )

    def train_dataloader(self) -> DataLoader[Any]:
        return self.train

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(data(48), 48)


def epochs(watcher: Watcher) -> list[list[int]]:
    """Numbers of the samples of every epoch."""
    numbers = [n for b in watcher.batches for n in b[2].tolist()]
    return [numbers[i : i + 160] for i in range(0, len(numbers), 160)]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.full)])
def test_easy_samples_come_first_and_all_in_the_end(tmp_path: Path, workers: int) -> None:
    watcher, loaders = Watcher(), Numbered(num_workers=workers)
    run(tmp_path, watcher, Curriculum(RANK, start=0.25, until=0.5), loaders=loaders, max_epochs=4)
    first, second, third, fourth = epochs(watcher)
    assert sorted(first) == sorted(list(range(40)) * 4)
    assert max(second) == 99  # 25 % + 75 % * 1/2 of 160
    assert sorted(third) == sorted(fourth) == RANK
    assert third != fourth
    assert isinstance(loaders.train.batch_sampler.sampler, RandomSampler)


def test_easy_samples_come_more_often(tmp_path: Path) -> None:
    watcher = Watcher()
    curriculum = Curriculum(RANK, by="weight", strength=2.0, until=1.0)
    run(
        tmp_path,
        watcher,
        curriculum,
        loaders=Numbered(),
        max_epochs=40,
        limit_val_batches=0,
        enable_checkpointing=False,
    )
    counts = torch.bincount(torch.tensor(sum(epochs(watcher)[:10], [])), minlength=160).float()
    ratio = float(counts[:40].sum() / counts[-40:].sum())
    assert 2.5 < ratio < 5.5  # exp(1.5 * 7/8 of the strength) is 3.7 between the middles of the quarters
    late = torch.bincount(torch.tensor(sum(epochs(watcher)[-5:], [])), minlength=160).float()
    assert 0.75 < float(late[:40].sum() / late[-40:].sum()) < 1.5


@pytest.mark.parametrize(("ranks", "share", "strength"), [(1, 0.3, 0.0), (3, 0.5, 0.0), (2, 1.0, 2.0), (1, 0.001, 0.0)])
def test_ranks_share_one_epoch(ranks: int, share: float, strength: float) -> None:
    length = -(-50 // ranks)
    samplers = [EasyFirst(length, ranks, r) for r in range(ranks)]
    for s in samplers:
        s.set(torch.arange(50.0).flip(0), share, strength, epoch=1)
    parts = [list(s) for s in samplers]
    assert [len(p) for p in parts] == [len(s) for s in samplers] == [length] * ranks
    everything = sum(parts, [])
    if not strength:
        easiest = set(range(50 - max(1, round(share * 50)), 50))
        assert set(everything) == easiest
        counts = [everything.count(i) for i in easiest]
        assert max(counts) - min(counts) <= 1
    assert list(samplers[0]) == parts[0]
    samplers[0].set(torch.arange(50.0), share, strength, epoch=2)
    assert share < 0.01 or list(samplers[0]) != parts[0]


class Hand(Plain):
    """Writes its loss by hand."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.log("hand_loss", 0.0)
        return -self.net(batch[0]).log_softmax(1).gather(1, batch[1][:, None]).mean()


class Two(Plain):
    """Adds two losses."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        out = self.net(batch[0])
        return F.cross_entropy(out, batch[1]) + F.mse_loss(out, torch.zeros_like(out), reduction="sum") / out.numel()


class Dropping(Normed):
    """With BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__(dropout=0.5)


class Remembers(Watcher):
    """Computes at the start of the second epoch what the losses are."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            x, y = data().tensors
            pl_module.eval()
            with torch.no_grad():
                out = pl_module.net(x)
                self.losses = F.cross_entropy(out, y, reduction="none")
                self.squares = out.square().mean(1)
            pl_module.train()


@pytest.mark.parametrize("kind", [Plain, Hand, Two, Dropping])
def test_difficulty_is_the_loss_of_each_sample(tmp_path: Path, kind: type[Plain]) -> None:
    watcher, curriculum = Remembers(), Curriculum(start=0.25, until=1.0)
    _, fitter = run(tmp_path, watcher, curriculum, module=kind, loaders=Numbered(), max_epochs=4)
    wanted = watcher.losses + (watcher.squares if kind is Two else 0)
    assert curriculum.difficulty is not None
    assert torch.allclose(curriculum.difficulty, wanted, atol=1e-5)
    first, second, *_ = epochs(watcher)
    assert sorted(first) == RANK
    easiest = torch.argsort(wanted)[:70].tolist()  # 25 % + 75 % / 4
    assert set(second) == set(easiest)
    assert float(fitter.callback_metrics.get("hand_loss", 0.0)) == 0.0


def test_measuring_draws_no_random_numbers(tmp_path: Path) -> None:
    class All(Watcher):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            super().on_train_batch_end(trainer, pl_module, *args)
            self.state = torch.get_rng_state()

    seen = []
    for callbacks in ((), (Curriculum(start=1.0),)):
        watcher = All()
        run(tmp_path, watcher, *callbacks, module=Dropping, max_epochs=3, loaders=Numbered(shuffle=False))
        seen.append(watcher)
    assert torch.equal(seen[0].state, seen[1].state)
    assert all(same(a, b) for a, b in zip(seen[0].weights[:10], seen[1].weights[:10], strict=True))


def test_it_measures_again_when_told_and_keeps_it_in_the_checkpoint(tmp_path: Path) -> None:
    class Save(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    once, often = Curriculum(warmup_epochs=0), Curriculum(remeasure_every_n_epochs=2)
    run(tmp_path, often, loaders=Numbered(), max_epochs=4)
    assert often.state_dict()["measured_at"] == 3
    watcher = Watcher()
    run(tmp_path, once, watcher, Save(), loaders=Numbered(), max_epochs=3)
    assert once.state_dict()["measured_at"] == 0
    torch.load(tmp_path / "1.ckpt", weights_only=True)
    again, resumed = Curriculum(warmup_epochs=0), Watcher()
    run(tmp_path, again, resumed, loaders=Numbered(), max_epochs=3, ckpt_path=str(tmp_path / "1.ckpt"))
    assert torch.equal(again.state_dict()["difficulty"], once.state_dict()["difficulty"])
    assert epochs(resumed) == epochs(watcher)[2:]


def test_a_second_fit_measures_anew(tmp_path: Path) -> None:
    curriculum = Curriculum()
    run(tmp_path, curriculum, loaders=Numbered())
    first = curriculum.difficulty
    run(tmp_path, curriculum, loaders=Numbered(), module=Dropping)
    assert not torch.equal(first, curriculum.difficulty)


def test_beside_mixup_samples_are_measured_not_mixtures(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="the vision extra is not installed")
    watcher, curriculum = Remembers(), Curriculum()
    run(tmp_path, watcher, MixUp(1.0, num_classes=3), curriculum, loaders=Numbered())
    assert torch.allclose(curriculum.difficulty, watcher.losses, atol=1e-5)


def test_the_loader_has_its_own_order_back_after_an_error(tmp_path: Path) -> None:
    class Bad(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            raise RuntimeError("bang")

    loaders = Numbered()
    own = loaders.train.batch_sampler.sampler
    with pytest.raises(RuntimeError, match="bang"):
        run(tmp_path, Curriculum(RANK), loaders=loaders, module=Bad)
    assert loaders.train.batch_sampler.sampler is own


def test_loaders_that_are_made_anew_every_epoch(tmp_path: Path) -> None:
    class Anew(Shuffled):
        def train_dataloader(self) -> DataLoader[Any]:
            return Numbered().train

    watcher = Watcher()
    run(
        tmp_path, watcher, Curriculum(RANK, start=0.5, until=1.0), loaders=Anew(), max_epochs=2,
        reload_dataloaders_every_n_epochs=1,
    )  # fmt: skip
    assert [max(e) for e in epochs(watcher)] == [79, 119]


@pytest.mark.parametrize(
    ("loader", "match"),
    [
        ({"sampler": WeightedRandomSampler([1.0] * 160, 160), "shuffle": None}, "WeightedRandomSampler would be lost"),
        ({"batch_size": None, "shuffle": None}, "no plain batch sampler but NoneType"),
        ({}, "159 difficulties for 160 samples"),
    ],
)
def test_loaders_whose_order_is_not_theirs_to_change(tmp_path: Path, loader: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        run(tmp_path, Curriculum(RANK[:159]), loaders=Numbered(**loader))


def test_own_batch_samplers_and_several_loaders_are_refused(tmp_path: Path) -> None:
    class Own(BatchSampler):
        pass

    own = DataLoader(data(), batch_sampler=Own(RandomSampler(data()), 16, False))
    for loader, match in ((own, "no plain batch sampler but Own"), ({"a": own}, "one DataLoader, got dict")):
        with quietly(), pytest.raises(ValueError, match=match):
            trainer(tmp_path, [Curriculum(RANK)], limit_val_batches=0).fit(Plain(), loader)


def test_a_step_without_a_loss_cannot_be_measured(tmp_path: Path) -> None:
    class Manual(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

    with pytest.raises(ValueError, match="difficulty cannot be measured as the loss of Manual: it has manual"):
        run(tmp_path, Curriculum(), module=Manual)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"difficulty": "los"}, ValueError, r"difficulty must be one of 'loss', got 'los' \(did you mean 'loss'\?\)"),
        ({"difficulty": [[1.0]]}, ValueError, r"one finite number a sample, got a shape of \[1, 1\]"),
        ({"difficulty": []}, ValueError, r"got a shape of \[0\]"),
        ({"difficulty": [1.0, float("nan")]}, ValueError, "one finite number a sample"),
        ({"difficulty": ["a"]}, TypeError, r"one number a sample, got \['a'\]"),
        ({"by": "orders"}, ValueError, "did you mean 'order'"),
        ({"start": 0}, ValueError, r"start must be in \(0, 1\], got 0"),
        ({"strength": -1}, ValueError, "strength must be a finite number of 0 or more"),
        ({"warmup_epochs": -1}, ValueError, "warmup_epochs must be 0 or more"),
    ],
)
def test_wrong_values_are_refused(given: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        Curriculum(**given)
