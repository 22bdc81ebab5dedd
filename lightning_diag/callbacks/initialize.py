"""Initialization for a LightningModule whose code stays as it is."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union

from lightning.pytorch import Callback
from torch import nn

from lightning_diag import initializers as init
from lightning_diag.callbacks.preprocess import Preprocess
from lightning_diag.callbacks.turns import put_first
from lightning_diag.initializers.parts import weight_parts
from lightning_diag.preprocessing import INPUT, part_of, undisturbed

_Scheme = Literal[
    "zeros", "constant", "normal", "uniform", "truncated_normal", "xavier_normal", "xavier_uniform", "lecun_normal",
    "lecun_uniform", "kaiming_normal", "kaiming_uniform", "orthogonal", "identity", "lsuv", "zero_gamma",
]  # fmt: skip


class Initialize(Callback):
    """Initializes a model that starts from scratch, once, before its optimizers are made.

    Weights that a checkpoint restores, that were initialized by this before, or that do not look as torch makes them
    (trained, loaded or set by hand) are not touched: the first two silently, the last with a warning that names them.
    Mark pretrained parts by ``mark_pretrained`` (or ``exclude``), and the rest is initialized.

    Args:
        scheme: name of a row of ``INITIALIZERS``.
        bias: how biases start: "zeros", "small_positive", "prior" (the class frequencies of the training data), a
            number, or "keep".
        output: the output layer: "small", "zeros", or None.
        residual: the ends of residual branches: "zero", "scale" or "keep".
        exclude: names of modules that stay as they are, with wildcards.
        options: further arguments of ``initialize``: std, bound, value, gain, mode, forget_bias, prior.
        overwrite: initialize also what does not look as torch makes it.
        input_key: index or key of the inputs in a batch; for "lsuv" and where ``example_input_array`` is not set.
        target_key: index or key of the labels in a batch, for bias="prior".

    Raises:
        ValueError: an unknown name.
    """

    def __init__(
        self,
        scheme: _Scheme = "kaiming_normal",
        *,
        bias: Union[Literal["zeros", "small_positive", "prior", "keep"], float] = "zeros",
        output: Union[Literal["small", "zeros"], None] = None,
        residual: Literal["keep", "zero", "scale"] = "keep",
        exclude: Sequence[str] = (),
        options: Union[Mapping[str, Any], None] = None,
        overwrite: bool = False,
        input_key: Union[int, str] = 0,
        target_key: Union[int, str] = 1,
    ) -> None:
        init.initializer(scheme)
        self.scheme, self.overwrite, self.input_key, self.target_key = scheme, overwrite, input_key, target_key
        self._arguments: dict[str, Any] = {
            "bias": bias, "output": output, "residual": residual, "exclude": exclude, **(options or {}),
        }  # fmt: skip
        self._left = False  # whether the weights of this fit were left as they are
        self._counts = bias == "prior" and "prior" not in self._arguments

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._left = False
        put_first(trainer, self, behind=(Preprocess,))
        if stage == "fit" and not self._waits(trainer, pl_module) and has_layers(pl_module):
            self._run(trainer, pl_module)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Do it now where data is needed, or where layers were made in ``setup`` or ``configure_model``."""
        self._run(trainer, pl_module)

    def _waits(self, trainer: Any, pl_module: Any) -> bool:
        """Return whether data are needed, or the model is to run and its preprocessing is not fitted yet."""
        held = getattr(pl_module, INPUT, None)
        coming = any(isinstance(c, Preprocess) for c in trainer.callbacks)
        unfitted = coming if held is None else not held.fitted
        runs = pl_module.example_input_array is not None
        return self._counts or self._reads_data(pl_module) or (unfitted and runs)

    def _reads_data(self, pl_module: Any) -> bool:
        return self.scheme == "lsuv" and pl_module.example_input_array is None

    def _run(self, trainer: Any, pl_module: Any) -> None:
        done = self._left or bool(init.initialized_by(pl_module))
        if done or trainer.ckpt_path is not None or not has_layers(pl_module):
            return
        altered = [] if self.overwrite else self._altered(pl_module)
        if altered:
            self._left = True
            shown = ", ".join(altered[:3]) + (f" and {len(altered) - 3} more" if len(altered) > 3 else "")
            warnings.warn(
                f"Initialize leaves {type(pl_module).__name__} as it is: the weights of {shown} are not as torch makes "
                "them, so that they may have been trained. Mark what is pretrained (mark_pretrained, exclude=) or pass "
                "overwrite=True",
                UserWarning,
                stacklevel=2,
            )
            return
        arguments = dict(self._arguments)
        inputs = pl_module.example_input_array
        if self._counts or self._reads_data(pl_module):
            trainer.fit_loop.setup_data()
            with undisturbed(trainer.train_dataloader):
                if self._counts:
                    arguments["prior"] = init.class_counts(trainer.train_dataloader, target=self.target_key)
                if self._reads_data(pl_module):
                    batch = next(iter(trainer.train_dataloader))
                    inputs = part_of(batch, self.input_key, "input")
        init.initialize(pl_module, self.scheme, example_inputs=inputs, **arguments)

    def _altered(self, pl_module: nn.Module) -> list[str]:
        exclude = tuple(self._arguments["exclude"])
        return [name for name in init.altered_layers(pl_module) if not init.is_excluded(name, exclude)]


def has_layers(module: nn.Module) -> bool:
    """Return whether a module has layers that can be initialized."""
    return any(True for part in module.modules() for _ in weight_parts(part))
