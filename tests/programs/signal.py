"""Trainings whose signal, forward or backward, goes wrong, and healthy ones."""

from __future__ import annotations

from . import signal_collapse, signal_controls, signal_gradient, signal_start, signal_units
from .program import Program

PROGRAMS: list[Program] = [
    *signal_units.PROGRAMS,
    *signal_collapse.PROGRAMS,
    *signal_gradient.PROGRAMS,
    *signal_start.PROGRAMS,
    *signal_controls.PROGRAMS,
]
