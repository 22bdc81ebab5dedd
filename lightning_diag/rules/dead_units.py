"""A001 dead-units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.metrics import already_good
from lightning_diag.rules.phase import execution_order, pick
from lightning_diag.rules.rule import Unmeasured, between, check_range, percent

_INIT = Prescription(
    "Initialize for ReLU: nn.init.kaiming_normal_(layer.weight, nonlinearity='relu') and zero biases.",
    {"init": "kaiming_normal"},
)
_BIAS = Prescription("Start the biases at zero: nn.init.zeros_(layer.bias).", {"bias_init": "zeros"})
_INPUT = Prescription("Standardize the input (mean 0, standard deviation 1 per feature).", {"standardize": True})
_RATE = Prescription("Lower the learning rate by a factor of 10, or warm it up.", {"lr": "x0.1", "warmup": 500})
_LEAKY = Prescription("Use an activation with a slope on both sides: nn.LeakyReLU or nn.GELU.", {"activation": "gelu"})
_NORM = Prescription("Put nn.BatchNorm or nn.LayerNorm before the activation.", {"norm": "batch"})
_OUTPUT = Prescription("Remove the ReLU behind the last layer; a loss on raw outputs can then move all of them.")

_BORN = 0.9  # of the dead units that never fired: missing capacity, no damage

_GATES = ("gelu", "silu", "mish", "hardswish")


@final
@dataclass(frozen=True, kw_only=True)
class DeadUnits:
    """Most units of a rectifier layer are zero on every example.

    What it finds:
        A unit (feature or channel) is dead if it was zero on every example and position of a whole window of
        sampled steps in training mode; one of GELU, SiLU, Mish or Hardswish if its input was never above -3, -6, -6 or
        -3, where value and slope are next to nothing. A warning where more than ``max_dead_fraction`` of a layer's
        units, beyond what chance makes of a half, are dead in the last ``last_samples`` samples that measured it; an
        error where ``max_layer_fraction`` are, or where several layers are mostly dead. It tells units that were
        dead from the first sample on (initialization, bias, input) from those that died later (a step too large).

    Why it matters:
        The derivative of a rectifier is 0 where its output is 0. A unit that is never active gets no gradient,
        never changes again, and is capacity that you pay for and do not have. A wholly dead layer lets nothing
        pass: the layers before it stop learning.

    When it is silent:
        Half of the outputs are zero, as in every healthy ReLU layer, but each unit is active on some examples;
        up to half of the units of an over-wide layer are dead, which is common and costs little; units that are
        silent for one batch only. Zeros made by dropout do not count. Info: units that never fired from the start on,
        fewer than ``mostly_dead_fraction``, in a run with a good score.

    What to do:
        Dead from the start: initialize for ReLU, zero biases, standardize the input. Died later: lower the
        learning rate or warm it up. Either way a normalization before the activation, or GELU, keeps units alive.

    Source:
        Lu, Shin, Su, Karniadakis, Dying ReLU and Initialization (2019); Hanley and Lippman-Hand, If Nothing Goes
        Wrong, Is Everything All Right? (1983) for the bound 3/n.
    """

    code: ClassVar[str] = "A001"
    name: ClassVar[str] = "dead-units"
    severity: ClassVar[Severity] = Severity.ERROR
    needs: ClassVar[tuple[str, ...]] = ("activation/dead_fraction",)
    max_dead_fraction: float = 0.5
    max_layer_fraction: float = 0.95
    mostly_dead_fraction: float = 0.8
    last_samples: int = 3

    def __post_init__(self) -> None:
        for name in ("max_dead_fraction", "max_layer_fraction", "mostly_dead_fraction"):
            check_range(self, name, 0.0, 1.0)
        check_range(self, "last_samples", 1, 1000)

    def check(self, history: History) -> Iterator[Finding]:
        """Yield one finding for each mostly dead layer, in order of execution."""
        table = history.table("activation/dead_fraction")
        measured = ~np.isnan(table.matrix)
        rows = np.flatnonzero(measured.any(axis=1))
        if not len(rows):
            raise Unmeasured(self._too_little(history))
        recent = table.matrix[rows[-self.last_samples :]]
        dead = np.where(np.isnan(recent).all(axis=0), 0.0, np.nan_to_num(recent, nan=1.0).min(axis=0))
        order = execution_order(history, table.sites)
        many = (dead > self.mostly_dead_fraction).sum() >= max(2, measured.any(axis=0).sum() / 2)
        for j in order[dead[order] > self.max_dead_fraction]:
            layer = history.layer(table.sites[j])
            if layer is not None and layer.units and dead[j] < self.max_dead_fraction + _error(layer.units):
                continue  # where inputs share a direction, each unit is on or off by the toss of a coin
            worst = many and dead[j] > self.mostly_dead_fraction
            yield self._finding(history, table.sites[j], float(dead[j]), int(rows[-1]), bool(worst))

    @staticmethod
    def _too_little(history: History) -> str:
        if not np.isfinite(history.table("activation/silent_fraction").matrix).any():
            return "no rectifier (ReLU, GELU, SiLU) layer was seen"
        seen = history.table("activation/dead_examples").matrix
        most = int(np.nanmax(seen)) if np.isfinite(seen).any() else 0
        needed = history.run.get("dead_examples", "more")
        return f"units were watched on {most} examples, {needed} are needed to call one dead: train for more steps"

    def _finding(self, history: History, site: str, dead: float, row: int, many: bool) -> Finding:
        table = history.table("activation/dead_fraction")
        column = table.matrix[:, table.sites.index(site)]
        bad = np.flatnonzero(column > self.max_dead_fraction)
        confirmed, last = int(table.steps[bad[0]]), int(table.steps[row])
        born, by_bias, examples = self._details(history, site, last)
        born_share = born / dead if np.isfinite(born) else np.nan
        layer = history.layer(site)
        output = layer is not None and layer.role == "output"
        units = (
            f"{percent(dead)} of its {layer.units} units" if layer and layer.units else f"{percent(dead)} of its units"
        )
        severity = self._severity(history, site, dead, last, many)
        if born_share >= _BORN and dead < self.mostly_dead_fraction and already_good(history):
            severity = Severity.INFO  # what never fired was never missed
        gate = layer is not None and layer.activation in _GATES
        zero = "as good as zero" if gate else "zero"
        message = f"At {site} {units} were {zero} {self._evidence(examples)}{between(confirmed, last)}"
        message += self._when(born_share, by_bias)
        message += f" {'Hardly any' if gate else 'No'} gradient passes a unit that is never active" + (
            ": nothing gets through this layer." if dead >= self.max_layer_fraction else ", so it never learns again."
        )
        message += " It is the output layer: its ReLU also cuts off all negative predictions." if output else ""
        first = int(history.steps[0]) if born_share >= 0.5 else self._onset(history, site, confirmed)
        return Finding(
            self.code, self.name, severity, site, first, dead, self.max_dead_fraction, message, last, "",
            tuple(a for a in self._advice(born_share, by_bias, output) if a is not _LEAKY or not gate),
        )  # fmt: skip

    def _onset(self, history: History, site: str, confirmed: int) -> int:
        """Return the first sampled step from which on most units stayed silent until they were confirmed dead."""
        silent = pick(history, "activation/silent_fraction", (site,), history.steps)[:, 0]
        before = (history.steps <= confirmed) & np.isfinite(silent)
        active = history.steps[before & (silent <= self.max_dead_fraction)]
        since = history.steps[before & (history.steps > (active[-1] if len(active) else -1))]
        return int(since[0]) if len(since) else confirmed

    @staticmethod
    def _details(history: History, site: str, step: int) -> tuple[float, float, float]:
        """Return the share of units dead from the start, the bias's part in the dead, the number of examples."""
        names = ("dead_from_start_fraction", "dead_by_bias_fraction", "dead_examples")
        values = [pick(history, f"activation/{n}", (site,), history.steps)[:, 0] for n in names]
        last = [v[np.isfinite(v)] for v in values]
        born, by_bias, examples = (float(v[-1]) if len(v) else np.nan for v in last)
        return born, by_bias, examples

    def _severity(self, history: History, site: str, dead: float, step: int, many: bool) -> Severity:
        """Return error for a layer that lets nothing pass, unless gradients flow around it (a residual branch)."""
        if dead < self.max_layer_fraction and not many:
            return Severity.WARNING
        table = history.table("activation_gradient/rms")
        if dead < 1.0 or not len(table) or site not in table.sites:
            return Severity.ERROR
        sites = tuple(table.sites[j] for j in execution_order(history, table.sites))
        before = pick(history, "activation_gradient/rms", sites[: sites.index(site)], table.steps[-3:])
        around = bool((np.nan_to_num(before) > 0).any(axis=1).all()) and before.size > 0
        return Severity.WARNING if around else Severity.ERROR

    @staticmethod
    def _evidence(examples: float) -> str:
        if not np.isfinite(examples) or examples < 1:
            return "on every example seen "
        bound = percent(min(1.0, 3 / examples))
        return f"on all of {int(examples)} examples (with 95 % confidence active on fewer than {bound} of them) "

    @staticmethod
    def _when(born_share: float, by_bias: float) -> str:
        """Return the part of the sentence that says since when, and what the bias has to do with it."""
        text = "."
        if np.isfinite(born_share):
            share = percent(min(1.0, born_share))
            text = f"; {share} of them were never active since the first sample" + (
                " (initialization, bias or input)."
                if born_share >= 0.5
                else ": most died later (often after a step too large)."
            )
        if np.isfinite(by_bias) and by_bias >= 0.5:
            text += f" Without the bias of the layer before, {percent(by_bias)} of them would be active."
        return text

    @staticmethod
    def _advice(born_share: float, by_bias: float, output: bool) -> tuple[Prescription, ...]:
        biased = (_BIAS,) if by_bias >= 0.5 else ()
        end = (_OUTPUT,) if output else ()
        if born_share >= 0.5:
            return (*end, *biased, _INIT, _INPUT, _NORM, _LEAKY)
        return (*end, _RATE, _NORM, _LEAKY) if np.isfinite(born_share) else (*end, *biased, _INIT, _RATE, _NORM, _LEAKY)


def _error(units: int) -> float:
    """Return by how much a half of so many units is exceeded by chance in one of twenty cases."""
    return 1.645 * math.sqrt(0.25 / units)
