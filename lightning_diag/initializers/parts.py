"""The parts of a module's parameters that are initialized each for itself, with their fans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Final, Literal

from torch import nn

Kind = Literal["layer", "recurrent_input", "recurrent", "attention", "embedding"]
NORMS: Final = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    *((nn.RMSNorm,) if hasattr(nn, "RMSNorm") else ()),
)
_CONVOLUTIONS: Final = nn.modules.conv._ConvNd
_TRANSPOSED: Final = nn.modules.conv._ConvTransposeNd
_GATES: Final = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}


@dataclass(frozen=True)
class Part:
    """Rows of a weight: all of them, or those of one gate or one projection.

    Attributes:
        parameter: name of the parameter in its module.
        rows: which rows of it; None: all.
        kind: what the weight multiplies.
        fan_in: inputs that one output adds up.
        fan_out: outputs that one input goes to.
        label: "i", "f", "g", "o" (LSTM), "r", "z", "n" (GRU), "q", "k", "v", else "".
    """

    parameter: str
    rows: slice | None
    kind: Kind
    fan_in: float
    fan_out: float
    label: str = ""


def weight_parts(module: nn.Module) -> Iterator[Part]:
    """Yield the parts of the weights of a module that is known, none of one that is not.

    Fans are those of the sums that are really taken. For a transposed convolution, torch's own functions take the
    fans from the wrong axes and do not know the stride: an output adds up in_channels / groups times the kernel's
    size over the stride. Of a grouped convolution an input goes to out_channels / groups times the kernel's size.
    """
    if isinstance(module, _TRANSPOSED):
        size = prod(module.kernel_size)
        inputs = module.in_channels // module.groups * size / prod(module.stride)
        yield Part("weight", None, "layer", max(inputs, 1.0), module.out_channels // module.groups * size)
    elif isinstance(module, _CONVOLUTIONS):
        size = prod(module.kernel_size)
        inputs, outputs = (n // module.groups * size for n in (module.in_channels, module.out_channels))
        yield Part("weight", None, "layer", inputs, outputs)
    elif isinstance(module, nn.Linear):
        yield Part("weight", None, "layer", module.in_features, module.out_features)
    elif isinstance(module, nn.Bilinear):
        yield Part("weight", None, "layer", module.in1_features * module.in2_features, module.out_features)
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        yield Part("weight", None, "embedding", 1, module.embedding_dim)
    elif isinstance(module, nn.MultiheadAttention):
        yield from _attention(module)
    elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        yield from _recurrent(module)


def bias_names(module: nn.Module) -> list[str]:
    """Return the names of the biases of a module that is known and is no normalization."""
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return [name for name, _ in module.named_parameters(recurse=False) if name.startswith("bias")]
    if isinstance(module, nn.MultiheadAttention):
        return ["in_proj_bias"] if getattr(module, "in_proj_bias", None) is not None else []
    known = isinstance(module, (nn.Linear, _CONVOLUTIONS, nn.Bilinear))
    return ["bias"] if known and module.bias is not None else []


def forget_rows(module: nn.Module) -> slice | None:
    """Return the rows of the forget gate in the biases of an LSTM, None for others."""
    if not isinstance(module, (nn.LSTM, nn.LSTMCell)):
        return None
    return slice(module.hidden_size, 2 * module.hidden_size)


def _attention(module: nn.MultiheadAttention) -> Iterator[Part]:
    width = module.embed_dim
    if getattr(module, "in_proj_weight", None) is not None:
        for i, label in enumerate("qkv"):
            yield Part("in_proj_weight", slice(i * width, (i + 1) * width), "attention", width, width, label)
        return
    for label, inputs in (("q", width), ("k", module.kdim), ("v", module.vdim)):
        yield Part(f"{label}_proj_weight", None, "attention", inputs, width, label)


def _recurrent(module: nn.RNNBase | nn.RNNCellBase) -> Iterator[Part]:
    name = module.mode if isinstance(module, nn.RNNBase) else type(module).__name__
    gates = next((n for kind, n in _GATES.items() if name == kind or isinstance(module, getattr(nn, kind))), 1)
    labels = {4: "ifgo", 3: "rzn"}.get(gates, " ")
    for parameter, weight in module.named_parameters(recurse=False):
        if not parameter.startswith("weight"):
            continue
        inputs = weight.shape[1]
        if parameter.startswith("weight_hr"):  # the projection of an LSTM
            yield Part(parameter, None, "layer", inputs, weight.shape[0])
            continue
        kind: Kind = "recurrent" if parameter.startswith("weight_hh") else "recurrent_input"
        size = weight.shape[0] // gates
        for i, label in enumerate(labels):
            yield Part(parameter, slice(i * size, (i + 1) * size), kind, inputs, size, label.strip())
