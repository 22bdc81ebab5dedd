"""The average that is validated, saved and ended with, against one made by hand; statistics of BatchNorm for it."""

from __future__ import annotations

import copy
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import callbacks as lightning_callbacks
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_diag.callbacks.strategies import EMA, PolyakAveraging
from tests.callbacks.fits import data, quietly, trainer
from tests.callbacks.strategies.runs import Normed, Plain, Shuffled, Watcher, run, same, weights

NEW = hasattr(lightning_callbacks, "WeightAveraging")
needs_new = pytest.mark.skipif(not NEW, reason="this lightning has no WeightAveraging (new in 2.6)")


def mean(rows: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(tensors).double().mean(0).float() for tensors in zip(*rows, strict=True)]


def moving(rows: list[list[Tensor]], decay: float, *, warmup: bool) -> list[Tensor]:
    average = [p.double() for p in rows[0]]
    for n, row in enumerate(rows[1:], 1):
        a = min(decay, (1 + n) / (10 + n)) if warmup else decay
        average = [a * x + (1 - a) * p.double() for x, p in zip(average, row, strict=True)]
    return [x.float() for x in average]


def test_an_older_lightning_is_told_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(lightning_callbacks, "WeightAveraging", raising=False)
    with pytest.raises(ImportError, match=r"PolyakAveraging stands on .* pip install 'lightning>=2.6'"):
        PolyakAveraging()


@needs_new
@pytest.mark.parametrize(("start", "every"), [(0.0, 1), (0.5, 1), (0.3, 4)])
def test_polyak_ends_with_the_mean_of_the_visited_weights(tmp_path: Path, start: float, every: int) -> None:
    watcher = Watcher()
    module, _ = run(tmp_path, watcher, PolyakAveraging(start, every_n_steps=every))
    wanted = watcher.weights[int(start * 20) :: every]
    assert len(watcher.weights) == 20
    assert same(weights(module), mean(wanted), 1e-6)
    assert not same(weights(module), watcher.weights[-1], 1e-4)


@needs_new
@pytest.mark.parametrize("warmup", [True, False])
def test_ema_follows_its_formula_and_is_what_is_validated(tmp_path: Path, warmup: bool) -> None:
    watcher = Watcher()
    module, _ = run(tmp_path, watcher, EMA(0.8, warmup=warmup))
    assert same(weights(module), moving(watcher.weights, 0.8, warmup=warmup), 1e-6)
    first, last = watcher.validated
    assert same(first, moving(watcher.weights[:10], 0.8, warmup=warmup), 1e-6)
    assert same(last, weights(module))


@needs_new
def test_training_itself_is_bit_equal(tmp_path: Path) -> None:
    """Shuffling and dropout draw what they draw without it, and BatchNorm of the trained weights is not touched."""
    plain, averaged = Watcher(), Watcher()
    dropping = partial(Normed, dropout=0.3)
    run(tmp_path, plain, module=dropping, val_check_interval=0.5)
    run(tmp_path, averaged, EMA(), module=dropping, val_check_interval=0.5)
    assert len(plain.weights) == 20
    assert all(same(a, b) for a, b in zip(plain.weights, averaged.weights, strict=True))


@needs_new
def test_a_generator_of_the_loader_is_left_as_it_was(tmp_path: Path) -> None:
    orders = []
    for callbacks in ((), (EMA(),)):
        watcher = Watcher()
        run(tmp_path, watcher, *callbacks, module=Normed, loaders=Shuffled(generator=torch.Generator().manual_seed(3)))
        orders.append([b[1].tolist() for b in watcher.batches])
    assert orders[0] == orders[1]
    assert orders[0][:10] != orders[0][10:]


@needs_new
@pytest.mark.parametrize("batches", [100, 4, 0])
def test_statistics_of_batch_norm_are_those_of_the_averaged_weights(tmp_path: Path, batches: int) -> None:
    averaging = PolyakAveraging(0.0, batchnorm_batches=batches)
    module, _ = run(tmp_path, averaging, module=Normed(), loaders=Shuffled(shuffle=False))
    used = data().tensors[0][: 16 * batches if batches else 160]
    hidden = module.net[0](used).detach()
    norm = module.net[1]
    fits = torch.allclose(norm.running_mean, hidden.mean(0), atol=1e-5)
    parts = torch.stack([h.var(0) for h in hidden.split(16)]).mean(0)  # the mean over batches, as update_bn makes it
    assert fits == (batches > 0)
    assert torch.allclose(norm.running_var, parts, atol=1e-5) == (batches > 0)
    assert module.mask.tolist() == [True, False]
    assert module.ids.tolist() == [5, 7]
    assert norm.momentum == 0.1
    assert module.training


@needs_new
def test_a_norm_that_was_trained_in_eval_mode_keeps_its_statistics(tmp_path: Path) -> None:
    class Frozen(Normed):
        def on_train_epoch_start(self) -> None:
            self.net[1].eval()

    module = Frozen()
    module.net[1].running_mean.fill_(0.25)
    run(tmp_path, EMA(), module=module)
    assert module.net[1].running_mean.tolist() == [0.25] * 16
    assert module.net[1].track_running_stats


class Late(L.Callback):
    """Adds a layer in setup, after the averaging callback's own setup."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if len(pl_module.net) == 5:
            pl_module.net.append(nn.Linear(3, 3))


@needs_new
def test_layers_that_a_later_callback_adds_are_averaged_too(tmp_path: Path) -> None:
    watcher = Watcher()
    module, _ = run(tmp_path, PolyakAveraging(0.0), Late(), watcher)
    assert len(weights(module)) == 8
    assert same(weights(module), mean(watcher.weights), 1e-6)


@needs_new
def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    loaders = Shuffled(shuffle=False)
    whole, _ = run(tmp_path, EMA(0.9), module=Normed, loaders=loaders, max_epochs=4)
    first, _ = run(tmp_path, EMA(0.9), Save(tmp_path / "a.ckpt"), module=Normed, loaders=loaders, max_epochs=2)
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    resumed, _ = run(
        tmp_path, EMA(0.9), module=Normed(), loaders=loaders, max_epochs=4, ckpt_path=str(tmp_path / "a.ckpt")
    )
    assert same(weights(whole), weights(resumed), 1e-7)
    assert torch.allclose(whole.net[1].running_var, resumed.net[1].running_var)
    assert not same(weights(first), weights(whole), 1e-3)


class Save(L.Callback):
    """Saves a checkpoint at the end of every epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        trainer.save_checkpoint(self.path)


class Keep(L.Callback):
    """Keeps the checkpoint of the first epoch."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            shutil.copy(self.root / "b.ckpt", self.root / "first.ckpt")


@needs_new
def test_a_checkpoint_holds_the_average_and_is_what_is_tested_after_the_fit(tmp_path: Path) -> None:
    class Tested(Normed):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.seen = weights(self)

    watcher = Watcher()
    module, fitter = run(tmp_path, watcher, EMA(0.9), Save(tmp_path / "e.ckpt"), module=Tested(), max_epochs=1)
    with quietly():
        fitter.test(module, DataLoader(data(48), 48), ckpt_path=str(tmp_path / "e.ckpt"), verbose=False)
    assert same(module.seen, moving(watcher.weights, 0.9, warmup=True), 1e-6)
    state = torch.load(tmp_path / "e.ckpt", weights_only=True)["state_dict"]
    hidden = F.linear(data().tensors[0], state["net.0.weight"], state["net.0.bias"])
    assert torch.allclose(state["net.1.running_mean"], hidden.mean(0), atol=1e-5)
    Tested().load_state_dict(state)


@needs_new
def test_weights_loaded_after_the_fit_are_the_ones_validated(tmp_path: Path) -> None:
    watcher = Watcher()
    module, fitter = run(tmp_path, watcher, EMA(0.9))
    module.load_state_dict({k: torch.zeros_like(v) for k, v in module.state_dict().items()})
    with quietly():
        fitter.validate(module, DataLoader(data(48), 48), verbose=False)
    assert all(not w.any() for w in watcher.validated[-1])


@needs_new
def test_before_averaging_begins_the_present_weights_are_validated_and_saved(tmp_path: Path) -> None:
    watcher = Watcher()
    run(tmp_path, PolyakAveraging(0.9), watcher, Save(tmp_path / "b.ckpt"), Keep(tmp_path), max_epochs=2)
    saved = torch.load(tmp_path / "first.ckpt", weights_only=True)["state_dict"]
    assert same(watcher.validated[0], watcher.weights[9])
    assert same(list(saved.values()), watcher.weights[9])
    assert same(watcher.validated[1], mean(watcher.weights[18:]), 1e-6)


@needs_new
def test_a_second_fit_starts_anew(tmp_path: Path) -> None:
    averaging = EMA(0.9)
    run(tmp_path, averaging)
    again, _ = run(tmp_path, averaging)
    fresh, _ = run(tmp_path, EMA(0.9))
    assert same(weights(again), weights(fresh))


@needs_new
def test_after_an_error_in_validation_the_module_has_its_own_weights(tmp_path: Path) -> None:
    class Fails(Plain):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            raise RuntimeError("bang")

    watcher, module = Watcher(), Fails()
    with pytest.raises(RuntimeError, match="bang"):
        run(tmp_path, watcher, EMA(0.5), module=module)
    assert same(weights(module), watcher.weights[-1])


class Manual(Normed):
    """Steps its optimizer itself; ``forward`` is what is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(F.cross_entropy(self(batch[0]), batch[1]))
        optimizer.step()


@needs_new
def test_manual_optimization_uses_forward(tmp_path: Path) -> None:
    watcher = Watcher()
    module, _ = run(tmp_path, watcher, PolyakAveraging(0.0), module=Manual(), loaders=Shuffled(shuffle=False))
    assert len(watcher.weights) == 20
    hidden = module.net[0](data().tensors[0]).detach()
    assert torch.allclose(module.net[1].running_mean, hidden.mean(0), atol=1e-5)


@needs_new
def test_manual_optimization_without_forward_is_refused(tmp_path: Path) -> None:
    class NoForward(Manual):
        forward = L.LightningModule.forward

    with pytest.raises(ValueError, match=r"NoForward: it has manual optimization and no forward.*batchnorm_batches=0"):
        run(tmp_path, EMA(), module=NoForward())


@needs_new
def test_a_step_that_cannot_be_rehearsed_says_what_to_do(tmp_path: Path) -> None:
    class Differentiates(Normed):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x = batch[0].requires_grad_()
            loss = F.cross_entropy(self.net(x), batch[1])
            (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
            return loss + gradient.square().sum()

    with pytest.raises(RuntimeError, match="batchnorm_batches=0"):
        run(tmp_path, EMA(), module=Differentiates())
    run(tmp_path, EMA(batchnorm_batches=0), module=Differentiates(), max_epochs=1)


class Stream(IterableDataset[Any]):
    """Without a length."""

    def __iter__(self) -> Any:
        return iter([data()[i] for i in range(160)])


@needs_new
def test_without_a_known_length_only_start_zero_works(tmp_path: Path) -> None:
    loader = DataLoader(Stream(), 16)
    with quietly(), pytest.raises(ValueError, match=r"number of optimizer steps of this run is unknown.*start=0"):
        trainer(tmp_path, [PolyakAveraging()], limit_val_batches=0).fit(Plain(), loader)
    watcher, module = Watcher(), Normed()
    with quietly():
        trainer(tmp_path, [PolyakAveraging(0), watcher], limit_val_batches=0).fit(module, loader)
    assert same(weights(module), mean(watcher.weights), 1e-6)


@needs_new
def test_several_loaders_at_once(tmp_path: Path) -> None:
    class Two(Normed):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch["a"], batch_idx) + super().training_step(batch["b"], batch_idx)

    loaders, module = {k: DataLoader(data(), 16) for k in "ab"}, Two()
    with quietly():
        trainer(tmp_path, [PolyakAveraging(0)], limit_val_batches=0).fit(module, loaders)
    hidden = module.net[0](data().tensors[0]).detach()
    assert torch.allclose(module.net[1].running_mean, hidden.mean(0), atol=1e-5)


class NoValidation(Normed):
    """Only trains."""

    validation_step = L.LightningModule.validation_step


@needs_new
def test_data_that_can_be_read_once_only_is_not_read(tmp_path: Path) -> None:
    batches = iter(list(DataLoader(data(), 16)))
    with quietly(), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trainer(tmp_path, [EMA()], limit_val_batches=0, max_epochs=1).fit(NoValidation(), batches)
    assert [w for w in seen if "can be read only once" in str(w.message)]


@needs_new
@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: EMA(1.0), ValueError, r"decay must be in \(0, 1\), got 1.0"),
        (lambda: EMA(0), ValueError, r"decay must be in \(0, 1\), got 0"),
        (lambda: EMA("0.9"), TypeError, "decay must be a number, got '0.9'"),
        (lambda: PolyakAveraging(1.0), ValueError, r"start must be in \[0, 1\), got 1.0"),
        (lambda: PolyakAveraging(every_n_steps=0), ValueError, "every_n_steps must be 1 or more, got 0"),
        (lambda: PolyakAveraging(every_n_steps=1.5), TypeError, "every_n_steps must be an integer, got 1.5"),
        (lambda: EMA(batchnorm_batches=-1), ValueError, "batchnorm_batches must be 0 or more, got -1"),
    ],
)
def test_wrong_values_are_refused(make: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


@needs_new
@pytest.mark.full
def test_persistent_workers_go_on_with_their_epoch(tmp_path: Path) -> None:
    watcher = Watcher()
    loaders = Shuffled(num_workers=1, persistent_workers=True)
    run(tmp_path, watcher, EMA(), module=Normed(), loaders=loaders, val_check_interval=0.3)
    seen = [sorted(y for b in watcher.batches[e : e + 10] for y in b[0][:, 0].tolist()) for e in (0, 10)]
    assert len(watcher.batches) == 20
    assert seen[0] == seen[1] == sorted(data().tensors[0][:, 0].tolist())


@needs_new
def test_it_can_be_copied_after_a_fit(tmp_path: Path) -> None:
    averaging = EMA()
    run(tmp_path, averaging, max_epochs=1)
    assert "log" not in vars(copy.deepcopy(averaging))
