"""Functional activations and the loss call, which hooks on modules never see."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from lightning_diag.graph import activation_kind, clean, fusing, is_metric
from lightning_diag.probes.attention import ATTENTION, looks_ahead, weights_look_ahead
from lightning_diag.probes.hooks import Hook
from lightning_diag.probes.losses import LossCalls
from lightning_diag.probes.readings import Readings, measuring
from lightning_diag.statistics.views import storage

_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "relu": ("relu", "relu_"),
    "relu6": ("relu6",),
    "sigmoid": ("sigmoid", "sigmoid_", "expit"),
    "tanh": ("tanh", "tanh_"),
    "hardtanh": ("hardtanh", "hardtanh_"),
    "hardsigmoid": ("hardsigmoid",),
    "softsign": ("softsign",),
    "leaky_relu": ("leaky_relu", "leaky_relu_"),
    "prelu": ("prelu",),
    "gelu": ("gelu",),
    "silu": ("silu",),
    "mish": ("mish",),
    "elu": ("elu", "elu_"),
    "selu": ("selu", "selu_"),
    "celu": ("celu", "celu_"),
    "softplus": ("softplus",),
    "hardswish": ("hardswish",),
    "logsigmoid": ("logsigmoid",),
    "softmax": ("softmax",),
    "log_softmax": ("log_softmax",),
}
_LOSSES: Final = (
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "kl_div",
    "gaussian_nll_loss",
    "poisson_nll_loss",
    "soft_margin_loss",
    "multilabel_soft_margin_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "hinge_embedding_loss",
    "cosine_embedding_loss",
    "margin_ranking_loss",
    "triplet_margin_loss",
    "ctc_loss",
)


def _functions() -> tuple[dict[Any, str], dict[Any, str]]:
    homes = (F, torch, Tensor, torch.special, torch._C._nn)
    kinds = {getattr(h, n): kind for kind, names in _KINDS.items() for n in names for h in homes if hasattr(h, n)}
    return kinds, {getattr(F, name): name for name in _LOSSES if hasattr(F, name)}


_ACTIVATIONS, _LOSS_CALLS = _functions()
# A loss written by hand begins with a difference of prediction and target.
_DIFFERENCES: Final = frozenset(
    {torch.sub, torch.subtract, Tensor.sub, Tensor.subtract, Tensor.__sub__, Tensor.__rsub__, torch.rsub}
)
_PRODUCTS: Final = frozenset({torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__})
# What gives the same numbers in memory of their own.
_COPIES: Final = frozenset(
    {Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.long, Tensor.int, Tensor.to, Tensor.type}
    | {Tensor.type_as, Tensor.clone, Tensor.contiguous, Tensor.reshape, Tensor.flatten, torch.clone, torch.flatten}
)
# What makes of a tensor of the batch another one that does not learn either: a one-hot code, a scaled target.
_DERIVING: Final = frozenset(
    {torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__, torch.div, Tensor.div, Tensor.__truediv__, torch.neg}
    | {Tensor.neg, Tensor.__neg__, Tensor.__eq__, torch.eq, Tensor.eq, torch.log, Tensor.log, torch.clamp, Tensor.clamp}
    | {F.one_hot, torch.scatter, Tensor.scatter, Tensor.scatter_, Tensor.__getitem__}
)
# What picks of a prediction the places that a target says.
_ALONG: Final = frozenset({torch.take_along_dim, Tensor.take_along_dim})
_PICKS: Final = _ALONG | {torch.gather, Tensor.gather, Tensor.__getitem__}
_XLOGY: Final = frozenset({torch.xlogy, Tensor.xlogy, torch.special.xlogy})
_RESHAPES: Final = frozenset(
    {Tensor.view, Tensor.reshape, torch.reshape, Tensor.unflatten, Tensor.flatten, torch.flatten}
)
_ARRANGING: Final = _COPIES | _RESHAPES | _DERIVING | _PICKS | _XLOGY
_LOOKED_AT: Final = frozenset({*_ACTIVATIONS, *_LOSS_CALLS, *_DIFFERENCES, *_PRODUCTS, *_ARRANGING, *ATTENTION})


def _owner(module: nn.Module) -> str:
    """Return whose affair the calls inside a module are: "" if they are the user's."""
    if isinstance(module, nn.modules.loss._Loss):
        return "loss"
    if isinstance(module, ParametrizationList):
        return "weights"
    return "activation" if activation_kind(module) else "metric" if is_metric(module) else ""


_MOST_ATTENTION = 64  # modules
MOST_CALLS = 8  # functional calls of one kind behind one module, and loss calls, that are observed in a step


class FunctionProbe(TorchFunctionMode):
    """Sees functional activations with the module they get their input from (or run in), and loss calls.

    It never changes an argument or a result. Calls inside an activation module of torch, a metric or another loss are
    theirs, not counted again. Close it before the backward pass.

    Args:
        root: the LightningModule.
        readings: where statistics of predictions and targets go.
        on_activation: called with (site, kind, input, output) of a functional activation.
        on_prediction: called with the prediction that a loss was called with.
        on_error: called with the exception of a failing measurement.
    """

    def __init__(
        self,
        root: nn.Module,
        readings: Readings,
        on_activation: Callable[[str, str, Tensor, Tensor], None],
        on_prediction: Callable[[Tensor], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        super().__init__()
        self.on_activation, self.on_prediction, self.on_error = on_activation, on_prediction, on_error
        self.maker: Callable[[Tensor], str] = lambda _: ""  # the module that made a tensor, "" if it is not known
        self.losses = LossCalls(readings)
        self.batch_size = 0  # of all tensors of the batch, 0 where they differ
        self.reshapes: list[dict[str, Any]] = []
        self.first = False  # whether this is the first look at the run
        self.ahead: dict[str, bool] = {}  # module -> whether attention in it sees later places of its own sequence
        self.seconds = 0.0
        self._root = root
        self._open = False
        self._active = False
        self._below = 0  # modes under this one
        self._scopes: list[tuple[str, str]] = []  # running modules: name, and whose affair their calls are
        self._calls: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []

    def open(self) -> None:
        """Enter the mode and follow which module runs.

        Where a module may take its fused path, which a mode would switch off, the mode is left while it runs; where
        that cannot be done without a hook that switches it off too, the mode is not entered at all.
        """
        fused = list(fusing(self._root))
        if any(isinstance(module, nn.TransformerEncoderLayer) for module in fused):
            return
        inside = {id(m) for f in fused for m in f.modules()}
        for name, module in self._root.named_modules():
            if name and id(module) not in inside and not isinstance(module, torch.jit.ScriptModule):
                self._follow(clean(name), module)
        for module in fused:
            self._attach(module, lambda *_: self._leave_mode(), lambda *_: self._enter_mode())
        self._active = True
        self._enter_mode()

    def _enter_mode(self) -> None:
        if self._active and not self._open:
            self._below = torch._C._len_torch_function_stack()
            self.__enter__()  # type: ignore[no-untyped-call]
            self._open = True

    def _leave_mode(self) -> None:
        """Leave the mode if it is on top, or if another one's exit took it off in place of itself."""
        if not self._open:
            return
        stack = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        taken_off = len(stack) == self._below and not any(mode is self for mode in stack)
        if taken_off or (stack and stack[-1] is self):
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self._open = False

    def _attach(self, module: nn.Module, before: Callable[..., None], after: Callable[..., None]) -> None:
        self._handles.append(module.register_forward_pre_hook(Hook(before), prepend=True))
        self._handles.append(module.register_forward_hook(Hook(after), always_call=True))

    def _follow(self, name: str, module: nn.Module) -> None:
        scope = (name, _owner(module))

        def leave(*_: object) -> None:
            if self._scopes:
                self._scopes.pop()

        self._attach(module, lambda *_: self._scopes.append(scope), leave)

    def close(self) -> None:
        """Leave the mode; where another one was pushed on top and is still there, stay inert until it is gone."""
        self._active = False
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._leave_mode()

    def settle(self, loss: Tensor | None) -> None:
        """The loss is there: it tells which one was written out, where none was called."""
        start = time.perf_counter()
        try:
            with measuring():
                found = self.losses.settle(loss)
            if found is not None:
                self.on_prediction(found)
        except Exception as error:  # the doctor never ends the training
            self.on_error(error)
        self.seconds += time.perf_counter() - start

    @property
    def lingering(self) -> bool:
        """Whether the mode could not be left yet."""
        return self._open

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the function; look at it if it is an activation or a loss."""
        out = func(*args, **(kwargs or {}))
        if func in _LOOKED_AT and self._active and torch.is_grad_enabled():
            start = time.perf_counter()
            try:
                if func in _ARRANGING:
                    with torch._C.DisableTorchFunction():  # nothing is computed, and there are many of them
                        self._arranged(func, args, kwargs or {}, out)
                else:
                    with measuring():
                        self._look(func, args, dict(kwargs or {}), out)
            except Exception as error:  # the doctor never ends the training
                self.on_error(error)
            self.seconds += time.perf_counter() - start
        return out

    def _look(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        owners = {owner for _, owner in self._scopes}
        scope = self._scopes[-1][0] if self._scopes else ""
        if owners & {"metric", "weights"}:
            return
        if func in ATTENTION:
            self._attends(scope, looks_ahead(func, args, kwargs) if self.first else None)
            return
        if func in _DIFFERENCES or func in _PRODUCTS:
            if "loss" not in owners:
                (self.losses.difference if func in _DIFFERENCES else self.losses.product)(args)
                self._paired(func, args, out)
            return
        if func in _LOSS_CALLS:
            site = self._numbered(_LOSS_CALLS[func])
            if site and self.losses.call(site, _LOSS_CALLS[func], scope, args, kwargs, out):
                self.on_prediction(args[0] if args else kwargs["input"])
            return
        x = args[0] if args else kwargs.get("input")
        if owners & {"activation", "loss"} or not isinstance(x, Tensor) or not isinstance(out, Tensor):
            return
        kind = _ACTIVATIONS[func]
        if kind == "softmax" and self.first:
            self._attends(scope, weights_look_ahead(out))
        site = self._numbered(f"{self.maker(x) or scope}:{kind}")
        if site:
            self.on_activation(site, kind, x, out)

    def _attends(self, scope: str, ahead: bool | None) -> None:
        """Note what an attention sees; one masked call of a module is enough."""
        if ahead is not None and (scope in self.ahead or len(self.ahead) < _MOST_ATTENTION):
            self.ahead[scope] = ahead and self.ahead.get(scope, True)

    def _paired(self, func: Any, args: tuple[Any, ...], out: Any) -> None:
        """Follow what may be a loss by hand: two factors, a prediction and its target."""
        self.losses.derive(args, out)
        if len(args) > 1:
            self.losses.pair(args[0], args[1])

    def _arranged(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        if any(owner in ("metric", "weights") for _, owner in self._scopes):
            return
        if func in _DERIVING:
            self.losses.derive(args, out)
        if func in _PICKS:
            self._picked(func, args, kwargs)
        if func in _XLOGY:
            self._paired(func, args, out)
        if func in _RESHAPES:
            self._reshaped(args, out)
        if func in _COPIES:
            self.losses.copy(args, out)

    def _picked(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Note z.gather(axis, y) and z[range(n), y]."""
        x = args[0] if args else kwargs.get("input")
        if func is Tensor.__getitem__:
            at = args[1] if len(args) > 1 else None
            rows = isinstance(at, tuple) and len(at) == 2 and all(_is_index(i) for i in at)
            if rows and isinstance(x, Tensor) and x.dim() == 2:
                self.losses.pick(x, 1, at[1] if isinstance(at, tuple) else None)
            return
        names = ("indices", "dim") if func in _ALONG else ("dim", "index")
        given = dict(zip(names, args[1:], strict=False)) | dict(kwargs)
        self.losses.pick(x, given.get("dim"), given.get("index", given.get("indices")))

    def _reshaped(self, args: tuple[Any, ...], out: Any) -> None:
        """Note where samples get among each other because a reshape did what a transpose should have done."""
        x = args[0] if args else None
        if not isinstance(x, Tensor) or not isinstance(out, Tensor) or len(self.reshapes) == MOST_CALLS:
            return
        computed = x.grad_fn is not None or bool(self.losses.batch.get(storage(x)))
        if computed and tears_samples(tuple(x.shape), tuple(out.shape), self.batch_size):
            scope = self._scopes[-1][0] if self._scopes else ""
            self.reshapes.append({"site": scope, "from": list(x.shape), "to": list(out.shape)})

    def _numbered(self, base: str) -> str:
        call = self._calls.get(base, 0)
        self._calls[base] = call + 1
        return "" if call >= MOST_CALLS else base if call == 0 else f"{base}#{call}"


def _is_index(x: Any) -> bool:
    """Tell a list of places from a mask or a slice."""
    return isinstance(x, (range, list)) or (
        isinstance(x, Tensor) and x.dim() == 1 and x.dtype in (torch.int64, torch.int32)
    )


def tears_samples(before: tuple[int, ...], after: tuple[int, ...], samples: int) -> bool:
    """Tell whether a reshape moves the axis of the samples, which only a transpose can do without tearing them.

    Example:
        >>> tears_samples((12, 32, 8), (32, 96), 32), tears_samples((32, 12, 8), (12, 32, 8), 32)
        (True, True)
        >>> tears_samples((32, 12, 8), (32, 96), 32), tears_samples((1, 32, 8), (32, 8), 32)
        (False, False)
    """
    if samples < 2 or min(len(before), len(after)) < 2:
        return False
    from_second = before[1] == samples == after[0] and before[0] > 1 and before[0] % samples != 0
    to_second = before[0] == samples == after[1] and before[1] == after[0] > 1 and before[1] != samples
    return from_second or to_second
