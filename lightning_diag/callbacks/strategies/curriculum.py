"""Curriculum learning: easy samples first, or more often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any, Literal, Union, cast, final, get_args

import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from lightning_diag.callbacks.strategies.rehearsal import refuses_step
from lightning_diag.callbacks.strategies.sample_losses import sample_losses
from lightning_diag.callbacks.strategies.substitution import plain_copy
from lightning_diag.callbacks.strategies.values import choice, fraction, natural, number, planned_steps

By = Literal["order", "weight"]
_SAMPLERS = (RandomSampler, SequentialSampler, DistributedSampler)


@final
class Curriculum(Callback):
    """Trains on easy samples first ("order"), or on easy ones more often ("weight"), until all count alike.

    It stands in for the sampler of the training loader while the fit runs, and gives the same number of samples an
    epoch. With "order" an epoch draws from the easiest share of the samples, ``start`` at first and growing linearly to
    all at ``until``, each as often as the others, shuffled. With "weight" a sample of difficulty rank r in [0, 1] is
    drawn with a probability proportional to exp(-strength * r), where ``strength`` falls linearly to 0 at ``until``.
    The order of an epoch depends on the seed and the epoch only.

    Difficulty is given, or measured as the loss of each sample by the module itself, once it was trained for
    ``warmup_epochs`` in the loader's own order: in eval mode, without gradients, on a copy, and again every
    ``remeasure_every_n_epochs``. That costs a forward pass over the training data each time (a pass sample by sample
    where the loss is not one of torch's functions). Random augmentations in the data set make it noisy.

    Args:
        difficulty: one number a sample of the training data, larger for harder ones; or "loss".
        by: "order" or "weight".
        start: share of the samples that the first epoch draws from, in (0, 1]; for "order".
        strength: how much rarer the hardest sample is than the easiest at first, as a logarithm; for "weight".
        until: share of the planned optimizer steps after which all samples count alike, in (0, 1].
        warmup_epochs: epochs before difficulty is measured; for "loss".
        remeasure_every_n_epochs: epochs from one measurement to the next, 0 for only one; for "loss".

    Raises:
        ValueError: a value is out of range; there is not one difficulty a sample; the loader's order is not its own to
            change (an iterable data set, a sampler that weights, a batch sampler); the number of steps is unknown.
        TypeError: difficulties are no numbers.

    Source: Bengio et al., Curriculum Learning, 2009; Hacohen and Weinshall, On the Power of Curriculum Learning in
        Training Deep Networks, 2019.
    """

    def __init__(
        self,
        difficulty: Union[Literal["loss"], Sequence[float]] = "loss",
        *,
        by: By = "order",
        start: float = 0.3,
        strength: float = 3.0,
        until: float = 0.5,
        warmup_epochs: int = 1,
        remeasure_every_n_epochs: int = 0,
    ) -> None:
        super().__init__()
        self.by: By = choice("by", by, get_args(By))
        self.start = fraction("start", start, above_zero=True)
        self.strength = number("strength", strength)
        self.until = fraction("until", until, above_zero=True)
        self.warmup_epochs = natural("warmup_epochs", warmup_epochs, least=0)
        self.remeasure_every_n_epochs = natural("remeasure_every_n_epochs", remeasure_every_n_epochs, least=0)
        self.measured = isinstance(difficulty, str)
        if isinstance(difficulty, str):
            choice("difficulty", difficulty, ("loss",))
        self.difficulty: Tensor | None = None if isinstance(difficulty, str) else _numbers(difficulty)
        self._measured_at = -1
        self._sampler: EasyFirst | None = None
        self._own: Any = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == "fit" and self.measured:
            self.difficulty, self._measured_at = None, -1
            if reason := refuses_step(pl_module):
                raise ValueError(f"difficulty cannot be measured as the loss of {type(pl_module).__name__}: {reason}")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._steps = planned_steps(trainer, "leave Curriculum out")
        self.on_train_epoch_start(trainer, pl_module)
        if self._sampler is not None and trainer.train_dataloader.num_workers:
            iter(trainer.fit_loop._data_fetcher)  # Lightning's workers have begun with the other order: begin anew

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        loader = trainer.train_dataloader
        _check(loader, self.difficulty)
        self._measure(trainer, pl_module, loader)
        if self.difficulty is None:
            return
        if not isinstance(loader.batch_sampler.sampler, EasyFirst):  # the first epoch, or the loader is another one
            self._own = loader.batch_sampler.sampler
            self._sampler = EasyFirst(len(self._own), trainer.world_size, trainer.global_rank)
            loader.batch_sampler.sampler = self._sampler
        left = max(0.0, 1 - trainer.global_step / (self.until * self._steps))
        assert self._sampler is not None
        if self.by == "order":
            share = self.start + (1 - self.start) * (1 - left)
            self._sampler.set(self.difficulty, share, 0.0, trainer.current_epoch)
        else:
            self._sampler.set(self.difficulty, 1.0, self.strength * left, trainer.current_epoch)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._give_back(trainer)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._give_back(trainer)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._give_back(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured: a resumed run goes on with it."""
        return {"difficulty": self.difficulty if self.measured else None, "measured_at": self._measured_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.measured:
            self.difficulty, self._measured_at = state_dict["difficulty"], state_dict["measured_at"]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the methods that Lightning puts on callbacks: they hold model and Trainer."""
        return {k: v for k, v in self.__dict__.items() if k not in ("log", "log_dict")}

    def _measure(self, trainer: Any, module: Any, loader: Any) -> None:
        epoch, every = trainer.current_epoch, self.remeasure_every_n_epochs
        due = self.difficulty is None or (every > 0 and epoch >= self._measured_at + every)
        if self.measured and due and epoch >= self.warmup_epochs:
            self.difficulty = sample_losses(trainer, plain_copy(module), loader)
            self._measured_at = epoch

    def _give_back(self, trainer: Any) -> None:
        own, self._own, self._sampler = self._own, None, None
        batch_sampler = getattr(trainer.train_dataloader, "batch_sampler", None)
        if own is not None and isinstance(batch_sampler, BatchSampler):
            batch_sampler.sampler = own


class EasyFirst(Sampler[int]):
    """Draws indices of samples by their difficulty; on several ranks each gets every n-th.

    Args:
        length: indices an epoch on this rank.
        ranks: number of ranks.
        rank: which one this is.
    """

    def __init__(self, length: int, ranks: int = 1, rank: int = 0) -> None:
        self.length, self.ranks, self.rank = length, ranks, rank
        self.order = torch.arange(length)
        self.share, self.strength, self.seed = 1.0, 0.0, 0

    def set(self, difficulty: Tensor, share: float, strength: float, epoch: int) -> None:
        """Say what the next epoch draws.

        Args:
            difficulty: one number a sample, of shape (samples,).
            share: the easiest share of the samples from which it draws.
            strength: how much rarer the hardest of them is than the easiest, as a logarithm.
            epoch: number of the epoch.
        """
        self.order = torch.argsort(difficulty, stable=True)
        self.share, self.strength = share, strength
        self.seed = (torch.initial_seed() + 7919 * (epoch + 1)) % 2**63

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        pool = self.order[: max(1, round(self.share * len(self.order)))]
        wanted = self.length * self.ranks
        if self.strength:
            ranks = torch.linspace(0, 1, len(pool))
            drawn = pool[torch.multinomial(torch.exp(-self.strength * ranks), wanted, True, generator=generator)]
        else:
            rounds = [torch.randperm(len(pool), generator=generator) for _ in range(-(-wanted // len(pool)))]
            drawn = pool[torch.cat(rounds)[:wanted]]
        return iter(drawn[self.rank :: self.ranks].tolist())

    def __len__(self) -> int:
        return self.length


def _numbers(difficulty: Any) -> Tensor:
    try:
        numbers = torch.as_tensor(difficulty, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"difficulty must be 'loss' or one number a sample, got {difficulty!r:.80}") from error
    if numbers.dim() != 1 or not len(numbers) or not bool(numbers.isfinite().all()):
        raise ValueError(f"difficulty must be one finite number a sample, got a shape of {list(numbers.shape)}")
    return numbers


def _check(loader: Any, difficulty: Tensor | None) -> None:
    """Refuse a loader whose order cannot be changed."""
    reason = ""
    if not isinstance(loader, DataLoader):
        reason = f"there must be one DataLoader, got {type(loader).__name__}"
    elif type(loader.batch_sampler) is not BatchSampler:
        reason = f"it has no plain batch sampler but {type(loader.batch_sampler).__name__}"
    elif not isinstance(s := loader.batch_sampler.sampler, (*_SAMPLERS, EasyFirst)):
        reason = f"its {type(s).__name__} would be lost"
    elif difficulty is not None and len(difficulty) != (n := len(cast("Sized", loader.dataset))):
        reason = f"there are {len(difficulty)} difficulties for {n} samples"
    if reason:
        raise ValueError(f"Curriculum gives the samples another order by the training loader's sampler, but {reason}")
