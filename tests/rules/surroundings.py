"""What a hand-made history knows of its data, loss call and wiring."""

from __future__ import annotations

from typing import Any

import numpy as np


def features(mean: Any = 0.0, std: Any = 1.0, *, n: int = 8, rows: int = 512, **more: Any) -> dict[str, Any]:
    """Facts of an input of ``n`` features, of a normal distribution."""
    m, s = np.broadcast_to(mean, n).astype(float), np.broadcast_to(std, n).astype(float)
    found = {"rows": rows, "batches": rows // 32, "nonfinite": 0, "distinct": rows, "repeated_in_batch": 0}
    found |= {"epoch_rows": rows, "epoch_repeats": 0, "integers": False}
    found |= {"mean": m.tolist(), "std": s.tolist(), "min": (m - 3 * s).tolist(), "max": (m + 3 * s).tolist()}
    return {**found, **more}


def seen(train: dict[str, Any] | None = None, validate: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The facts ``data`` and ``wiring`` of a run with inputs "0" and targets "1"."""
    data: dict[str, Any] = {"train": {"0": features() if train is None else train}, "target": {"path": "1"}, "fit": {}}
    if validate is not None:
        data["validate"] = {"0": validate}
    loader = {"sampler": "RandomSampler", "batch_size": 32, "dataset_size": 512}
    batch = {"0": {"shape": [32, 8], "dtype": "torch.float32"}, "1": {"shape": [32], "dtype": "torch.int64"}}
    return {
        "data": {**data, **more},
        "wiring": {"train_loader": loader, "schedulers": [], "dropout": {}},
        "batch": batch,
    }


def cross_entropy(classes: int = 10, **more: Any) -> list[dict[str, Any]]:
    """The fact ``losses`` of a classifier."""
    call = {
        "site": "cross_entropy",
        "loss": "cross_entropy",
        "reduction": "mean",
        "weighted": False,
        "made_by": "linear",
    }
    call |= {"label_smoothing": 0.0, "prediction_shape": [32, classes], "target_shape": [32]}
    return [{**call, "prediction_dtype": "torch.float32", "target_dtype": "torch.int64", "target": "1", **more}]


def squared_error(**more: Any) -> list[dict[str, Any]]:
    """The fact ``losses`` of a regression."""
    call = {"site": "mse_loss", "loss": "mse_loss", "reduction": "mean", "weighted": False, "made_by": "linear"}
    call |= {"label_smoothing": 0.0, "prediction_shape": [32, 1], "target_shape": [32, 1]}
    return [{**call, "prediction_dtype": "torch.float32", "target_dtype": "torch.float32", "target": "1", **more}]
