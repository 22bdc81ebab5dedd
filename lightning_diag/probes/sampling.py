"""Which optimizer steps are looked at."""

from __future__ import annotations

LEAST_SAMPLES = 64
MOST_EXTRA_PER_EPOCH = 32


class SamplingPlan:
    """Decides step by step whether it is sampled.

    ``every_n_steps`` is an upper bound of the interval: where the number of steps is known, at least 64 are
    sampled, spread over the run; where it is not, the interval grows with the step until it reaches the bound.
    The first steps are sampled densely (0, 1, 2, 4, 8, ...), and the last one.

    Args:
        every_n_steps: largest number of steps between two samples, >= 1.
        planned: number of steps of the run, None if unknown.
        start: first step of this fit (a resumed one does not start at 0).
        uneven: whether intervals avoid multiples of 2, 3 and 5, so that what alternates from step to step
            (generator and critic, say) is seen in all its phases.

    Example:
        >>> plan = SamplingPlan(50, planned=1000)
        >>> [step for step in range(40) if plan.due(step)]
        [0, 1, 2, 4, 8, 15, 16, 30, 32]
    """

    def __init__(self, every_n_steps: int, planned: int | None = None, *, start: int = 0, uneven: bool = False) -> None:
        self.every_n_steps, self.planned = every_n_steps, planned
        self.start, self.uneven = start, uneven
        self._extra = 0
        self._left = MOST_EXTRA_PER_EPOCH

    def interval(self, step: int) -> int:
        """Return the regular distance between samples around a step."""
        spread = ((step if self.planned is None else self.planned) - self.start) // LEAST_SAMPLES
        interval = max(1, min(self.every_n_steps, spread))
        while self.uneven and any(interval % p == 0 for p in (2, 3, 5)):
            interval -= 1
        return interval

    def due(self, step: int) -> bool:
        """Return whether the step is sampled; an extra sample asked for is used up by it."""
        interval, seen = self.interval(step), max(0, step - self.start)
        dense = seen & (seen - 1) == 0 and (self.planned is None or seen < 2 * interval * LEAST_SAMPLES)
        if seen % interval == 0 or dense or (self.planned is not None and step == self.planned - 1):
            return True
        if self._extra > 0:
            self._extra -= 1
            self._left -= 1
            return True
        return False

    def request(self, steps: int) -> None:
        """Ask for the next ``steps`` steps to be sampled too, within 32 extra ones an epoch."""
        self._extra = max(self._extra, min(steps, self._left))

    def new_epoch(self) -> None:
        """Restore the epoch's allowance of extra samples."""
        self._left = MOST_EXTRA_PER_EPOCH
