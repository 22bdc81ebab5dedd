"""What ranks send each other on a sampled step, in bytes, and what it takes to merge it; no network is used.

A multi-layer perceptron of 20 layers: parts of 2, 4 and 8 ranks (and, extrapolated from the size of a message, 1,000)
are encoded, decoded and merged in this process. Usage: python benchmarks/exchange.py [--layers 20] [--quick]
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from torch import nn

from lightning_diag.probes.metrics import Point
from lightning_diag.probes.packing import Layouts, Message, decode, encode
from lightning_diag.probes.readings import Part
from lightning_diag.probes.samples import completed, merged, shared
from lightning_diag.probes.step import SampledStep

STEPS = 50  # between two samples: that many losses, learning rates and metrics are sent with each


def network(layers: int, width: int = 64) -> nn.Module:
    hidden = [m for _ in range(layers) for m in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def observed(net: nn.Module, optimizer: torch.optim.Optimizer) -> Part:
    def fail(error: BaseException) -> None:
        raise error

    step = SampledStep(net, eager=False, guarded=False, forward=True, on_error=fail)
    x, y = torch.randn(32, 64), torch.randint(10, (32,))
    step.open((x, y))
    loss = F.cross_entropy(net(x), y)
    step.before_backward(automatic=True, scale=None)
    loss.backward()
    step.after_backward()
    step.before_optimizer(optimizer)
    optimizer.step()
    return step.finish([])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    net = network(given.layers)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    series = ("loss", "learning_rate/SGD", "metric/train_loss")
    points: list[Point] = [("train", name, step, 0.123) for name in series for step in range(STEPS)]
    parts = [observed(net, optimizer) for _ in range(8)]
    known: Layouts = {}
    messages = [Message(shared(p), points if i == 0 else points[:STEPS]) for i, p in enumerate(parts)]
    first = encode(messages[0], known)
    decode(first, known)
    data = [encode(m, known) for m in messages]
    sent = max(map(len, data))
    print(f"{given.layers} layers: one rank sends {len(first):,} bytes at its first sample, with names, later {sent:,}")
    for ranks in (2, 4, 8):
        rounds = []
        for _ in range(2 if given.quick else 10):
            start = time.perf_counter()
            together = [decode(d, known).part for d in data[:ranks]]
            completed(merged(together, sharded=True), parts[0], ranks)
            rounds.append(time.perf_counter() - start)
        print(f"{ranks:5} ranks: each receives {ranks * sent:10,} bytes and merges them in {1e3 * min(rounds):6.1f} ms")
    took = 1e3 * 1000 * min(rounds) / 8
    print(f" 1000 ranks: each receives {1000 * sent:10,} bytes and merges them in {took:6.1f} ms (extrapolated)")


if __name__ == "__main__":
    main()
