"""What an initialization does to the signal, before it is used: as a table and as a picture."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import nn

from lightning_diag.initializers.picture import Curves, draw
from lightning_diag.initializers.policy import initialize
from lightning_diag.initializers.signals import LayerSignal, measure

NOW = "as it is"
_LEGEND = (
    "nV(w): inputs times variance of the weights. growth: n V(w) E[f(z)^2] / V(z), 1 keeps the signal. mean, std, RMS, "
    "zero and flat (saturated): of the activations f(z). grad: RMS of the gradient, 1 at the output."
)


@dataclass(frozen=True)
class InitReport:
    """The signal through depth, under one or several initializations of the same model.

    Attributes:
        signals: label -> the layers in order of execution.
    """

    signals: Mapping[str, tuple[LayerSignal, ...]]

    def layer(self, label: str, site: str) -> LayerSignal:
        """Return one layer under one initialization.

        Raises:
            KeyError: no such label or layer.
        """
        found = next((s for s in self.signals[label] if s.site == site), None)
        if found is None:
            raise KeyError(f"no layer {site!r}; there are {', '.join(s.site for s in self.signals[label])}")
        return found

    def table(self) -> RenderableType:
        """Return the report as a rich table: a block of rows for each initialization."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
        table.add_column("layer", overflow="fold", min_width=12)
        for name in ("nV(w)", "growth", "mean", "std", "RMS", "zero", "flat", "grad"):
            table.add_column(name, justify="right", no_wrap=True, min_width=4)
        for label, layers in self.signals.items():
            table.add_row(Text(label, style="bold"))
            for i, s in enumerate(layers):
                then = "" if s.activation == "linear" else f" {s.activation}"
                numbers = (_number(x) for x in (s.scale, s.growth, s.mean, s.std, s.rms))
                cells = (*numbers, _share(s.zero), _share(s.saturated), _number(s.gradient))
                table.add_row(f"  {s.site or s.type}{then}", *cells, end_section=i == len(layers) - 1)
        return Group(table, Text(_LEGEND, style="dim"))

    def __rich__(self) -> RenderableType:
        return self.table()

    def __str__(self) -> str:
        console = Console(width=130, no_color=True)
        with console.capture() as capture:
            console.print(self.table())
        return capture.get()

    def picture(self, path: str | Path | None = None) -> bytes:
        """Return the report as a PNG, and write it to ``path`` if that is given.

        Three panels over the layers in order of execution: RMS of the activations, share of them that is 0 or
        saturated, RMS of the gradient; a line for each initialization.
        """
        image = draw([Curves(label, layers) for label, layers in self.signals.items()])
        if path is not None:
            Path(path).write_bytes(image)
        return image


def init_report(
    model: nn.Module,
    example_inputs: Any,
    schemes: Sequence[str | Mapping[str, Any]] | str = (),
    *,
    backward: bool = True,
) -> InitReport:
    """Return what happens to the signal on its way through a model as it is, and as it would be under other schemes.

    The model itself is not changed: schemes are tried on copies.

    Args:
        model: the model.
        example_inputs: what it is called with (tensor, tuple of arguments, dict of named ones); some hundred samples.
        schemes: names of initializers to compare with, or mappings of arguments of ``initialize``,
            ``{"scheme": "normal", "std": 0.1}``.
        backward: whether gradients are measured too.

    Raises:
        ValueError: an unknown scheme, or inputs on which the model cannot run.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        >>> report = init_report(net, torch.randn(256, 64), ["kaiming_normal"])
        >>> report.layer("as it is", "2").rms < 0.5 < report.layer("kaiming_normal", "2").rms
        True
    """
    signals = {NOW: measure(model, example_inputs, backward=backward)}
    for scheme in [schemes] if isinstance(schemes, (str, Mapping)) else schemes:
        arguments = {"scheme": scheme} if isinstance(scheme, str) else dict(scheme)
        trial = initialize(copy.deepcopy(model), **{"example_inputs": example_inputs, **arguments})
        signals[_label(arguments)] = measure(trial, example_inputs, backward=backward)
    return InitReport(signals)


def _label(arguments: Mapping[str, Any]) -> str:
    rest = [f"{k}={v}" for k, v in arguments.items() if k not in ("scheme", "example_inputs", "generator")]
    return " ".join([str(arguments.get("scheme", "kaiming_normal")), *rest])


def _number(x: float) -> str:
    if math.isnan(x):
        return ""
    return f"{x:.3g}" if x == 0 or 1e-3 <= abs(x) < 1e4 else f"{x:.1e}"


def _share(x: float) -> str:
    return "" if math.isnan(x) else f"{100 * x:.0f} %"
