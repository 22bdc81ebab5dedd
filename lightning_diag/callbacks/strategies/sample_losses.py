"""The loss of each training sample by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_diag.callbacks.strategies.rehearsal import another, call_step, rehearsing, transferred

LOSSES: Final[tuple[Callable[..., Tensor], ...]] = (
    F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits,
    F.cross_entropy,
    F.gaussian_nll_loss,
    F.huber_loss,
    F.l1_loss,
    F.mse_loss,
    F.multi_margin_loss,
    F.multilabel_margin_loss,
    F.nll_loss,
    F.poisson_nll_loss,
    F.smooth_l1_loss,
    F.soft_margin_loss,
)


def sample_losses(trainer: Any, copy: Any, loader: Any) -> Tensor:
    """Return the loss of every sample of a loader's data set, of shape (samples,), on the CPU.

    The training step of a copy of the module runs in eval mode on batches in the data's order; calls of torch's losses
    in it are asked once more without reduction, and summed. Where there is none, or one that does not keep samples
    apart, the step runs on every sample alone. Of a sample that has no finite loss it is infinite: the hardest.

    Args:
        trainer: the Trainer, training.
        copy: a copy of its module; it is left in eval mode.
        loader: the training loader.

    Raises:
        ValueError: the training step returns no loss.
    """
    copy.eval()
    with rehearsing(trainer, copy, loader):
        found = _by_batch(trainer, copy, loader)
        if found is None:
            found = [_alone(copy, b, i) for i, b in enumerate(transferred(trainer, another(loader, batch_size=1)))]
        losses = torch.cat(found).float().cpu()
    return torch.where(losses.isfinite(), losses, torch.inf)


def _by_batch(trainer: Any, copy: Any, loader: Any) -> list[Tensor] | None:
    found, done, total = [], 0, len(loader.dataset)
    for index, batch in enumerate(transferred(trainer, another(loader, batch_size=loader.batch_size))):
        size = min(loader.batch_size, total - done)
        with Unreduced(size) as calls:
            call_step(copy, batch, index)
        if not calls.losses or not calls.apart:
            return None
        found.append(torch.stack(calls.losses).sum(0))
        done += size
    return found


def _alone(copy: Any, batch: Any, index: int) -> Tensor:
    out = call_step(copy, batch, index)
    loss = out.get("loss") if isinstance(out, Mapping) else out
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise ValueError(f"difficulty cannot be measured: the training step returned {type(out).__name__}, no loss")
    return loss.detach().reshape(1)


class Unreduced(TorchFunctionMode):
    """Collects the losses of single samples from calls of torch's loss functions.

    Args:
        size: samples in the batch.

    Attributes:
        losses: one tensor of shape (size,) a call.
        apart: whether all calls kept the samples apart.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.losses: list[Tensor] = []
        self.apart = True

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in LOSSES:
            call = inspect.signature(func).bind(*args, **given)
            call.arguments["reduction"] = "none"
            each = func(*call.args, **call.kwargs)
            self.apart &= each.numel() % self.size == 0 and each.dim() > 0
            if self.apart:
                self.losses.append(each.reshape(self.size, -1).mean(1))
        return func(*args, **given)
