"""Hand-made histories: what a run would have measured, without a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_diag.findings import Finding
from lightning_diag.records import History, Layer
from lightning_diag.rules import check

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 100, 150, 200, 250, 300, 350, 399)


def layers(depth: int = 4, activation: str = "relu", type_: str = "Linear") -> list[Layer]:
    """``depth`` hidden layers of 64 units, each with its activation, and an output layer."""
    found = []
    for i in range(depth):
        names = (f"net.{2 * i}.weight", f"net.{2 * i}.bias")
        found.append(Layer(f"net.{2 * i}", type_, units=64, parameters=names))
        found.append(Layer(f"net.{2 * i + 1}", activation.title(), activation=activation, units=64))
    head = f"net.{2 * depth}"
    return [*found, Layer(head, "Linear", role="output", units=10, parameters=(f"{head}.weight", f"{head}.bias"))]


def falling_loss(n: int = 400, *, seed: int = 0, scale: float = 1.0, noise: float = 0.05) -> npt.NDArray[np.float64]:
    """A loss that falls from 2.3 to 0.3 and stays there."""
    rng = np.random.default_rng(seed)
    return scale * (0.3 + 2.0 * np.exp(-np.arange(n) / 60) + noise * rng.standard_normal(n))


def flat_loss(n: int = 400, *, level: float = 2.3, noise: float = 0.02, seed: int = 0) -> npt.NDArray[np.float64]:
    """A loss that stays."""
    return level + noise * np.random.default_rng(seed).standard_normal(n)


def history(
    loss: Sequence[float] | npt.NDArray[np.float64] | None = None,
    *,
    steps: Sequence[int] = STEPS,
    structure: Sequence[Layer] | None = None,
    tables: Mapping[str, Callable[[int, int], float]] | None = None,
    points: Mapping[str, Sequence[float]] | None = None,
    **run: Any,
) -> History:
    """Return a history; ``tables`` maps a statistic to a function of (step, index of the site).

    The sites are those of ``structure``: modules for activations, parameters (weight matrices first by layer)
    for the rest, "" for totals.
    """
    made = History(run={"batch_size": 32, "dead_examples": 512, **run})
    structure = layers() if structure is None else structure
    made.set_layers(structure)
    sites: dict[str, list[str]] = {}
    for statistic in tables or {}:
        family = statistic.split("/")[0]
        names = [x.site for x in structure] if "activation" in family else [p for x in structure for p in x.parameters]
        sites[family] = [""] if family == "total" else names
    for family, names in sites.items():
        made.set_sites(family, names)
    for step in steps if tables else ():
        row = {s: [f(step, j) for j in range(len(sites[s.split("/")[0]]))] for s, f in (tables or {}).items()}
        made.add_sample(step, step // 100, row)
    if loss is not None:
        made.add_points("loss", range(len(loss)), [float(x) for x in loss])
    for name, values in (points or {}).items():
        stage = "validate" if "val" in name else "train"
        at = [round((i + 1) * 400 / len(values)) - 1 for i in range(len(values))]
        made.add_points(name, at, list(values), stage=stage)  # type: ignore[arg-type]
    return made


def judged(made: History, name: str) -> list[Finding]:
    """Return the findings of one rule, which must have judged."""
    report = check(made, select=[name])
    assert report.outcomes[name].verdict in ("clean", "found"), report.outcomes[name].reason
    assert (report.outcomes[name] == "found") == bool(report.findings)
    for f in report.findings:
        assert f.prescriptions
        assert all(p.text for p in f.prescriptions)
        assert f.message.endswith(".")
        assert f.last_step >= f.step
    return list(report.findings)


def unmeasured(made: History, name: str) -> str:
    """Return why a rule could not judge; fails if it did."""
    outcome = check(made, select=[name]).outcomes[name]
    assert outcome == "unmeasured", outcome
    return outcome.reason
