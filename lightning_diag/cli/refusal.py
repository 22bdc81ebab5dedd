"""How the command line says that it cannot do what was asked."""

from __future__ import annotations

import sys


class Refused(Exception):  # noqa: N818 - an answer to the user
    """What is wrong, and what to do about it; ends the command with exit code 2."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.advice = advice


def refuse(problem: str, advice: str) -> int:
    """Say on standard error what is wrong and what to do; return the exit code for it."""
    from lightning_diag.sinks.wording import printable

    encoding = sys.stderr.encoding or "utf-8"
    sys.stderr.write(f"error: {printable(problem, encoding)}\n  {printable(advice, encoding)}\n")
    return 2
