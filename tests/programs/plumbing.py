"""Trainings whose plumbing leaks: gradients, parameters and modes that are not where they should be."""

from __future__ import annotations

from . import (
    plumbing_controls,
    plumbing_gradient,
    plumbing_mixing,
    plumbing_modes,
    plumbing_numbers,
    plumbing_optim,
)
from .program import Program

PROGRAMS: list[Program] = [
    *plumbing_numbers.PAIRS,
    *plumbing_gradient.PAIRS,
    *plumbing_optim.PAIRS,
    *plumbing_modes.PAIRS,
    *plumbing_mixing.PAIRS,
    *plumbing_controls.CONTROLS,
]
