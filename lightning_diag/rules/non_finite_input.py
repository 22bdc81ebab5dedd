"""D001 non-finite-input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.rule import between
from lightning_diag.rules.seen import target_path

_CLEAN = Prescription(
    "Drop or mend the rows where torch.isfinite(x).all(dim=1) is False before they enter the DataLoader."
)
_IMPUTE = Prescription("Impute missing values with the feature's training median and add a column that says where.")


@final
@dataclass(frozen=True, kw_only=True)
class NonFiniteInput:
    """NaN or Inf in what the batches bring.

    What it finds:
        Tensors of a batch, other than its target, that hold numbers which are none, on sampled steps. It is an error
        where the loss, an activation or a gradient was not finite either, at that step or later; else info: the
        model seems to deal with them (a mask, nan_to_num).

    Why it matters:
        One NaN in an input makes the loss of its whole batch NaN, its gradient too, and after one step every weight.

    When it is silent:
        All numbers are finite. Only sampled steps are looked at: a few bad rows may not be among them.

    What to do:
        Find the rows (``torch.isfinite(x).all(1)``), mend or drop them where data is loaded, or impute them.

    Source:
        Little, Rubin, Statistical Analysis with Missing Data (2002); UMLAUT (Schoop et al., CHI 2021) checks inputs.
    """

    code: ClassVar[str] = "D001"
    name: ClassVar[str] = "non-finite-input"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("batch/nonfinite",)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for each tensor of the batch."""
        table = history.table("batch/nonfinite")
        target = target_path(history)
        for j, path in enumerate(table.sites):
            counts = np.nan_to_num(table.matrix[:, j])
            bad = table.steps[counts > 0]
            broke = len(bad) > 0 and self._breaks(history, int(bad[0]))
            if not len(bad) or (path == target and not broke):  # targets that are missing may well be masked
                continue
            first, last, most = int(bad[0]), int(bad[-1]), float(counts.max())
            message = (
                f"Up to {most:.0f} numbers of a batch in tensor {path!r} are NaN or Inf, on {len(bad)} of {len(table)} "
                f"sampled steps ({between(first, last)}). "
                + (
                    "From there on the loss, activations or gradients are not finite either."
                    if broke
                    else "Loss and activations stay finite, so the model seems to deal with them."
                )
            )
            severity = Severity.ERROR if broke else Severity.INFO
            yield Finding(self.code, self.name, severity, path, first, most, 0.0, message, last, "", (_CLEAN, _IMPUTE))

    @staticmethod
    def _breaks(history: History, since: int) -> bool:
        loss = history.series("loss")
        if (~np.isfinite(loss.values[loss.steps >= since])).any():
            return True
        for statistic in ("activation/nonfinite", "gradient/nonfinite"):
            if statistic in history.statistics:
                table = history.table(statistic)
                if np.nan_to_num(table.matrix[table.steps >= since]).sum() > 0:
                    return True
        return False
