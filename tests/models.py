"""All the small programs: sick ones, their mended twins, healthy controls.

Pure Lightning, torch and scikit-learn. ``python -m tests.models [--seeds N] [NAME ...]`` proves those whose name
holds one of the words (all without), or those of a kind: sick, twin, healthy.
"""

from __future__ import annotations

import logging
import sys
import time

from tests.programs import (
    activations,
    controls,
    data_faults,
    generative,
    gradients,
    habits,
    heads,
    lookalikes,
    losses,
    missed,
    modes,
    ordinary,
    pace,
    plans,
    plumbing,
    questions_code,
    questions_controls,
    questions_inputs,
    questions_outputs,
    questions_rates,
    research_healthy,
    research_targets,
    schedules,
    sequences,
    signal,
    tabular,
    training,
    tuning,
    unusual,
    wiring,
    written,
)
from tests.programs.parts import Fit
from tests.programs.program import Program

__all__ = ["ALL", "HEALTHY", "SICK", "TWINS", "Fit", "Program"]

_PAIRS = (
    *activations.PAIRS,
    *gradients.PAIRS,
    *training.PAIRS,
    *modes.PAIRS,
    *wiring.PAIRS,
    *losses.PAIRS,
    *schedules.PAIRS,
    *data_faults.PAIRS,
    *questions_outputs.PAIRS,
    *questions_rates.PAIRS,
    *questions_inputs.PAIRS,
    *questions_code.PAIRS,
    *sequences.PAIRS,
    *generative.PAIRS,
    *tuning.PAIRS,
    *plans.PAIRS,
)
_BLIND = (
    *habits.PROGRAMS,
    *heads.PROGRAMS,
    *signal.PROGRAMS,
    *pace.PROGRAMS,
    *plumbing.PROGRAMS,
    *tabular.PROGRAMS,
)  # written blind: by people who saw neither rules nor judgements
_TOPICS = (*_BLIND, *missed.PROGRAMS, *written.PROGRAMS)
SICK: tuple[Program, ...] = (*(sick for sick, _ in _PAIRS), *(p for p in _TOPICS if p.kind == "sick"))
TWINS: tuple[Program, ...] = (*(twin for _, twin in _PAIRS), *(p for p in _TOPICS if p.kind == "twin"))
HEALTHY: tuple[Program, ...] = (
    *controls.HEALTHY,
    *unusual.HEALTHY,
    *ordinary.HEALTHY,
    *lookalikes.HEALTHY,
    *questions_controls.HEALTHY,
    *research_healthy.HEALTHY,
    *research_targets.HEALTHY,
    *(p for p in _TOPICS if p.kind == "healthy"),
)
ALL = (*SICK, *TWINS, *HEALTHY)


def main(names: list[str]) -> None:
    """Prove programs and print how long each took."""
    seeds = 1
    if names[:1] == ["--seeds"]:
        seeds, names = int(names[1]), names[2:]
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for program in ALL:
        if names and not any(n in program.name or n == program.kind for n in names):
            continue
        for seed in range(seeds):
            start = time.perf_counter()
            try:
                program.proof(seed)
                outcome = "ok"
            except AssertionError as error:
                outcome = f"FAILED {str(error).splitlines()[0] if str(error) else error!r}"
            took = time.perf_counter() - start
            print(f"{program.kind:8}{program.name:32}{seed:3}{took:6.1f} s  {outcome}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
