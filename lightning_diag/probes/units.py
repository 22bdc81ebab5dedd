"""Which units of a rectifier never fire: a streak of silent examples per unit, kept on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_diag.probes.readings import Readings


@dataclass
class _Streak:
    silent: Tensor  # examples since the unit last fired, (units,)
    fired: Tensor  # whether it ever fired on a sampled step, (units,)
    examples: int = 0  # examples seen in all


class SilentUnits:
    """Follows silent units over sampled steps.

    A unit is *dead* when it was zero on every example and position of the consecutive sampled steps that hold the
    last ``examples_needed`` examples, and of at least three of them. A unit that fires on a share p of the examples
    would look so with probability (1 - p)^n, so "fires on fewer than 3/n of the examples" holds with 95 % confidence.

    Args:
        examples_needed: number n of examples the claim needs.
    """

    LEAST_STEPS = 3

    def __init__(self, examples_needed: int) -> None:
        self.examples_needed = examples_needed
        self._streaks: dict[str, _Streak] = {}

    def update(self, site: str, silent: Tensor, examples: int, without_bias: Tensor | None, readings: Readings) -> None:
        """Add one sampled step of a site.

        Args:
            site: the rectifier.
            silent: whether the unit was zero throughout the batch, (units,), bool.
            examples: size of the batch.
            without_bias: whether it would have fired without the bias before it, (units,), None if unknown.
            readings: where the shares go.
        """
        s = self._streaks.get(site)
        if s is None or s.silent.shape != silent.shape or s.silent.device != silent.device:
            s = self._streaks[site] = _Streak(torch.zeros_like(silent, dtype=torch.float32), torch.zeros_like(silent))
        s.silent = torch.where(silent, s.silent + examples, 0.0)
        s.fired = s.fired | ~silent
        s.examples += examples
        readings.scalar("activation/silent_fraction", site, silent.float().mean())
        needed = max(self.examples_needed, self.LEAST_STEPS * examples)
        suspect = (s.silent >= min(needed, self.LEAST_STEPS * examples)) & (s.silent < needed)
        readings.scalar("activation/suspect_fraction", site, suspect.float().mean())
        if s.examples < needed:
            return
        dead = s.silent >= needed
        share = dead.float().mean()
        readings.scalar("activation/dead_fraction", site, share)
        readings.scalar("activation/dead_examples", site, torch.where(dead, s.silent, torch.inf).amin().clamp_max(1e9))
        readings.scalar("activation/dead_from_start_fraction", site, (dead & ~s.fired).float().mean())
        if without_bias is not None:
            by_bias = (dead & without_bias).float().mean() / share  # NaN, so absent, where no unit is dead
            readings.scalar("activation/dead_by_bias_fraction", site, by_bias)

    def forget(self) -> None:
        """Drop all streaks."""
        self._streaks.clear()
