"""Statistics of BatchNorm for weights that were never trained with: recomputed from training batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader

from lightning_diag.callbacks.strategies.rehearsal import another, call_step, refuses_step, rehearsing, transferred


class BatchStatistics:
    """Recomputes the running means and variances of a copy of the module by ``torch.optim.swa_utils.update_bn``.

    The copy's own ``training_step`` is called, without gradients, on training batches, because ``forward`` need not be
    what is trained; under manual optimization, where the step would step optimizers, ``forward`` on the first element
    of the batch. What the copy logs goes nowhere; what it writes to a logger's ``experiment`` is written. A layer that
    was trained in eval mode, as frozen ones are, keeps its statistics. Random number generators, those of the loader
    too, are left as they were. On several ranks each takes its share of the data and the statistics are merged.

    Args:
        batches: how many training batches are used, 0 for none.
    """

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self._eval_mode: frozenset[str] = frozenset()

    def check(self, module: Any) -> None:
        """Refuse a module whose statistics cannot be recomputed.

        Raises:
            ValueError: it has BatchNorm, manual optimization and no ``forward``, or draws its own batches.
        """
        if not self.batches or not any(_tracks(m) for m in module.modules()):
            return
        reason = refuses_step(module)
        if not module.automatic_optimization:
            missing = type(module).forward.__qualname__ == "LightningModule.forward"
            reason = "it has manual optimization and no forward(batch[0]) to call instead" if missing else ""
        if reason:
            raise ValueError(
                f"statistics of BatchNorm cannot be recomputed for {type(module).__name__}: {reason}; "
                "batchnorm_batches=0 leaves them those of the present weights"
            )

    def note_modes(self, module: nn.Module) -> None:
        """Note which parts are in eval mode now, while the module is trained."""
        self._eval_mode = frozenset(name for name, part in module.named_modules() if not part.training)

    def recompute(self, trainer: Any, module: Any) -> None:
        """Recompute the statistics of a copy of the Trainer's module.

        Raises:
            RuntimeError: its training step failed.
        """
        norms = [m for n, m in module.named_modules() if _tracks(m) and n not in self._eval_mode]
        loader = _loader(trainer) if self.batches and norms else None
        if loader is None:
            return
        frozen = [m for n, m in module.named_modules() if _tracks(m) and n in self._eval_mode]
        with rehearsing(trainer, module, loader), _untracked(frozen):
            batches = transferred(trainer, islice(loader, self.batches))
            try:
                update_bn(((numbered,) for numbered in enumerate(batches)), _Step(module, self._eval_mode))
            except Exception as error:
                raise RuntimeError(
                    f"the training step of a copy of {type(module).__name__} failed while statistics of BatchNorm "
                    f"were recomputed for averaged weights ({error!r}); batchnorm_batches=0 leaves them those of the "
                    "present weights"
                ) from error
        if trainer.world_size > 1:
            _merge(trainer, norms)


class _Step(nn.Module):
    """The training step of a module as the ``forward`` that ``update_bn`` calls."""

    def __init__(self, module: Any, eval_mode: frozenset[str]) -> None:
        super().__init__()
        self.module, self.eval_mode = module, eval_mode

    def train(self, mode: bool = True) -> _Step:
        super().train(mode)
        for name, part in self.module.named_modules():
            part.training = mode and name not in self.eval_mode
        return self

    def forward(self, numbered: tuple[int, Any]) -> None:
        index, batch = numbered
        if self.module.automatic_optimization:
            call_step(self.module, batch, index)
        else:
            self.module(batch[0] if isinstance(batch, (list, tuple)) else batch)


def _tracks(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.track_running_stats


def _loader(trainer: Any) -> Iterable[Any] | None:
    """Return the training loader, such that iterating it leaves the running epoch alone."""
    loader = trainer.train_dataloader
    if isinstance(loader, (dict, list, tuple)):
        combined = CombinedLoader(loader, "max_size_cycle")
        return _first(combined)
    if isinstance(loader, Iterator):
        warnings.warn(
            "the training data can be read only once, so statistics of BatchNorm are not recomputed for the averaged "
            "weights; batchnorm_batches=0 says that this is meant",
            stacklevel=1,
        )
        return None
    if isinstance(loader, DataLoader) and loader.persistent_workers:  # a second iterator would restart the first
        return another(loader, **({"batch_sampler": s} if (s := loader.batch_sampler) else {"batch_size": None}))
    return loader  # type: ignore[no-any-return]


def _first(combined: Iterable[Any]) -> Iterator[Any]:
    for batch, _, _ in combined:
        yield batch


@contextmanager
def _untracked(frozen: list[_BatchNorm]) -> Iterator[None]:
    """Keep ``update_bn`` from resetting layers that were trained in eval mode; they go on using their statistics."""
    for norm in frozen:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in frozen:
            norm.track_running_stats = True


def _merge(trainer: Any, norms: list[_BatchNorm]) -> None:
    """Give every rank the statistics of all data: the variance of a mixture is that within and that between."""
    for norm in norms:
        mean, variance = norm.running_mean, norm.running_var
        if mean is not None and variance is not None:
            whole = trainer.strategy.reduce(mean, reduce_op="mean")
            square = trainer.strategy.reduce(variance + mean.square(), reduce_op="mean")
            mean.copy_(whole)
            variance.copy_((square - whole.square()).clamp_min(0))
