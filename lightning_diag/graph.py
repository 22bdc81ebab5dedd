"""What a module is to the rules: its activation, whether it is observed, which axis holds its units."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

import torch
from torch import Size, Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from lightning_diag.records import Layer

_ACTIVATIONS: Final[tuple[tuple[type[nn.Module], str], ...]] = (
    (nn.ReLU6, "relu6"),  # before its base class Hardtanh
    (nn.ReLU, "relu"),
    (nn.Sigmoid, "sigmoid"),
    (nn.Tanh, "tanh"),
    (nn.Hardsigmoid, "hardsigmoid"),
    (nn.Hardtanh, "hardtanh"),
    (nn.Softsign, "softsign"),
    (nn.LeakyReLU, "leaky_relu"),
    (nn.PReLU, "prelu"),
    (nn.GELU, "gelu"),
    (nn.SiLU, "silu"),
    (nn.Mish, "mish"),
    (nn.ELU, "elu"),
    (nn.SELU, "selu"),
    (nn.CELU, "celu"),
    (nn.Softplus, "softplus"),
    (nn.Hardswish, "hardswish"),
    (nn.LogSigmoid, "logsigmoid"),
    (nn.Softmax, "softmax"),
    (nn.LogSoftmax, "log_softmax"),
)
AFFINE: Final = (nn.Linear, nn.modules.conv._ConvNd, nn.Bilinear)
_UNSEEN: Final = (nn.modules.dropout._DropoutNd, nn.Identity, nn.Flatten, nn.Unflatten)
_CHANNELS_LAST: Final = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)


def activation_kind(module: nn.Module) -> str:
    """Return the lower-case kind of an activation module ("relu", "tanh", ...), "" if it is none."""
    return next((kind for cls, kind in _ACTIVATIONS if isinstance(module, cls)), "")


def observed_modules(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, module) of what is observed: leaves, and modules with parameters of their own.

    Left out: dropout, identity, reshaping, losses, metrics, ScriptModules (they take no hooks) and parametrizations
    (what they return are weights). Names are free of the ``_orig_mod`` that torch.compile puts in.
    """
    inside: tuple[str, ...] = ()
    for name, module in root.named_modules():
        if not name or (inside and name.startswith(inside)):
            continue
        if isinstance(module, (*_UNSEEN, nn.modules.loss._Loss)) or is_metric(module):
            inside += (name + ".",)
            continue
        if isinstance(module, (torch.jit.ScriptModule, ParametrizationList)):  # takes no hooks; makes weights
            inside += (name + ".",)
        elif isinstance(module, nn.MultiheadAttention):  # calls no child
            inside += (name + ".",)
            yield clean(name), module
        elif module._parameters or all(name == "parametrizations" for name, _ in module.named_children()):
            yield clean(name), module


def is_metric(module: nn.Module) -> bool:
    """Return whether a module is a metric of torchmetrics."""
    return hasattr(module, "higher_is_better")


def has_fused_eval(module: nn.Module) -> bool:
    """Return whether a module has a fused path in eval mode that hooks in it, or a function mode, would switch off.

    Leaving the fused path changes the last bits of what it computes.
    """
    return isinstance(module, (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention))


def may_fuse(module: nn.Module) -> bool:
    """Return whether a module may take its fused path in this step: in eval mode, or frozen and put there later."""
    frozen = not any(p.requires_grad for p in module.parameters())
    return has_fused_eval(module) and (frozen or not module.training)


def fusing(root: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost modules that may take a fused path in this step."""
    inside: set[int] = set()
    for module in root.modules():
        if id(module) not in inside and may_fuse(module):
            inside.update(id(m) for m in module.modules())
            yield module


def clean(name: str) -> str:
    """Return a qualified name without the wrappers that torch.compile and data parallelism put in."""
    return ".".join(part for part in name.split(".") if part not in ("_orig_mod", "_forward_module")) or name


def unit_axis(module: nn.Module | None, output: Tensor, before: tuple[nn.Module, Size] | None) -> int:
    """Return the axis that holds the units (features or channels) of an output.

    ``before`` is the last executed module with parameters and its output's shape: an activation keeps its layout.
    Linear, normalization over the last axis, recurrent and attention layers have units last; others channels at 1.
    """
    maker = module
    without = module is None or not any(True for _ in module.parameters(recurse=False))
    if without and before is not None and before[1] == output.shape:
        maker = before[0]
    if output.dim() <= 2 or isinstance(maker, _CHANNELS_LAST):
        return output.dim() - 1
    return 1 if output.dim() > 3 or _is_convolution(maker) else output.dim() - 1


def _is_convolution(module: nn.Module | None) -> bool:
    kinds = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
    return isinstance(module, kinds)


def with_roles(layers: list[Layer], predicted: Collection[str] = ()) -> list[Layer]:
    """Return the layers with their roles.

    Outputs are the last layer that has parameters and what runs after it, what made a prediction that a loss was called
    with (``predicted``), and, where that is an activation, the layer before it: a model may have several heads.
    """
    last = max((i for i, x in enumerate(layers) if x.parameters), default=len(layers) - 1)
    heads = {*predicted, *(x.follows for x in layers if x.site in predicted and x.activation)}
    return [replace(x, role="output" if i >= last or x.site in heads else "hidden") for i, x in enumerate(layers)]
