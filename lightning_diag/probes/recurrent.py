"""How far back in time a recurrent layer can feel: the gradient of its last output at early and at late steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_diag.probes.readings import Readings
from lightning_diag.statistics.views import plain

STATISTIC: Final = "activation/gradient_over_time"
LEAST_STEPS: Final = 8  # time steps from which on early and late can be told apart
_SEQUENCES = 4  # of a batch that are looked at
_MOST_CALLS = 4096
_SMALLEST = 1e-30
_FUNCTIONS: Final[dict[str, Callable[..., tuple[Tensor, ...]]]] = {
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
    "GRU": torch.gru,
    "LSTM": torch.lstm,
}


def take_over_time(site: str, module: nn.RNNBase, x: Tensor, readings: Readings) -> None:
    """Record how the last output of a fused recurrent layer depends on its early inputs, against its late ones.

    The layer's function is called once more, on four sequences, without dropout and without its hooks. ``x`` has shape
    (time, batch, features), or (batch, time, features) for ``batch_first``. Not looked at are packed sequences, and
    LSTMs with projections (for which torch warns of a slow path).
    """
    values = plain(x)
    function = _FUNCTIONS.get(module.mode)
    if values is None or function is None or module.proj_size or values.dim() != 3 or values.dtype not in _DTYPES:
        return
    time = 1 if module.batch_first else 0
    if values.shape[time] < LEAST_STEPS or not values.numel():
        return
    few = values.narrow(1 - time, 0, min(_SEQUENCES, values.shape[1 - time])).detach().float()
    weights = [w.detach().float() for layer in module.all_weights for w in layer]
    with torch.enable_grad():
        few = few.requires_grad_()
        out = function(few, _start(module, few, time), weights, module.bias, module.num_layers, 0.0, module.training,
                       module.bidirectional, module.batch_first)[0]  # fmt: skip
        last = out.select(time, -1)[..., : out.shape[-1] // (2 if module.bidirectional else 1)]
        direction = torch.cos(2.4 * torch.arange(last.shape[-1], device=last.device))
        (gradient,) = torch.autograd.grad((last * direction).sum(), few)
    readings.scalar(STATISTIC, site, decades(gradient.movedim(time, 0).flatten(1).square().mean(1).sqrt()))


_DTYPES: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _start(module: nn.RNNBase, x: Tensor, time: int) -> Any:
    """Return the state that a layer starts from: zeros."""
    directions = 2 if module.bidirectional else 1
    rows = (module.num_layers * directions, x.shape[1 - time])
    hidden = x.new_zeros(*rows, module.hidden_size)
    return (hidden, hidden) if module.mode == "LSTM" else hidden


def decades(over_time: Tensor) -> Tensor:
    """Return log10 of the early tenth over the late tenth of a series of magnitudes, shape (time,) -> ().

    -3: what stands at the start moves the end a thousand times less than what stands at the end.

    Example:
        >>> decades(torch.tensor([1e-3] * 5 + [1.0] * 5)).item()
        -3.0
    """
    tenth = max(1, len(over_time) // 10)
    early, late = over_time[:tenth].square().mean().sqrt(), over_time[-tenth:].square().mean().sqrt()
    return (early.clamp_min(_SMALLEST) / late.clamp_min(_SMALLEST)).log10().clamp(-30.0, 30.0)


class RepeatedCalls:
    """Follows the gradient over the calls of a module that a step calls again and again, as a cell in a loop.

    The first ``MOST_CALLS`` have sites of their own; what is noted here are the calls after those.
    """

    def __init__(self) -> None:
        self._later: dict[str, dict[int, Tensor]] = defaultdict(dict)

    def note(self, name: str, call: int, gradient: Tensor) -> None:
        """Take the gradient with respect to the output of a later call."""
        if call < _MOST_CALLS:
            self._later[name][call] = gradient.float().square().mean().sqrt()

    def give(self, readings: Readings) -> None:
        """Record what the calls of each module came to, early against late, and forget them."""
        for name, later in self._later.items():
            first = [readings.rms("activation_gradient", s) for s in (name, f"{name}#1", f"{name}#2")]
            if all(x is not None for x in first):
                known = [x for x in first if x is not None]
                readings.scalar(STATISTIC, name, decades(torch.stack([*known, *(later[k] for k in sorted(later))])))
        self._later.clear()
