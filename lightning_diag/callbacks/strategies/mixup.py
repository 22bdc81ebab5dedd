"""MixUp and CutMix: training on mixtures of two samples and of their targets."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, Literal, Union, final, get_args

import torch
from torch import Tensor

from lightning_diag.callbacks.strategies.batches import part_of, place_of, with_parts
from lightning_diag.callbacks.strategies.substitution import BatchChange
from lightning_diag.callbacks.strategies.values import choice, natural, number, seed_of_step

Kind = Literal["mixup", "cutmix"]
Transform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@final
class MixUp(BatchChange):
    """Hands the training step mixtures of two samples, by torchvision's ``v2.MixUp`` or ``v2.CutMix``.

    Formula: x = l * x_i + (1 - l) * x_j, the same for y, l ~ Beta(alpha, alpha) once a batch, j the sample before i in
    the batch. Class numbers (batch,) become probabilities (batch, classes), which ``cross_entropy`` takes; a training
    step that computes an accuracy must take their ``argmax``. Floating point targets are mixed as they are. Inputs may
    have any shape; CutMix needs images (batch, channel, height, width). Training losses of mixtures are higher than
    those of samples, so compare validation losses. Validation sees the samples. The draws depend on the seed, the step
    and the rank only.

    Args:
        alpha: both parameters of the Beta distribution, above 0: near 0 hardly anything is mixed, 1 is uniform.
        kind: "mixup" mixes values, "cutmix" puts a rectangle of one image into the other.
        num_classes: number of classes of integer targets; None: ``num_classes`` of the module or its hyperparameters,
            else what the training data say (``classes``, ``targets`` or the last tensor of a TensorDataset).
        inputs: index, key or attribute of the inputs in a batch; None: its first element, or the only floating point
            tensor of a mapping that is not named like targets.
        targets: the same of the targets; None: the second element, or the only one of a mapping named like targets.

    Raises:
        ImportError: torchvision is not installed (the extra ``vision``).
        ValueError: a value is out of range; inputs, targets or the number of classes cannot be told or do not fit.
        TypeError: the inputs are no floating point numbers.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018; Yun et al., CutMix, 2019.
    """

    def __init__(
        self,
        alpha: float = 0.2,
        *,
        kind: Kind = "mixup",
        num_classes: int | None = None,
        inputs: Union[int, str, None] = None,
        targets: Union[int, str, None] = None,
    ) -> None:
        super().__init__()
        self.alpha = number("alpha", alpha)
        if self.alpha == 0:
            raise ValueError("alpha must be above 0, got 0 (leave MixUp out to mix nothing)")
        self.kind: Kind = choice("kind", kind, get_args(Kind))
        self.num_classes = None if num_classes is None else natural("num_classes", num_classes, least=2)
        self.inputs, self.targets = inputs, targets
        self._transform(None)  # refuses now, not at the first batch
        self._classes, self._seed, self._mixed = self.num_classes, 0, False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._classes = self.num_classes or _known_classes(pl_module, trainer.train_dataloader)
        super().on_train_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self._seed = seed_of_step(trainer, batch_idx)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._mixed = False

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        if self._mixed and isinstance(exception, (RuntimeError, ValueError, TypeError, IndexError)):
            _explain(exception)
        self._mixed = False

    def change(self, batch: Any) -> Any:
        """Return a batch of mixtures."""
        at_x, at_y = place_of(batch, self.inputs, "inputs"), place_of(batch, self.targets, "targets")
        x, y = part_of(batch, at_x), part_of(batch, at_y)
        self._check(x, y)
        images = x if self.kind == "cutmix" else x.reshape(len(x), -1, 1, 1)
        flat = y[:, None] if y.is_floating_point() and y.dim() == 1 else y.reshape(len(y), -1) if y.dim() > 2 else y
        transform = self._transform(self._classes if y.dim() == 1 and not y.is_floating_point() else None)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed)
            mixed, mixed_targets = transform(images, flat)
        self._mixed = True
        same_shape = y.is_floating_point()
        return with_parts(
            batch, {at_x: mixed.reshape(x.shape), at_y: mixed_targets.reshape(y.shape) if same_shape else mixed_targets}
        )

    def _transform(self, num_classes: int | None) -> Transform:
        try:
            from torchvision.transforms import v2
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
            raise ImportError(f'MixUp needs torchvision: pip install "lightning-diag[vision]" ({error})') from error
        made: Transform = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[self.kind](alpha=self.alpha, num_classes=num_classes)
        return made

    def _check(self, x: Tensor, y: Tensor) -> None:
        if not x.is_floating_point():
            raise TypeError(f"MixUp mixes floating point inputs, got {x.dtype}")
        if self.kind == "cutmix" and x.dim() != 4:
            raise ValueError(f"CutMix needs images (batch, channel, height, width), got a shape of {list(x.shape)}")
        if y.dim() == 0 or len(x) != len(y):
            raise ValueError(f"inputs {list(x.shape)} and targets {list(y.shape)} are not of one batch")
        if y.is_floating_point():
            return
        if y.dim() > 2:
            raise ValueError(f"integer targets must be (batch,) or one-hot (batch, classes), got {list(y.shape)}")
        if y.dim() == 1 and self._classes is None:
            raise ValueError("the number of classes is unknown: MixUp(num_classes=<number of outputs>)")
        if y.dim() == 1 and not 0 <= int(y.min()) <= int(y.max()) < int(self._classes or 0):
            raise ValueError(
                f"targets from {int(y.min())} to {int(y.max())} do not fit {self._classes} classes: "
                "MixUp(num_classes=<number of outputs>)"
            )


def _known_classes(module: Any, loader: Any) -> int | None:
    """Return the number of classes that the module or the training data tell; None if they do not."""
    hparams = getattr(module, "hparams", {})
    for told in (getattr(module, "num_classes", None), hparams.get("num_classes")):
        if isinstance(told, int) and told > 1:
            return told
    dataset: Any = getattr(loader, "dataset", None)
    while hasattr(dataset, "indices") and hasattr(dataset, "dataset"):  # a Subset
        dataset = dataset.dataset
    if isinstance(names := getattr(dataset, "classes", None), (list, tuple)):
        return len(names)
    targets = getattr(dataset, "targets", (getattr(dataset, "tensors", None) or [None])[-1])
    if isinstance(targets, (list, Tensor)) and len(targets):
        numbers = torch.as_tensor(targets)
        return None if numbers.is_floating_point() or numbers.dim() != 1 else max(int(numbers.max()) + 1, 2)
    return None


def _explain(exception: BaseException) -> None:
    """Say beside an error of the training step what it was given."""
    text = (
        "MixUp handed the training step probabilities (batch, classes) in place of class numbers (batch,): take "
        "their argmax where the step computes an accuracy, and a loss that takes probabilities, such as cross_entropy"
    )
    if sys.version_info >= (3, 11):
        exception.add_note(text)
    else:
        warnings.warn(text, stacklevel=2)
