"""Programs of kinds that were missed at first sight.

They have been looked at, so their names are chosen such that :func:`tests.programs.split.half` puts all of them
into the half on which limits are set, and none into the half that is reported.
"""

from __future__ import annotations

from .missed_choices import CHOICES
from .missed_controls import CONTROLS
from .missed_data import DATA
from .missed_densities import DENSITIES
from .missed_language import LANGUAGE
from .missed_pace import PACE
from .missed_signal import SIGNAL
from .program import Program

PROGRAMS: list[Program] = [*SIGNAL, *DATA, *PACE, *LANGUAGE, *CONTROLS, *DENSITIES, *CHOICES]
