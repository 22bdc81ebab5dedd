"""Which units of a rectifier never fire: a streak of silent examples per unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_diag.probes.readings import Row, Silence
from lightning_diag.records import History


@dataclass
class _Streak:
    silent: Row  # examples since the unit last fired, (units,)
    fired: npt.NDArray[np.bool_]  # whether it ever fired on a sampled step, (units,)
    examples: int = 0  # examples seen in all


class SilentUnits:
    """Follows silent units over sampled steps.

    A unit is *dead* when it was zero on every example and position of the consecutive sampled steps that hold the
    last ``examples_needed`` examples, and of at least three of them. A unit that fires on a share p of the examples
    would look so with probability (1 - p)^n, so "fires on fewer than 3/n of the examples" holds with 95 % confidence.

    Args:
        examples_needed: number n of examples the claim needs.
        from_start: where a run is resumed, the share of units dead from the start by site, as last known.
    """

    LEAST_STEPS = 3

    def __init__(self, examples_needed: int, from_start: Mapping[str, float] | None = None) -> None:
        self.examples_needed, self._from_start = examples_needed, from_start
        self._streaks: dict[str, _Streak] = {}

    def update(self, silence: Mapping[str, Silence], sites: list[str]) -> tuple[dict[str, Row], float]:
        """Add one sampled step.

        Args:
            silence: site -> what was silent.
            sites: all sites of the family, in order.

        Returns:
            Statistic -> row over ``sites`` (NaN where absent), and the largest share of suspects in a layer: units
            silent on three sampled steps, with too few examples for a claim.
        """
        rows: dict[str, Row] = {}
        worst = 0.0
        for site, now in silence.items():
            if site not in sites:
                continue
            shares, suspects = self._follow(site, now)
            worst = max(worst, suspects)
            for name, value in shares.items():
                rows.setdefault(f"activation/{name}", np.full(len(sites), np.nan))[sites.index(site)] = value
        return rows, worst

    def _follow(self, site: str, now: Silence) -> tuple[dict[str, float], float]:
        s = self._streaks.get(site)
        if s is None or s.silent.shape != now.silent.shape:
            s = self._streaks[site] = _Streak(np.zeros(now.silent.shape), np.zeros(now.silent.shape, dtype=np.bool_))
        s.silent = np.where(now.silent, s.silent + now.examples, 0.0)
        s.fired |= ~now.silent
        s.examples += now.examples
        least = self.LEAST_STEPS * now.examples
        needed = max(self.examples_needed, least)
        shares = {"silent_fraction": float(now.silent.mean())}
        suspects = float(((s.silent >= least) & (s.silent < needed)).mean())
        if s.examples < needed:
            return shares, suspects
        dead = s.silent >= needed
        shares["dead_fraction"] = float(dead.mean())
        shares["dead_from_start_fraction"] = float((dead & ~s.fired).mean())
        if self._from_start is not None:  # what happened before the run was resumed is not in the streaks
            shares["dead_from_start_fraction"] = min(self._from_start.get(site, 0.0), shares["dead_fraction"])
        if dead.any():
            shares["dead_examples"] = float(s.silent[dead].min())
            if now.without_bias is not None and now.without_bias.shape == dead.shape:
                shares["dead_by_bias_fraction"] = float(now.without_bias[dead].mean())
        return shares, suspects

    @property
    def some_silent(self) -> set[str]:
        """The sites with silent units in the last sample; of calls of shared modules also the module's own name."""
        return {name for site, s in self._streaks.items() if s.silent.any() for name in (site, site.split("#")[0])}

    def forget(self) -> None:
        """Drop all streaks."""
        self._streaks.clear()


def dead_from_start(history: History) -> dict[str, float] | None:
    """Return the share of units dead from the start by site as an earlier part of the run had it; None at a start."""
    if not len(history):
        return None
    table = history.table("activation/dead_from_start_fraction")
    columns = {site: table.matrix[:, j] for j, site in enumerate(table.sites)}
    return {site: float(c[~np.isnan(c)][-1]) for site, c in columns.items() if not np.isnan(c).all()}
