"""One fit from its start to its end: observation, judgement and outlets together."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from lightning_diag.callbacks.facts import run_facts
from lightning_diag.callbacks.judgement import Judgement
from lightning_diag.callbacks.loop import continued, logged_step, optimizer_number, reads_metrics, will_step
from lightning_diag.callbacks.observer import Observer
from lightning_diag.callbacks.outlets import Outlets, warn
from lightning_diag.callbacks.ranks import Ranks
from lightning_diag.callbacks.surroundings import Surroundings
from lightning_diag.callbacks.wiring import wiring_facts
from lightning_diag.findings import Outcome, Report
from lightning_diag.probes.sampling import SamplingPlan

if TYPE_CHECKING:
    from lightning_diag.callbacks.diagnostics import Diagnostics


_MOST_WITHOUT_STEP = 16  # batches without a step that Lightning tells of, after which every batch counts as one
_AGREED = ("run_id", "steps_planned", "batch_size", "dataset_size", "dead_examples")


class Fit:
    """What lives from on_train_start to the end of one fit.

    Args:
        trainer: the Trainer.
        module: the LightningModule.
        options: the callback, for its settings.
        continues: what a checkpoint said of the run that this one continues; empty if none.
        ranks: the processes that train together.
        log_dir: the Trainer's ``log_dir``.
    """

    def __init__(
        self,
        trainer: Any,
        module: Any,
        options: Diagnostics,
        continues: Mapping[str, Any],
        ranks: Ranks,
        log_dir: str | None,
    ) -> None:
        self.options = options
        self.started = time.perf_counter()
        self.seconds = 0.0
        self.crashed = False
        self.stepping = False
        self.step = logged_step(trainer, 0)
        continues = continues if trainer.global_step > 0 else {}  # learning rate finders restore and start at 0
        self.history = continued(continues)
        known = self.history.run.get("steps", 0)
        self.history.run = {**run_facts(trainer, module, options.every_n_steps), "steps": known}
        self.history.run["wiring"] = wiring_facts(trainer, module)
        if continues:
            self.history.run["continues"] = dict(continues)
        self._begun = False
        self._stepped = False  # whether an optimizer stepped in the running batch
        self._unstepped = 0  # batches until one did, -1 from then on
        manual = not module.automatic_optimization
        plan = SamplingPlan(options.every_n_steps, self.history.run["steps_planned"], uneven=manual)
        self.observer = Observer(
            module,
            self.history,
            plan,
            histograms=options.histograms,
            compiled=options.compiled,
            ranks=ranks,
        )
        self.observer.say = warn
        held = (id(p) for o in getattr(trainer, "optimizers", []) for g in o.param_groups for p in g["params"])
        self.observer.surroundings = Surroundings(module, held)
        self.judgement = Judgement(self.history, options.asked, often=options.stop_on is not None)
        self.rank_zero = bool(trainer.is_global_zero)
        write = self.rank_zero and not trainer.fast_dev_run
        self.outlets = Outlets(trainer, self.history, write=write, log_dir=log_dir)
        if self.outlets.files is not None:
            self.history.run["history"] = str(self.outlets.files.history_path.absolute())
        self._epochs = 0
        self._judged_at = -1
        self._ended = self._waited = 0.0  # when the last batch was over; seconds from there to the next one

    def agree(self) -> None:
        """Take over from rank 0 what must not differ: which steps are sampled follows from it."""
        known = self.observer.ranks.agree({key: self.history.run.get(key) for key in _AGREED})
        if known:
            self.history.update_run(**known)
            self.observer.settle()

    # -- during the fit ------------------------------------------------------------------------------------------

    def start_batch(self, trainer: Any, batch: Any, batch_idx: int) -> None:
        """Attach the probes if this batch ends in a sampled optimizer step."""
        if self._ended:
            self._waited += time.perf_counter() - self._ended
        self.step = logged_step(trainer, self.observer.steps)
        if not self._begun:
            self._begin()
        self._stepped = False
        self.stepping = will_step(trainer, batch_idx)
        if self.stepping:
            self.observer.start_step(self.step, batch, watch=not self.crashed)

    def _begin(self) -> None:
        """Now the first step is known (before, Lightning has not yet restored the count of a broken-off epoch)."""
        self._begun = True
        self.observer.plan.start = self.step
        if "continues" in self.history.run:
            self.history.truncate(self.step)
            self.observer.steps, self.observer.samples = min(self.observer.steps, self.step), len(self.history)
            self.history.run["continues"]["at_step"] = self.step

    def before_optimizer(self, trainer: Any, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        self._stepped = True
        self.observer.before_optimizer(optimizer, self.step, optimizer_number(trainer, optimizer))

    def before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
        """The loss is there (divided by the batches of an accumulation, and multiplied by the scale of AMP)."""
        if not self.observer.sampling:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = None if scaler is None else scaler.scale(torch.ones((), device=module.device))
        automatic = module.automatic_optimization
        if isinstance(loss, torch.Tensor):
            loss = loss.detach() * (trainer.accumulate_grad_batches if automatic else 1)
            loss = loss if scale is None else loss / scale
        self.observer.before_backward(automatic=automatic, scale=scale, loss=loss)

    def end_batch(self, trainer: Any, module: Any, outputs: Any) -> None:
        """Take the batch's numbers; judge if a sample came of it."""
        self._ended = time.perf_counter()
        if not module.automatic_optimization and self._waits_for_step():
            self.observer.abandon_step()
            self.stepping = False
        if self.crashed:
            return
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        parts = trainer.accumulate_grad_batches
        if parts != 1 and isinstance(loss, torch.Tensor) and module.automatic_optimization:
            loss = loss * parts  # Lightning divided it
        planned = self.history.run.get("steps_planned")
        read = self.stepping and (self.observer.sampling or reads_metrics(trainer, self.step, planned))
        logged = trainer.callback_metrics if read else {}
        if not self.observer.end_batch(self.step, trainer.current_epoch, loss, logged, stepped=self.stepping):
            return
        if self.observer.sample is not None:
            self.outlets.sample(self.step, self.observer.sample)
        if self.judgement.due("sample", self.observer.samples):
            self._judge(trainer, module, draw=False)
        elif self.observer.alarming:
            self._act_on(self.judgement.trip(), trainer, module)

    def _waits_for_step(self) -> bool:
        """Return whether this batch of a manual optimization is no step; optimizers that bypass Lightning tell none."""
        if self._stepped:
            self._unstepped = -1
        elif self._unstepped >= 0:
            self._unstepped += 1
        return not self._stepped and self._unstepped < _MOST_WITHOUT_STEP

    def settle(self) -> None:
        """After all of a batch: the other ranks wait for no message of this one."""
        self.observer.ranks.settle(self.judgement.crash)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do until the end: crashed, and no other rank to keep in step with."""
        return self.crashed and not self.observer.ranks.several

    def end_validation(self, trainer: Any) -> None:
        """Take what validation logged."""
        self._ended = 0.0
        self.observer.abandon_step()
        self.observer.take_logged(trainer.callback_metrics, max(0, self.step), validation=True)

    def end_epoch(self, trainer: Any, module: Any) -> None:
        """Take what was logged for the epoch; judge now and then."""
        self._ended = 0.0
        self.observer.abandon_step()  # of a batch that on_train_batch_start told to skip
        self.observer.take_logged(trainer.callback_metrics, self.step, validation=False)
        self._epochs += 1
        if self.judgement.due("epoch", self._epochs):
            self._judge(trainer, module, draw=self._epochs & (self._epochs - 1) == 0)  # images are dear

    def _judge(self, trainer: Any, module: Any, *, draw: bool) -> None:
        self._account("running")
        report = self.judgement.judge()
        self._judged_at = self.observer.samples
        self.outlets.judged(report, self.step, draw=draw)
        self._act_on(report.findings, trainer, module)

    def _act_on(self, findings: Any, trainer: Any, module: Any) -> None:
        if self.rank_zero and self.options.verbose:
            self.outlets.tell(self.judgement.news(findings), module.print)
        limit = self.options.stop_on
        if limit is not None and any(f.severity.rank >= limit.rank for f in findings):
            trainer.should_stop = True

    def report(self) -> Report:
        """Return the judgement of what was seen so far."""
        if self._judged_at != self.observer.samples:
            self._judged_at = self.observer.samples
            self._account("running")
            self.judgement.judge()
        return self.judgement.report

    # -- the end -------------------------------------------------------------------------------------------------

    def crash(self, error: BaseException) -> None:
        """Our own failure: keep what was seen, detach, say so once."""
        first, self.crashed = not self.crashed, True
        if not first:
            return
        self.judgement.crash = crashed(error).reason
        self.history.update_run(crash=self.judgement.crash)  # a stored history is then judged as what it is
        self._judged_at = -1
        self.observer.stop_step()
        warn(f"lightning_diag failed and stands aside, the training goes on: {error!r}")

    def finish(self, status: str) -> Report:
        """Detach, judge for the last time, write and show the report."""
        start = time.perf_counter()
        try:
            self.observer.close(together=status == "finished", crash=self.judgement.crash)
        except Exception as error:
            self.crash(error)
        self.seconds += time.perf_counter() - start
        self._account(status)
        try:
            report = self.judgement.judge()
        except Exception as error:
            self.crash(error)
            report = self.judgement.last()
        self.outlets.close(report, self.step, show=self.rank_zero and self.options.verbose)
        return report

    def _account(self, status: str) -> None:
        elapsed = time.perf_counter() - self.started
        spent = self.seconds + self.observer.seconds
        fraction = spent / elapsed if elapsed > 0 else 0.0
        if sent := self.observer.ranks.sent:
            self.history.update_run(bytes_sent_per_sample=sent)
        self.history.update_run(
            status=status,
            steps=self.observer.steps,
            samples=self.observer.samples,
            last_step=self.step,
            seconds=round(elapsed, 3),
            overhead_fraction=round(fraction, 5),
            waiting_fraction=round(self._waited / elapsed if elapsed > 0 else 0.0, 3),
        )


def crashed(error: BaseException) -> Outcome:
    """Return the outcome that holds an error's traceback."""
    return Outcome("crashed", "".join(traceback.format_exception(error)))
