"""The one callback that a user adds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union

import torch
from lightning.pytorch import Callback

from lightning_diag.callbacks.asked import asked
from lightning_diag.callbacks.fit import Fit, crashed
from lightning_diag.callbacks.mailbox import Mailbox
from lightning_diag.callbacks.outlets import warn
from lightning_diag.callbacks.ranks import ranks_of
from lightning_diag.findings import Report, UnhealthyTraining, severity
from lightning_diag.records import History

Level = Literal["info", "warning", "error"]
_KEY = "lightning_diag"  # of our state in a checkpoint


class Diagnostics(Callback):
    """Observes a fit, judges it, and says what is wrong, where, since when and what cures it.

    Nothing of the training changes: on sampled steps hooks are attached and removed again, on all others nothing is
    attached. The report is in :attr:`report` (during fit, after it, and after an exception), the measurements in
    :attr:`history`; both are also written to the run's directory as ``health.json`` and ``history.jsonl``.

    Args:
        every_n_steps: most optimizer steps between two samples; where the length of the run is known at least 64
            samples are taken, so short runs are sampled more often.
        select: codes, code prefixes or names of the rules to ask; all by default.
        ignore: codes, prefixes or names to leave out; or site glob -> such a list (``{"backbone.*": ["A001"]}``).
        limits: rule -> parameter -> value (``{"dead-units": {"max_dead_fraction": 0.6}}``).
        histograms: whether TensorBoard gets histograms of activations, gradients, weights and updates.
        stop_on: end the training at the first finding of this severity or worse.
        fail_on: raise :class:`UnhealthyTraining` at the end of fit for findings so severe, or if nothing was judged.
        compiled: what happens to a model under torch.compile on sampled steps: "eager" runs it eagerly for that step
            (its rounding and dropout masks then differ from those of generated code in that step), "skip" leaves its
            forward pass unmeasured and the run bit-equal.
        config: whether the nearest pyproject.toml states which ``select``, ``ignore``, ``limits`` hold if not given.
        verbose: whether errors are told while the training runs, and a table at its end.

    Raises:
        ValueError: a value is out of range, or a rule, limit or severity of that name does not exist.
        TypeError: ``every_n_steps`` is no integer.
    """

    def __init__(
        self,
        every_n_steps: int = 50,
        *,
        select: Sequence[str] = (),
        ignore: Union[Sequence[str], Mapping[str, Sequence[str]]] = (),
        histograms: bool = True,
        stop_on: Union[Level, None] = None,
        fail_on: Union[Level, None] = None,
        compiled: Literal["eager", "skip"] = "eager",
        limits: Union[Mapping[str, Mapping[str, Any]], None] = None,
        config: bool = True,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self.automatic = False  # attached by the environment, not by the user: stands aside where the user has one
        self.aside = False
        if type(every_n_steps) is not int:
            raise TypeError(f"every_n_steps must be an integer, got {every_n_steps!r}")
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be 1 or more, got {every_n_steps}")
        if compiled not in ("eager", "skip"):
            raise ValueError(f"compiled must be 'eager' or 'skip', got {compiled!r}")
        self.every_n_steps, self.histograms, self.verbose = every_n_steps, histograms, verbose
        self.compiled = compiled
        self.asked = asked(select, ignore, limits, config)
        self.select, self.ignore = self.asked.select, self.asked.ignore
        self.stop_on = None if stop_on is None else severity(stop_on)
        self.fail_on = None if fail_on is None else severity(fail_on)
        self._fit: Fit | None = None
        self._history, self._report = History(), Report()
        self._continues: dict[str, Any] = {}
        self._mailbox = Mailbox()

    @property
    def history(self) -> History:
        """The measurements of the running or last fit."""
        self._take_mail()
        return self._history

    @property
    def report(self) -> Report:
        """The judgement of the running or last fit, up to date with the last sample."""
        self._take_mail()
        if (fit := self._fit) is not None:
            self._guard(fit.report)
            self._report = fit.judgement.report
        return self._report

    def _take_mail(self) -> None:
        """Take over a fit that ran in a process which Lightning launched from this one."""
        if self._fit is None and (found := self._mailbox.take()) is not None:
            self._history, self._report = found

    # -- Lightning's hooks, in the order in which they are called ------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        others = [c for c in trainer.callbacks if isinstance(c, Diagnostics) and c is not self and not c.aside]
        self.aside = self.automatic and bool(others)
        if others and not self.aside and not any(c.automatic for c in others):
            raise ValueError("two Diagnostics in one Trainer would judge the same run twice; remove one of them")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._close("interrupted")
        if not self.aside:
            self._guard(lambda: self._start(trainer, pl_module))

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._with_fit(lambda fit: fit.observer.plan.new_epoch())

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._with_fit(lambda fit: fit.start_batch(trainer, batch, batch_idx))

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        if self._sampling:
            self._with_fit(lambda fit: fit.before_backward(trainer, pl_module, loss))

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        if self._sampling:
            self._with_fit(lambda fit: fit.observer.after_backward())

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self._with_fit(lambda fit: fit.before_optimizer(trainer, optimizer))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._with_fit(lambda fit: fit.end_batch(trainer, pl_module, outputs))
        if self._fit is not None and self._fit.observer.ranks.several:
            self._with_fit(Fit.settle)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._with_fit(lambda fit: fit.observer.metrics.note(trainer.callback_metrics))

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking and dataloader_idx == 0:
            self._with_fit(
                lambda fit: fit.observer.surroundings.validation_batch(batch, batch_idx, trainer.current_epoch)
            )

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking and dataloader_idx == 0:
            self._with_fit(lambda fit: fit.observer.surroundings.after_validation_batch(batch_idx))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._with_fit(lambda fit: fit.end_validation(trainer))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._with_fit(lambda fit: fit.end_epoch(trainer, pl_module))

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        fitted = self._fit is not None or "diagnostics" in self._report.outcomes  # else Lightning had nothing to do
        self._close("finished")
        limit = self.fail_on
        if limit is not None and fitted and not self.aside and self._report.exit_code(limit):
            raise UnhealthyTraining(self._report)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        interrupted = isinstance(exception, KeyboardInterrupt)
        self._close("interrupted" if interrupted else f"failed: {type(exception).__name__}: {exception}")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._close("interrupted")

    # -- state ---------------------------------------------------------------------------------------------------

    # Not state_dict: Lightning refuses two callbacks of a class that has one, and would warn when a run goes on
    # without Diagnostics.

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        run = self.history.run
        known = {key: run[key] for key in ("run_id", "last_step", "history") if key in run} or self._continues
        if known and not self.aside:
            checkpoint[_KEY] = dict(known)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        known = checkpoint.get(_KEY)
        self._continues = dict(known) if isinstance(known, dict) else {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the running fit and the methods that Lightning puts on callbacks: they hold model and Trainer."""
        report = self.report
        state = {k: v for k, v in self.__dict__.items() if k not in ("log", "log_dict")}
        return {**state, "_fit": None, "_report": report}

    # -- inside --------------------------------------------------------------------------------------------------

    def _start(self, trainer: Any, module: Any) -> None:
        continues, self._continues = self._continues, {}
        self._history, self._report = History(), Report()
        ranks, log_dir = ranks_of(trainer), trainer.log_dir  # a broadcast: on every rank
        try:
            self._fit = Fit(trainer, module, self, continues, ranks, log_dir)
        except Exception as error:
            with contextlib.suppress(RuntimeError):
                ranks.agree(crash=crashed(error).reason)
            raise
        self._history = self._fit.history
        self._fit.agree()

    @property
    def _sampling(self) -> bool:
        return self._fit is not None and self._fit.observer.sampling

    def _with_fit(self, act: Callable[[Fit], object]) -> None:
        fit = self._fit
        if fit is None or fit.over:
            return
        start = time.perf_counter()
        self._guard(lambda: act(fit))
        if fit.observer.error is not None and not fit.crashed:
            fit.crash(fit.observer.error)
        fit.seconds += time.perf_counter() - start

    def _guard(self, act: Callable[[], object]) -> None:
        """Do something of ours; our own failure ends the observation, never the training."""
        try:
            act()
        except Exception as error:
            if self._fit is not None:
                self._fit.crash(error)
            elif "diagnostics" not in self._report.outcomes:
                self._report = Report(outcomes={"diagnostics": crashed(error)})
                warn(f"lightning_diag could not start, the training goes on: {error!r}")

    def _close(self, status: str) -> None:
        fit, self._fit = self._fit, None
        if fit is None:
            return
        try:
            self._report = fit.finish(status)
            if fit.rank_zero:
                self._mailbox.leave(self._history, self._report)
        except Exception as error:
            self._report = Report(self._report.findings, {"diagnostics": crashed(error)})
            warn(f"lightning_diag failed at the end of fit: {error!r}")
