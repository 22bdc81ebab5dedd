"""Does the signal get through at step 0? The lectures' experiments with six and three layers, as table and picture.

Run: python examples/initialization.py [--quick] [--picture signal.png]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from lightning_diag import init_report, initialize
from lightning_diag.initializers import measure

DEPTH = 6
Start = dict[str, Any]
SIX_LAYERS: tuple[
    tuple[type[nn.Module], Start, str], ...
] = (  # activation, start, what the lecture shows: RMS of the last activations
    (nn.Tanh, {"scheme": "normal", "std": 0.01}, "0.007: the signal dies"),
    (nn.Tanh, {"scheme": "normal", "std": 0.1}, "0.90, 59 % saturated"),
    (nn.Tanh, {"scheme": "lecun_normal"}, "0.29 (the slides' Xavier, 1 / fan_in)"),
    (nn.ReLU, {"scheme": "lecun_normal"}, "0.13: half of the signal lost in each layer"),
    (nn.ReLU, {"scheme": "kaiming_normal"}, "1.0: made for ReLU"),
    (nn.ReLU, {"scheme": "normal", "std": 2 / math.sqrt(2048)}, "8: a slide has the 2 outside the root"),
)
THREE_LAYERS: tuple[
    tuple[Start, str], ...
] = (  # start, what the lecture shows: n V(w), standard deviation of the last activations
    ({"scheme": "uniform", "bound": 0.05}, "0.027, 0.004"),
    ({"scheme": "uniform", "bound": 0.5}, "2.67, 0.64"),
    ({"scheme": "lecun_normal"}, "1, 0.41"),
)


def network(activation: type[nn.Module], width: int, depth: int) -> nn.Module:
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width, bias=False), activation())]
    return nn.Sequential(*layers)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--quick", action="store_true", help="512 units instead of 2048, deviations twice as large: the same signal"
    )
    parser.add_argument("--picture", default="", help="write the last report as PNG to this file")
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    console = Console()
    width = 512 if args.quick else 2048
    samples = torch.randn(500, width)

    table = Table("activation", "start", "RMS", "flat", "lecture", title=f"{DEPTH} layers of {width} units")
    for activation, start, lecture in SIX_LAYERS:
        start = {k: v * math.sqrt(2048 / width) if k == "std" else v for k, v in start.items()}
        net = initialize(network(activation, width, DEPTH), **start)
        last = measure(net, samples, backward=False)[-1]
        flat = "" if math.isnan(last.saturated) else f"{last.saturated:.0%}"
        table.add_row(activation.__name__, describe(start), f"{last.rms:.3g}", flat, lecture)
    console.print(table)

    table = Table("start", "nV(w)", "std", "lecture", title="3 layers of 32 tanh units, mean over draws")
    for start, lecture in THREE_LAYERS:
        ends = []
        for _ in range(10 if args.quick else 40):
            net = initialize(network(nn.Tanh, 32, 3), **start)
            ends.append(measure(net, torch.randn(100, 32), backward=False)[-1])
        scale, std = (sum(values) / len(ends) for values in zip(*((e.scale, e.std) for e in ends), strict=True))
        table.add_row(describe(start), f"{scale:.3g}", f"{std:.2g}", lecture)
    console.print(table)

    net = network(nn.ReLU, 256, DEPTH)  # as torch makes it
    report = init_report(net, torch.randn(256, 256), ["lecun_normal", "kaiming_normal", "orthogonal"])
    console.print(report)
    if args.picture:
        report.picture(args.picture)
        console.print(f"written: {args.picture}")


def describe(start: Start) -> str:
    return " ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in start.values())


if __name__ == "__main__":
    main()
