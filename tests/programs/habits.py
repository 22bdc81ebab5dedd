"""Programs of the topic `habits`."""

from __future__ import annotations

from .habits_fits import FITS
from .habits_generate import GENERATE
from .habits_norm import NORM
from .habits_steps import STEPS
from .habits_tables import TABLES
from .habits_vision import VISION
from .program import Program

PROGRAMS: list[Program] = [*NORM, *STEPS, *FITS, *VISION, *GENERATE, *TABLES]
