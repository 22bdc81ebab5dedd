"""Targets of a batch, mapped after it was moved to its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

from lightning_diag import preprocessing as pre


class MapTargets:
    """Stands for ``on_after_batch_transfer``: what it did, and then the targets mapped."""

    def __init__(self, before: Any, pl_module: Any, key: Union[int, str]) -> None:
        self.before, self.pl_module, self.key = before, pl_module, key

    def run(self, batch: Any, dataloader_idx: int) -> Any:
        batch = self.before(batch, dataloader_idx)
        target = getattr(self.pl_module, pre.TARGET)
        mapped = target.forward(pre.part_of(batch, self.key, "target"))
        if isinstance(batch, Mapping):
            return type(batch)({**batch, self.key: mapped})  # type: ignore[call-arg]
        parts = [mapped if i == self.key else part for i, part in enumerate(batch)]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def transfer_owner(pl_module: Any, data: Any) -> Any:
    """Return whose ``on_after_batch_transfer`` Lightning will call: the DataModule's, where there is one with it.

    Args:
        pl_module: the LightningModule.
        data: the LightningDataModule, or None.
    """
    if data is None:
        return pl_module
    own = [not _is_default(type(x).on_after_batch_transfer) for x in (pl_module, data)]
    return pl_module if own == [True, False] else data


def _is_default(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith(("lightning.", "pytorch_lightning."))
