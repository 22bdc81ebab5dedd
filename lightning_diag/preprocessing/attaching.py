"""A preprocessing in a model whose code stays as it is: a submodule that holds it, and hooks that apply it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor, nn

from lightning_diag.graph import AFFINE
from lightning_diag.preprocessing.modules import Preprocessing, TargetPreprocessing

INPUT: Final = "input_preprocessing"
TARGET: Final = "target_preprocessing"


class ApplyToInput:
    """A forward pre-hook that maps the input of a module; ``called`` is set once it did.

    Args:
        preprocessing: what maps it.
        key: name of the input if it is given by name; an index, or a name that is not given, is the first argument.
    """

    def __init__(self, preprocessing: Preprocessing, key: int | str) -> None:
        self.preprocessing, self.key, self.called = preprocessing, key, False

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the arguments with the input mapped."""
        if is_redirected(module):
            return None
        self.called = True
        if isinstance(self.key, str) and self.key in kwargs:
            return args, {**kwargs, self.key: self._map(kwargs[self.key])}
        if not args:
            raise TypeError(f"{type(module).__name__} was called without an input to preprocess; pass input_key=")
        return (self._map(args[0]), *args[1:]), kwargs

    def _map(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.preprocessing.forward(value)
        if isinstance(value, Mapping) and self.key in value:
            return {**value, self.key: self._map(value[self.key])}
        raise TypeError(f"the input to preprocess must be a tensor, got {type(value).__name__}; pass input_key=")


class UndoOnOutput:
    """A forward hook that brings predictions back to the units of the targets, except while ``paused``.

    While a model is fitted, validated or tested its targets are mapped instead, so that the loss sees mapped numbers.
    """

    def __init__(self, preprocessing: TargetPreprocessing) -> None:
        self.preprocessing, self.paused = preprocessing, False

    def __call__(self, module: nn.Module, args: Any, out: Any) -> Any:
        """Return the output in the units of the targets."""
        if self.paused or is_redirected(module):
            return None
        if not isinstance(out, Tensor):
            raise TypeError(f"only a tensor can be brought back to the units of the targets, got {type(out).__name__}")
        return self.preprocessing.inverse(out)


def is_redirected(module: nn.Module) -> bool:
    """Return whether ``forward`` stands for ``training_step``: so strategies of Lightning call it, with a batch."""
    return "wrapped_forward" in getattr(vars(module).get("forward"), "__qualname__", "")


def attach(
    module: nn.Module,
    inputs: Preprocessing | None = None,
    target: TargetPreprocessing | None = None,
    *,
    site: str | None = None,
    input_key: int | str = 0,
) -> nn.Module:
    """Return the module, with preprocessings in it that act whenever it is called; attaching again changes nothing.

    They become the submodules ``input_preprocessing`` and ``target_preprocessing`` of ``module``, so that their
    statistics are in its ``state_dict``, and act by hooks on the module named ``site``.

    Args:
        module: the model, or a LightningModule.
        inputs: maps the input; None for none.
        target: its inverse maps the output; None for none.
        site: name of the module that takes the inputs; "" is ``module`` itself; None: the one of ``entry_of``.
        input_key: name of the argument that is the input, where it is given by name.

    Raises:
        AttributeError: there is no such site.
        ValueError: ``module`` is an nn.Sequential, which would run what is attached as one of its layers.
    """
    if isinstance(module, nn.Sequential):
        raise ValueError(
            "a submodule of an nn.Sequential becomes one of its layers; put the preprocessing in front instead: "
            "nn.Sequential(preprocessing, *model)"
        )
    place = module.get_submodule(entry_of(module) if site is None else site)
    if inputs is not None and not hasattr(module, INPUT):
        module.add_module(INPUT, inputs)
        place.register_forward_pre_hook(ApplyToInput(inputs, input_key), with_kwargs=True)
    if target is not None and not hasattr(module, TARGET):
        module.add_module(TARGET, target)
        place.register_forward_hook(UndoOnOutput(target))
    return module


def entry_of(module: nn.Module) -> str:
    """Return the name of what takes the inputs: "" for the module itself, else its only child with layers.

    Raises:
        ValueError: it has no ``forward`` and not exactly one such child; the message names the children.
    """
    name = getattr(type(module).forward, "__qualname__", "")
    if not name.endswith(("_forward_unimplemented", "LightningModule.forward")):
        return ""
    children = [n for n, child in module.named_children() if any(isinstance(m, AFFINE) for m in child.modules())]
    if len(children) != 1:
        raise ValueError(
            f"{type(module).__name__} has no forward, and which of its modules takes the inputs is not clear: "
            f"{', '.join(children) or 'none has layers'}; pass site= with its name"
        )
    return children[0]


def hooks_of(module: nn.Module) -> tuple[ApplyToInput | None, UndoOnOutput | None]:
    """Return the hooks that ``attach`` put on a module or what is in it."""
    before = (h for m in module.modules() for h in m._forward_pre_hooks.values() if isinstance(h, ApplyToInput))
    after = (h for m in module.modules() for h in m._forward_hooks.values() if isinstance(h, UndoOnOutput))
    return next(before, None), next(after, None)


class Preprocessed(nn.Module):
    """A model with its preprocessings as plain modules in a row: what is exported.

    It takes raw inputs and gives predictions in the units of the targets, without hooks: torch.jit.script and trace,
    torch.export and ONNX see all of it.
    """

    def __init__(self, inputs: nn.Module, model: nn.Module, outputs: nn.Module) -> None:
        super().__init__()
        self.inputs, self.model, self.outputs = inputs, model, outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions for raw inputs."""
        out: Tensor = self.outputs(self.model(self.inputs(x)))
        return out


class Inverse(nn.Module):
    """The inverse of a preprocessing, as a module."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing

    def forward(self, y: Tensor) -> Tensor:
        """Return ``y`` in the units of the data."""
        return self.preprocessing.inverse(y)


def bundle(module: nn.Module, *, site: str | None = None) -> Preprocessed:
    """Return a copy of a model with attached preprocessings as one plain module, for export.

    Args:
        module: what ``attach`` (or the callback) was used on.
        site: as in ``attach``.

    Raises:
        ValueError: nothing is attached.
    """
    if not hasattr(module, INPUT) and not hasattr(module, TARGET):
        raise ValueError(f"no preprocessing is attached to {type(module).__name__}: nothing to bundle")
    inputs = copy.deepcopy(getattr(module, INPUT, nn.Identity()))
    target = copy.deepcopy(getattr(module, TARGET, None))
    model = copy.deepcopy(module.get_submodule(entry_of(module) if site is None else site))
    for part in model.modules():
        for hooks in (part._forward_pre_hooks, part._forward_hooks):
            for key in [k for k, h in hooks.items() if isinstance(h, (ApplyToInput, UndoOnOutput))]:
                del hooks[key]
                part._forward_pre_hooks_with_kwargs.pop(key, None)
    for name in (INPUT, TARGET):
        if hasattr(model, name):
            delattr(model, name)
    return Preprocessed(inputs, model, nn.Identity() if target is None else Inverse(target))
