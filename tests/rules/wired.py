"""Hand-made histories with what rules about wiring need: parameters, optimizers, what each tensor did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lightning_diag.records import History, Layer
from tests.rules.histories import STEPS, history, layers

Reading = Callable[[int, str], float]
ONCE = {"loss": "cross_entropy", "reduction": "mean", "prediction_shape": [32, 10], "target_dtype": "torch.int64"}


def shape_of(name: str) -> list[int]:
    """Return the shape of a parameter of ``layers()``."""
    return [64] if name.endswith("bias") else [64, 64]


def wired(
    loss: Any = None,
    *,
    structure: Sequence[Layer] | None = None,
    readings: Mapping[str, Reading] | None = None,
    known: Mapping[str, list[Any]] | None = None,
    steps: Sequence[int] = STEPS,
    wiring: Mapping[str, Any] | None = None,
    **run: Any,
) -> History:
    """Return a history in which all parameters are trained; ``readings`` maps a statistic to (step, site) -> value.

    ``known`` replaces [shape, trainable, optimizer] of some parameters. The trivial loss is log(10).
    """
    structure = layers() if structure is None else structure
    names = [p for x in structure for p in x.parameters]
    sites = [x.site for x in structure]
    usual: dict[str, Reading] = {
        "parameter/rms": lambda s, n: 0.1,
        "parameter/mean": lambda s, n: 1e-3 * s,
        "gradient/rms": lambda s, n: 0.01,
        "gradient/min": lambda s, n: -0.02,
        "gradient/max": lambda s, n: 0.02,
        "gradient/nonfinite": lambda s, n: 0.0,
        "update/rms": lambda s, n: 1e-3,
        "update/mean": lambda s, n: 1e-3,
        "update/ratio": lambda s, n: 1e-2,
        "activation/rms": lambda s, n: 1.0,
        "activation_gradient/rms": lambda s, n: 1e-3,
        "total/gradient_norm": lambda s, n: 1.0 + 0.1 * np.sin(s),
    }
    made = {**usual, **(readings or {})}

    def at(statistic: str, f: Reading) -> Callable[[int, int], float]:
        family = statistic.split("/")[0]
        found = [""] if family == "total" else sites if "activation" in family else names
        return lambda step, j: f(step, found[j])

    parameters = {n: [shape_of(n), True, 0] for n in names} | dict(known or {})
    facts: dict[str, Any] = {
        "status": "finished",
        "losses": [ONCE],
        "optimizers": [{"type": "SGD", "groups": [{"lr": 0.1, "weight_decay": 0.0, "parameters": names}]}],
        "unregistered": [],
        "wiring": {"parameters": parameters, "fresh_frozen": [], **(wiring or {})},
    }
    tables = {s: at(s, f) for s, f in made.items()}
    return history(loss, steps=steps, structure=structure, tables=tables, **{**facts, **run})


def chain(shapes: Sequence[Sequence[int]], *, broken: Sequence[int] = (), type_: str = "Linear") -> tuple[Any, Any]:
    """Return (layers, parameters) of affine layers, each fed straight by the one before but at ``broken`` places."""
    made, known = [], {}
    for i, shape in enumerate(shapes):
        names = (f"net.{i}.weight",)
        straight = f"net.{i - 1}" if i and i not in broken else ""
        role = "output" if i == len(shapes) - 1 else "hidden"
        layer = Layer(f"net.{i}", type_, units=shape[0], parameters=names, straight=straight)
        made.append(replace(layer, role=role))  # type: ignore[arg-type]
        known[names[0]] = [list(shape), True, 0]
    return made, known
