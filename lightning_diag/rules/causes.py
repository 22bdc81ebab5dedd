"""Which fault explains which: one table, read from top to bottom, and the folding of findings along it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from lightning_diag.findings import Finding


class Cause(NamedTuple):
    """``cause`` explains ``consequence``, because ``reason``.

    A *timed* row holds only where the cause was seen no later than the consequence, in the order in which a
    training step does things: forward, loss, backward, update.
    """

    cause: str
    consequence: str
    reason: str
    timed: bool = True


# For one consequence the rows stand nearest cause first.
CAUSES: tuple[Cause, ...] = (
    # numbers that break: what broke first is the cause of what broke after it
    Cause("non-finite-activation", "non-finite-loss", "the loss is computed from the activations"),
    Cause("non-finite-gradient", "non-finite-loss", "the step wrote non-finite numbers into the weights"),
    Cause("exploding-gradients", "non-finite-loss", "one huge step throws the weights far away; then it overflows"),
    Cause("update-too-large", "non-finite-loss", "steps larger than the weights grow without bound"),
    Cause("non-finite-loss", "non-finite-activation", "the weights were non-finite after that step"),
    Cause("non-finite-gradient", "non-finite-activation", "the step wrote non-finite numbers into the weights"),
    Cause("exploding-gradients", "non-finite-activation", "weights that grow without bound overflow the activations"),
    Cause("update-too-large", "non-finite-activation", "weights that grow without bound overflow the activations"),
    Cause("non-finite-loss", "non-finite-gradient", "every gradient is a derivative of the loss"),
    Cause("non-finite-activation", "non-finite-gradient", "gradients are computed from the activations"),
    Cause("exploding-gradients", "non-finite-gradient", "gradients that grow without bound overflow"),
    Cause("update-too-large", "non-finite-gradient", "weights that grow without bound overflow the gradients"),
    # steps that are too large
    Cause("exploding-gradients", "update-too-large", "a step is made of the gradient"),
    Cause("update-too-large", "exploding-gradients", "each step overshoots, so that the next gradient is larger"),
    Cause("exploding-gradients", "dead-units", "one huge step pushed the units to where they are never active"),
    Cause("update-too-large", "dead-units", "a huge step pushed the units to where they are never active"),
    Cause("exploding-gradients", "saturated-units", "one huge step made the inputs of the activation huge"),
    Cause("update-too-large", "saturated-units", "huge steps made the inputs of the activation huge"),
    # signals that do not come through
    Cause("dead-units", "vanishing-gradients", "no gradient passes a unit that is never active"),
    Cause("saturated-units", "vanishing-gradients", "the derivative of a saturated unit is about zero"),
    Cause("exploding-gradients", "vanishing-gradients", "one huge step threw the weights to where no gradient passes"),
    Cause("update-too-large", "vanishing-gradients", "huge steps threw the weights to where no gradient passes"),
    Cause("vanishing-gradients", "dead-units", "activations so small that the least step of a bias switches them off"),
    Cause("dead-units", "update-too-small", "no gradient passes a unit that is never active", timed=False),
    Cause("saturated-units", "update-too-small", "the derivative of a saturated unit is about zero", timed=False),
    Cause("vanishing-gradients", "update-too-small", "a step is made of the gradient", timed=False),
    # and what all of this comes to
    Cause("non-finite-loss", "loss-not-decreasing", "a loss that is no number cannot fall", timed=False),
    Cause("dead-units", "loss-not-decreasing", "what no signal passes cannot learn", timed=False),
    Cause("saturated-units", "loss-not-decreasing", "what no gradient passes cannot learn", timed=False),
    Cause("vanishing-gradients", "loss-not-decreasing", "the early layers do not learn", timed=False),
    Cause("update-too-small", "loss-not-decreasing", "the weights do not move", timed=False),
    Cause("exploding-gradients", "loss-not-decreasing", "huge steps undo what was learned", timed=False),
    Cause("update-too-large", "loss-not-decreasing", "every step overshoots", timed=False),
)

_PHASE = {"A": 0, "L": 1, "G": 2, "W": 3, "V": 4}  # the order of things within one training step


def _time(f: Finding) -> tuple[int, int]:
    return f.step, _PHASE.get(f.code[:1], 0)


def cause_of(finding: Finding, findings: Iterable[Finding]) -> Finding | None:
    """Return the finding that explains this one best, None for a root cause.

    A cause is never an info: what merely may be of interest explains no damage.
    """
    others = [f for f in findings if f.severity.rank >= 1 and f.name != finding.name]
    for row in CAUSES:
        if row.consequence == finding.name:
            for f in others:
                if f.name == row.cause and (not row.timed or _time(f) <= _time(finding)):
                    return f
    return None


def fold(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings with ``because`` filled in, root causes first, each followed by what it explains.

    Roots are ordered by severity, then by how much they explain, then by time.

    Example:
        >>> from lightning_diag.findings import Severity
        >>> def make(code, name): return Finding(code, name, Severity.ERROR, "", 0, 0.0, 0.0, "")
        >>> found = fold([make("L002", "loss-not-decreasing"), make("A001", "dead-units")])
        >>> [(f.name, f.because) for f in found]
        [('dead-units', ''), ('loss-not-decreasing', 'A001')]
    """
    given = list(findings)
    causes = [cause_of(f, given) for f in given]
    marked = [replace(f, because="" if c is None else c.code) for f, c in zip(given, causes, strict=True)]
    explained = {f.code: sum(x.because == f.code for x in marked) for f in marked}
    marked.sort(key=lambda f: (-f.severity.rank, -explained[f.code], _time(f), f.code))
    placed: set[str] = set()
    roots = [f for f in marked if not f.because]
    order = [x for code in dict.fromkeys(f.code for f in roots) for x in _family(code, roots, marked, placed)]
    return (*order, *(f for f in marked if not any(f is x for x in order)))


def _family(code: str, roots: list[Finding], marked: list[Finding], placed: set[str]) -> Iterator[Finding]:
    """Yield the roots of one code and, after them, everything they explain, directly or not."""
    yield from (f for f in roots if f.code == code)
    waiting = [code]
    while waiting:
        cause = waiting.pop(0)
        if cause not in placed:
            placed.add(cause)
            below = [f for f in marked if f.because == cause]
            yield from below
            waiting += dict.fromkeys(f.code for f in below)
