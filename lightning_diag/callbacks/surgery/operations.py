"""The callbacks: each one operation, in ``setup``."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import Any, Union, final

from lightning.pytorch import Callback
from rich.console import Console
from torch import nn

from lightning_diag.callbacks.surgery.targets import Target, batch_size_of, find_target
from lightning_diag.surgery import (
    NORMALIZATIONS,
    compare,
    describe,
    insert_dropout,
    insert_normalization,
    swap_activations,
)
from lightning_diag.surgery.activations import ActivationName
from lightning_diag.surgery.dropout import DropoutKind
from lightning_diag.surgery.insertion import NormalizationName
from lightning_diag.surgery.places import Position


class Operation(Callback):
    """An operation on the model in ``setup``: before optimizers exist and before weights are restored.

    ``setup`` is called for every stage; what is done already is not done again.
    """

    word = "operation"

    def __init__(self, target: str, example_inputs: Any, verbose: bool) -> None:
        self.target, self.example_inputs, self.verbose = target, example_inputs, verbose
        self.operated: bool = False

    @property
    def state_key(self) -> str:
        return f"{type(self).__name__}{{'target': {self.target!r}}}"

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        target = find_target(pl_module, self.target, self.example_inputs)
        show = self.verbose and not self.operated and trainer.is_global_zero
        before = describe(target.module, target.example_inputs) if show else ()
        self._operate(target)
        self.operated = True
        if show:
            after = describe(target.module, target.example_inputs)
            Console().print(compare(before, after, f"{self._words()} in {target.name or type(pl_module).__name__}"))

    def state_dict(self) -> dict[str, Any]:
        return {"operation": self._words()}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what Lightning stores on a callback (``log``), which holds the module and the Trainer."""
        return {k: v for k, v in self.__dict__.items() if k not in ("log", "log_dict")}

    @abstractmethod
    def _operate(self, target: Target) -> None: ...

    @abstractmethod
    def _words(self) -> str: ...


@final
class InsertNormalization(Operation):
    """Puts a normalization after every hidden layer: ``lightning_diag.surgery.insert_normalization`` in ``setup``.

    A checkpoint from before the insertion is refused when it is loaded, one from after it is restored.

    Args:
        kind: "batch", "layer", "group", "instance" or "rms".
        position: "pre": before the activation, or "post": after it.
        target: name of the module to operate on; by default the LightningModule, or its only part if it has no
            ``forward``.
        example_inputs: one input of that module; ``example_input_array`` of the LightningModule by default.
        verbose: whether a table of the layers before and after is printed.
    """

    def __init__(
        self,
        kind: NormalizationName = "batch",
        position: Position = "pre",
        *,
        target: str = "",
        example_inputs: Any = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(target, example_inputs, verbose)
        self.kind, self.position = kind, position
        self._least = next((row.least_batch for row in NORMALIZATIONS if row.name == kind), 1)

    def _words(self) -> str:
        return f"{self.kind} normalization, {self.position}-activation,"

    def _operate(self, target: Target) -> None:
        insert_normalization(
            target.module,
            self.kind,
            self.position,
            example_inputs=target.example_inputs,
            batch_size=self._least,  # what training really uses is seen at its first batch
        )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        size = batch_size_of(batch) if batch_idx == 0 and trainer.current_epoch == 0 else None
        if size is not None and size < self._least and trainer.is_global_zero:
            warnings.warn(
                f"batches of {size} are small for {self.kind} normalization, which estimates its statistics from them: "
                f"{self._least} samples or more per device, or kind='group' or 'layer'.",
                stacklevel=2,
            )


@final
class SwapActivations(Operation):
    """Turns the hidden activations into another kind: ``lightning_diag.surgery.swap_activations`` in ``setup``.

    A checkpoint of a training without it is refused: its weights were trained for another activation.

    Args:
        kind: "relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "tanh" or "sigmoid".
        replaces: kinds to replace; all by default.
        initialize: called with the module and the name of the initializer that the new activation wants, once, before
            weights are restored; None leaves the weights as they are.
        target: name of the module to operate on, as for ``InsertNormalization``.
        example_inputs: one input of that module.
        verbose: whether a table of the layers before and after is printed.
    """

    def __init__(
        self,
        kind: ActivationName,
        *,
        replaces: Union[Collection[str], None] = None,
        initialize: Union[Callable[[nn.Module, str], object], None] = None,
        target: str = "",
        example_inputs: Any = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(target, example_inputs, verbose)
        self.kind, self.replaces, self.initialize = kind, replaces, initialize

    def _words(self) -> str:
        return f"{self.kind} for activations"

    def _operate(self, target: Target) -> None:
        swap_activations(
            target.module,
            self.kind,
            replaces=self.replaces,
            example_inputs=target.example_inputs,
            initialize=self.initialize,
        )

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        others = checkpoint.get("callbacks")  # absent where only weights were saved
        if others is not None and self.state_key not in others:
            raise ValueError(
                f"this checkpoint is of a training without SwapActivations({self.kind!r}), for other activations: "
                "take the callback away, or train anew with it"
            )


@final
class InsertDropout(Operation):
    """Puts dropout behind hidden activations: ``lightning_diag.surgery.insert_dropout`` in ``setup``.

    It has no parameters: checkpoints from before and after fit.

    Args:
        p: probability to drop, from 0 up to but without 1.
        kind: "element", or "channel": whole channels of convolutions.
        target: name of the module to operate on, as for ``InsertNormalization``.
        example_inputs: one input of that module.
        verbose: whether a table of the layers before and after is printed.
    """

    def __init__(
        self,
        p: float,
        *,
        kind: DropoutKind = "element",
        target: str = "",
        example_inputs: Any = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(target, example_inputs, verbose)
        self.p, self.kind = p, kind

    def _words(self) -> str:
        return f"dropout of {self.p} by {self.kind}"

    def _operate(self, target: Target) -> None:
        insert_dropout(target.module, self.p, kind=self.kind, example_inputs=target.example_inputs)
