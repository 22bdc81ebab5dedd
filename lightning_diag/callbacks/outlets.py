"""Where a fit's records and findings go: files, TensorBoard, the terminal; on rank 0 only."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_diag.findings import Finding, Report
from lightning_diag.probes.readings import Row
from lightning_diag.probes.samples import Sample
from lightning_diag.records import History
from lightning_diag.sinks.console import live_line, print_report
from lightning_diag.sinks.disk import RunFiles, run_directory
from lightning_diag.sinks.tensorboard import Histogram, TensorBoardSink

_TAGS = {"activation": "activations", "gradient": "gradients", "parameter": "weights", "update": "updates"}


class Outlets:
    """The sinks of one fit. A sink that fails is left out from then on, with one warning; the fit goes on.

    Args:
        trainer: the Trainer (its loggers and directories are asked for, on every rank).
        history: what the files hold.
        write: whether files and TensorBoard are written (not in ``fast_dev_run``, not off rank 0).
        log_dir: the Trainer's ``log_dir``, asked for on every rank.
    """

    def __init__(self, trainer: Any, history: History, *, write: bool, log_dir: str | None) -> None:
        self.history = history
        self.files: RunFiles | None = None
        self._failing = False  # writing failed: tried once more, in silence, at the end
        self._boards: list[TensorBoardSink] = []
        self._say: Callable[[str], None] = print
        if not write:
            return
        loggers = list(getattr(trainer, "loggers", []))
        own = getattr(loggers[0], "log_dir", None) if loggers else None
        self._try(lambda: self._open(log_dir, trainer.default_root_dir, own is not None and own == log_dir))
        for logger in loggers:
            writer = getattr(logger, "experiment", None)
            if hasattr(writer, "add_histogram") and hasattr(writer, "add_scalar"):
                self._boards.append(TensorBoardSink(writer))

    def _open(self, log_dir: str | None, root: str, run_specific: bool) -> None:
        directory = run_directory(log_dir, root, run_specific)
        self.history.run["log_dir"] = str(directory)
        self.files = RunFiles(directory, self.history)

    def sample(self, step: int, fetched: Sample) -> None:
        """Write one sampled step."""
        if self.files is not None and not self._failing:
            self._failing = not self._try(self.files.append)
        if not self._boards:
            return
        histograms = {
            f"{_TAGS[family]}/{site}": Histogram(**vars(bins))
            for family, sites in fetched.histograms.items()
            if family in _TAGS
            for site, bins in sites.items()
        }
        scalars = _handful(fetched)
        self._on_boards(lambda board: board.write_sample(step, histograms, scalars))

    def judged(self, report: Report, step: int, *, draw: bool) -> None:
        """Write the report; with ``draw`` also TensorBoard's text and heatmaps."""
        if self.files is not None and not self._failing:
            files = self.files
            self._failing = not self._try(lambda: files.write_report(report))
        if draw:
            self._on_boards(lambda board: board.write_report(report, step))
            self._on_boards(lambda board: board.write_heatmap(self.history, step))

    def tell(self, findings: Sequence[Finding], say: Callable[[str], None]) -> None:
        """Tell new errors while the training runs."""
        for finding in findings:
            self._try(lambda f=finding: say(live_line(f)))  # type: ignore[misc]

    def close(self, report: Report, step: int, *, show: bool) -> None:
        """Write the last report, close the files, print the table."""
        self.judged(report, step, draw=True)
        files, failed = self.files, self._failing
        if files is not None and failed:
            with contextlib.suppress(Exception):  # was told before
                files.write_report(report)
                failed = False
            with contextlib.suppress(Exception):
                files.close()
        elif files is not None:
            failed = not self._try(files.close)
        if failed:
            self.files = None
        if show:
            self._try(lambda: print_report(report, files=self._paths()))

    def _paths(self) -> Sequence[Path]:
        return () if self.files is None else (self.files.report_path, self.files.history_path)

    def _on_boards(self, act: Callable[[TensorBoardSink], None]) -> None:
        self._boards = [b for b in self._boards if self._try(lambda b=b: act(b))]  # type: ignore[misc]

    def _try(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except Exception as error:
            warn(f"lightning_diag stops writing here, the training goes on: {error!r}")
            return False
        return True


def warn(text: str) -> None:
    """Warn; where warnings are errors, the report has to say it: our failure never ends the training."""
    with contextlib.suppress(UserWarning):
        warnings.warn(text, stacklevel=3)


def _handful(fetched: Sample) -> dict[str, float]:
    """Return the few scalars that are worth a curve of their own; the rest is in the histograms and the history."""
    found = {}
    for name, (statistic, reduce) in _CURVES.items():
        row = fetched.values.get(statistic)
        if row is not None and not np.isnan(row).all():
            found[name] = float(reduce(row))
    return found


_CURVES: dict[str, tuple[str, Callable[[Row], Any]]] = {
    "gradient_norm": ("total/gradient_norm", np.nanmax),
    "update_to_weight_ratio_median": ("update/ratio", np.nanmedian),
    "dead_units_worst_layer": ("activation/dead_fraction", np.nanmax),
    "saturated_units_worst_layer": ("activation/saturated_units_fraction", np.nanmax),
    "nonfinite_activations": ("activation/nonfinite", np.nansum),
}
