"""What a tensor was made of, read from the autograd graph: nothing is run, nothing is kept after the forward pass."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

_MOST_NODES = 24
# Operations that only arrange, select or repeat elements, or cast them: what comes out is what went in.
_ARRANGING: Final = (
    "View", "Reshape", "Alias", "Unsqueeze", "Squeeze", "Permute", "Transpose", "TBackward", "Expand", "Slice",
    "Select", "Clone", "ToCopy", "UnsafeView", "Contiguous", "Index", "AsStrided", "Narrow", "Flatten", "Unflatten",
    "Split", "Unbind", "Movedim",
)  # fmt: skip
# Operations that are affine in their input for fixed statistics and masks.
_AFFINE: Final = (
    "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeDropout", "AvgPool", "AdaptiveAvgPool", "Mean",
    "DivBackward", "MulBackward", "AddBackward", "SubBackward", "NegBackward",
)  # fmt: skip
_KINDS: Final = {
    "SoftmaxBackward": "softmax", "SigmoidBackward": "sigmoid", "LogSoftmaxBackward": "log_softmax",
    "ReluBackward": "relu", "TanhBackward": "tanh", "LogSigmoidBackward": "logsigmoid", "SoftplusBackward": "softplus",
    "HardtanhBackward": "hardtanh", "HardsigmoidBackward": "hardsigmoid", "ClampBackward": "clamp",
    "ExpBackward": "exp", "LogBackward": "log", "AddmmBackward": "linear", "MmBackward": "linear",
    "ConvolutionBackward": "linear",
    "GeluBackward": "gelu", "SiluBackward": "silu", "LeakyReluBackward": "leaky_relu", "EluBackward": "elu",
    "AbsBackward": "abs", "PowBackward": "pow", "ThresholdBackward": "relu",
}  # fmt: skip


def _name(node: Any) -> str:
    name: str = node.name()
    return name


def _inner(node: Any) -> Any:
    """Return the only maker of a node's input, None where there are several or none."""
    makers = [n for n, _ in node.next_functions if n is not None and "AccumulateGrad" not in _name(n)]
    return makers[0] if len(makers) == 1 else None


def made_by(x: Tensor) -> str:
    """Return the kind of operation that made a tensor, looking through views and casts; "" if it is not known.

    "softmax", "sigmoid", "log_softmax", "relu", "tanh", "clamp", ... or "linear" for a matrix product or convolution.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 3, requires_grad=True)
        >>> made_by(torch.softmax(x @ x.T, 1).view(-1)), made_by(x)
        ('softmax', '')
    """
    node: Any = x.grad_fn
    for _ in range(_MOST_NODES):
        if node is None:
            return ""
        name = _name(node)
        kind = next((k for start, k in _KINDS.items() if name.startswith(start)), "")
        if kind or not name.startswith(_ARRANGING):
            return kind
        node = _inner(node)
    return ""


class Lineage:
    """Tells which affine layer made the input of another with nothing but affine operations in between."""

    def __init__(self) -> None:
        self._made: dict[Any, str] = {}

    def note(self, site: str, output: Tensor) -> None:
        """Remember that an affine layer put this out."""
        if output.grad_fn is not None:
            self._made[output.grad_fn] = site

    def straight(self, x: Tensor) -> str:
        """Return the affine layer whose output reaches ``x`` without a nonlinearity, "" if there is none."""
        node: Any = x.grad_fn
        for _ in range(_MOST_NODES):
            if node is None:
                return ""
            if node in self._made:
                return self._made[node]
            if not _name(node).startswith((*_ARRANGING, *_AFFINE)):
                return ""
            node = _inner(node)
        return ""

    def forget(self) -> None:
        """Let go of the graph."""
        self._made.clear()
