"""Fits here are as quiet as Lightning allows."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import pytest

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Lightning warns of few workers, of few steps between logs and the like."""
    with warnings.catch_warnings():
        for module in (r"lightning\.pytorch", r"lightning\.fabric", "torchmetrics", r"torch\.utils\._pytree"):
            warnings.filterwarnings("ignore", module=module)
        yield
