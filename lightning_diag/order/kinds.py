"""What a module or a function does to data: a table of kinds."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from lightning_diag.graph import AFFINE, activation_kind
from lightning_diag.order.calls import Kind

BOUNDED: Final = ("sigmoid", "hardsigmoid", "tanh", "hardtanh", "softmax", "softsign")  # what gates end with
_ATTENTION: Final = ("scaled_dot_product_attention", "multi_head_attention_forward", "flex_attention")
_FUNCTIONS: Final[tuple[tuple[Kind, tuple[str, ...]], ...]] = (
    (
        "activation",
        ("relu", "relu6", "sigmoid", "expit", "tanh", "hardtanh", "hardsigmoid", "softsign", "leaky_relu", "prelu",
         "gelu", "silu", "mish", "elu", "selu", "celu", "softplus", "hardswish", "logsigmoid", "softmax", "log_softmax",
         "glu", "rrelu", "threshold", "hardshrink", "softshrink", "tanhshrink", "softmin", "gumbel_softmax"),
    ),
    ("norm", ("batch_norm", "instance_norm", "layer_norm", "group_norm", "rms_norm", "local_response_norm")),
    ("dropout", ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
                 "stochastic_depth", "drop_path")),
    ("embedding", ("embedding", "embedding_bag")),
    ("attention", _ATTENTION),
    (
        "shape",
        ("getitem", "reshape", "view", "view_as", "reshape_as", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze",
         "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "contiguous", "clone",
         "detach", "to", "float", "double", "half", "bfloat16", "type", "type_as", "cuda", "cpu", "expand", "expand_as",
         "repeat", "repeat_interleave", "tile", "chunk", "split", "tensor_split", "unbind", "narrow", "select", "roll",
         "flip", "pad", "index_select", "gather", "get", "set", "unfold", "fold", "identity", "requires_grad",
         "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "rot90", "take_along_dim", "broadcast_to", "alias"),
    ),
    ("scale", ("neg", "lerp")),
    ("concat", ("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack")),
)  # fmt: skip
_BY_NAME: Final[dict[str, Kind]] = {name: kind for kind, names in _FUNCTIONS for name in names}
_SUMS: Final = ("add", "sub", "subtract", "addcmul", "addcdiv", "rsub")
_PRODUCTS: Final = ("mul", "multiply", "div", "divide", "truediv", "true_divide", "rdiv")
_MATMULS: Final = ("matmul", "mm", "bmm", "einsum", "tensordot", "addmm", "baddbmm", "linear", "bilinear", "mv", "dot")
_POOLED: Final = ("mean", "sum", "amax", "amin", "interpolate", "upsample", "grid_sample", "nanmean", "logsumexp")
_CONSTANT: Final = ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like",
                    "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor")  # fmt: skip
_SHAPES: Final = (nn.Identity, nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle,
                  nn.Fold, nn.Unfold)  # fmt: skip


def plain_name(function: Any) -> str:
    """Return the name of a function or method without underscores and the letter for in-place or reflected.

    >>> import operator, torch
    >>> plain_name(operator.iadd), plain_name(torch.relu_), plain_name("__rmul__")
    ('add', 'relu', 'mul')
    """
    name = function if isinstance(function, str) else getattr(function, "__name__", type(function).__name__)
    name = name.strip("_")
    for family in (_SUMS, _PRODUCTS, _MATMULS):
        if name[:1] in ("i", "r") and name[1:] in family:
            return str(name[1:])
    return str(name)


def is_constant(name: str) -> bool:
    """Return whether a function makes a tensor that only has the shape of its argument."""
    return name in _CONSTANT


def function_kind(name: str, operands: int) -> Kind:
    """Return the kind of a function.

    Args:
        name: its plain name.
        operands: how many of its arguments are tensors that depend on the input of the model.
    """
    if name in _SUMS:
        return "sum" if operands > 1 else "scale"
    if name in _PRODUCTS:
        return "product" if operands > 1 else "scale"
    if name in _MATMULS or name.startswith("conv"):
        return "matmul" if operands > 1 else "affine"
    if name in _POOLED or "pool" in name:
        return "pool"
    if name not in _BY_NAME:  # a function of the user's that is called after what it does
        return "attention" if "attention" in name else "shape" if name.endswith(("_pad", "_padding")) else "other"
    return _BY_NAME[name]


def is_norm(module: nn.Module) -> bool:
    """Return whether a module normalizes: torch's own, or one called so that holds no layer or activation."""
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, nn.CrossMapLRN2d)
    if isinstance(module, (*kinds, nn.RMSNorm)):
        return True
    named = "norm" in type(module).__name__.lower() and not isinstance(module, (*AFFINE, nn.Sequential))
    return named and not any(isinstance(m, AFFINE) or activation_kind(m) for m in module.modules())


def holds_norm(module: nn.Module) -> bool:
    """Return whether a layer or activation normalizes its own result by a module in it."""
    return any(is_norm(child) for child in module.children())


def module_kind(module: nn.Module) -> tuple[Kind, str] | None:
    """Return (kind, what) of a module that is looked at as one call, None for one to look into."""
    what = type(module).__name__
    if isinstance(module, nn.MultiheadAttention):
        return "attention", what
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return "recurrent", what
    if isinstance(module, AFFINE):
        return "layer", what
    if activation_kind(module):
        return "activation", activation_kind(module)
    if is_norm(module):
        return "norm", what
    if isinstance(module, nn.modules.dropout._DropoutNd) or what in ("StochasticDepth", "DropPath"):
        return "dropout", what
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "embedding", what
    return _of_torch(module)


def _of_torch(module: nn.Module) -> tuple[Kind, str] | None:
    what, home = type(module).__name__, type(module).__module__
    if isinstance(module, torch.jit.ScriptModule):
        return "other", what
    if not home.startswith("torch.nn.") or any(True for _ in module.children()) or _is_container(module):
        return None
    if home.endswith(".activation"):
        return "activation", what.lower()
    if isinstance(module, _SHAPES) or home.endswith(".padding"):
        return "shape", what
    if home.endswith((".pooling", ".upsampling")):
        return "pool", what
    return "other", what


def _is_container(module: nn.Module) -> bool:
    kinds = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
    return isinstance(module, kinds) or type(module) is nn.Module
