"""A program: how to build it, what is wrong with it, how to prove that without lightning_diag."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import lightning as L

from .parts import Fit
from .verify import Check

Kind = Literal["sick", "twin", "healthy"]
QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@dataclass(frozen=True)
class Program:
    """One small training.

    Attributes:
        name: unique; a twin has its sick program's name and "-mended".
        kind: sick, twin (the same program with the one fault mended) or healthy.
        build: seed -> what to fit.
        verify: raises AssertionError where the fault (or the health) is not there.
        fault: code of the fault, "" without.
        accepted: codes that name the fault rightly (``fault`` is the first).
        sites: prefixes of the right places; empty where the fault has none.
    """

    name: str
    kind: Kind
    build: Callable[[int], Fit]
    verify: Check
    fault: str = ""
    accepted: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()

    def fit(self, seed: int, callbacks: Sequence[Any] = (), **options: Any) -> Fit:
        """Seed everything, build, fit quietly; return what was fitted."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            L.seed_everything(seed, verbose=False)
            fit = self.build(seed)
            trainer = L.Trainer(**{**QUIET, **fit.trainer, **options}, callbacks=list(callbacks))
            trainer.fit(fit.module, fit.train, fit.val)
        return fit

    def proof(self, seed: int) -> None:
        """Fit without any callback and verify."""
        fit = self.fit(seed)
        self.verify(fit, fit.module)


def pair(
    name: str,
    build: Callable[..., Fit],
    *,
    sick: Check,
    mended: Check,
    accepted: tuple[str, ...],
    sites: tuple[str, ...] = (),
) -> tuple[Program, Program]:
    """Return a sick program and its twin; ``build`` takes the seed and ``sick``."""
    return (
        Program(name, "sick", partial(build, sick=True), sick, accepted[0], accepted, sites),
        Program(f"{name}-mended", "twin", partial(build, sick=False), mended, accepted[0]),
    )


def healthy(name: str, build: Callable[[int], Fit], verify: Check) -> Program:
    """Return a healthy control."""
    return Program(name, "healthy", build, verify)
