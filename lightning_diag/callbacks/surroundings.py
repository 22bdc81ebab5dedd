"""What surrounds the network: the data it is shown, the modes of its modules, what it hides from its optimizers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from torch import nn

from lightning_diag.probes.batch import batch_rows
from lightning_diag.probes.dataset import DataSeen
from lightning_diag.probes.norms import in_wrong_mode, unfed
from lightning_diag.probes.readings import Row
from lightning_diag.probes.unregistered import unregistered

_VALIDATION_BATCHES = 2  # of a validation run whose rows are looked at
FACTS: Final = ("data", "modes", "unregistered", "unfed_norms")


class Surroundings:
    """Keeps sums and counts of what samples and validation batches show, and tells them as facts of the run."""

    def __init__(self, module: nn.Module, owned: Iterable[int] = ()) -> None:
        self._module, self.owned = module, frozenset(owned)
        self._data = DataSeen()
        self._modes: Counter[tuple[str, str]] = Counter()  # (stage, module in the wrong mode) -> how often seen
        self._unregistered: list[dict[str, Any]] | None = None
        self._unfed: list[str] = []

    def add(self, rows: Mapping[str, Row], in_eval: Iterable[str], epoch: int) -> None:
        """Take the rows of a sampled step and the modules that were in eval mode in it."""
        self._modes.update(("train", name) for name in ("", *in_eval))
        self._data.add(rows, epoch)
        if self._unregistered is None:
            self._unregistered = list(unregistered(self._module, self.owned))

    def validation_batch(self, batch: Any, index: int, epoch: int) -> None:
        """Look at one of the first batches of a validation run."""
        if index < _VALIDATION_BATCHES:
            rows = {path: x.float().cpu().numpy().astype(np.float64) for path, x in batch_rows(batch)}
            self._data.add_validation(rows, epoch)

    def after_validation_batch(self, index: int) -> None:
        """Look in which mode the model was while it was validated."""
        if index == 0:
            wrong = in_wrong_mode(self._module, training=False, frozen=True)
            self._modes.update(("validate", name) for name in ("", *wrong))
            self._unfed = unfed(self._module)

    def facts(self) -> dict[str, Any]:
        """Return what is known so far; ``modes``: stage -> module in the wrong mode ("": all samples) -> how often."""
        modes: dict[str, dict[str, int]] = {}
        for (stage, name), count in self._modes.items():
            modes.setdefault(stage, {})[name] = count
        found = {"data": self._data.facts(), "modes": modes, "unregistered": self._unregistered or []}
        return {**found, "unfed_norms": self._unfed}
