"""Hand-made histories with one loss call, or with a loss written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lightning_diag.records import History, Layer
from tests.rules.histories import STEPS, falling_loss, layers

Value = float | Callable[[int], float]


def called(
    loss: str,
    stats: Mapping[str, Value],
    values: Sequence[float] | np.ndarray | None = None,
    *,
    structure: Sequence[Layer] | None = None,
    run: Mapping[str, Any] | None = None,
    activation: Mapping[str, Value] | None = None,
    tables: Mapping[str, Value] | None = None,
    **facts: Any,
) -> History:
    """Return a history of one loss call; ``stats`` and ``tables`` map a statistic to a value or a function of the step.

    Without a name of a loss there is none; sites are that of the call, of the last layer (``activation``), the path
    "1" (``batch/...``), the weights (``update/...``, ``parameter/...``).
    """
    call = {"site": loss, "loss": loss, "reduction": "mean", "weighted": False, "made_by": "", "learns": True}
    call |= {"prediction_shape": [32, 10], "target_shape": [32], "target_dtype": "torch.int64", "target": "1"}
    made = History(run={"batch_size": 32, "optimizers": [{"type": "SGD", "groups": []}], **(run or {})})
    structure = layers() if structure is None else structure
    made.set_layers(structure)
    if loss:
        made.update_run(losses=[call | facts])
    sites = {
        "prediction": loss,
        "target": loss,
        "loss_call": loss,
        "batch": "1",
        "activation": structure[-1].site if structure else "x",
    }
    weights = next((p for x in structure for p in x.parameters), "net.0.weight")
    sites |= {"update": weights, "parameter": weights}
    rows = {**stats, **(activation or {}), **(tables or {})}
    for family in {name.split("/")[0] for name in rows}:
        made.set_sites(family, [sites[family]])
    for step in STEPS if rows else ():
        made.add_sample(step, 0, {k: [v(step) if callable(v) else v] for k, v in rows.items()})
    values = falling_loss() if values is None else values
    made.add_points("loss", range(len(values)), [float(x) for x in values])
    return made


def by_hand(
    stats: Mapping[str, Value],
    values: Sequence[float] | np.ndarray | None = None,
    *,
    made_by: str = "linear",
    shapes: tuple[Sequence[int], Sequence[int]] = ((32, 1), (32, 1)),
    structure: Sequence[Layer] | None = None,
    **run: Any,
) -> History:
    """Return a history of a loss written by hand from the difference of the last layer and the batch's "1"."""
    fact = {"target": "1", "prediction_shape": list(shapes[0]), "target_shape": list(shapes[1]), "made_by": made_by}
    return called("", stats, values, structure=structure, run={"differences": [fact], **run})
