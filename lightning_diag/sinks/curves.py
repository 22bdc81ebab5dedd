"""Curves of logged series as inline SVG: loss, learning rates, metrics of training and validation together."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lightning_diag.records import Floats, History, Ints, Stage
from lightning_diag.sinks.wording import printable

_WIDE, _HIGH, _LEFT, _BOTTOM, _TOP, _RIGHT = 480, 220, 58, 26, 8, 10
_MOST_POINTS, _MOST_CHARTS = 400, 24
_COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777")


@dataclass(frozen=True)
class Line:
    """A curve: its label, steps and values, both of shape (n,)."""

    label: str
    steps: Ints
    values: Floats


def charts(history: History) -> Iterator[str]:
    """Yield one figure per series: the loss, learning rates, then metrics (training and validation of one name)."""
    groups: dict[str, list[Line]] = {}
    stages: tuple[tuple[Stage, str], ...] = (("train", "training"), ("validate", "validation"))
    for stage, word in stages:
        for name in history.series_names(stage):
            series = history.series(name, stage)
            if len(series):
                rate = name.startswith("learning_rate/")
                title = "learning rate" if rate else name.removeprefix("metric/")
                label = name.removeprefix("learning_rate/") if rate else word
                groups.setdefault(title, []).append(Line(label, series.steps, series.values))
    norm = history.table("total/gradient_norm")
    if len(norm):
        groups["gradient norm"] = [Line("sampled steps", norm.steps, norm.matrix[:, 0])]
    first = ("loss", "learning rate", "gradient norm")
    order = [*(t for t in first if t in groups), *(t for t in groups if t not in first)]
    for title in order[:_MOST_CHARTS]:
        yield chart(title, groups[title][: len(_COLOURS)])


def chart(title: str, lines: list[Line]) -> str:
    """Return one figure; values over several positive decades are drawn on a logarithmic axis.

    A gap in a curve is a value that is not finite; the caption counts them.
    """
    values = np.concatenate([x.values for x in lines])
    finite = values[np.isfinite(values)]
    bad = len(values) - len(finite)
    legend = ", ".join(x.label for x in lines) + (f"; {bad} not finite" if bad else "")
    caption = f"<figcaption>{_e(title)} <span>{_e(legend)}</span></figcaption>"
    if not len(finite):
        return f"<figure>{caption}<p>no finite value</p></figure>"
    decades = bool(finite.min() > 0 and finite.max() / finite.min() > 100)
    low, high = _ends(finite, decades)
    first, last = min(int(x.steps.min()) for x in lines), max(int(x.steps.max()) for x in lines)
    body = [*_axes(low, high, first, last, decades)]
    for line, colour in zip(lines, _COLOURS, strict=False):
        body += _drawn(line, colour, (first, last), (low, high), decades)
    label = _e(f"{title} against steps")
    svg = f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{label}">{"".join(body)}</svg>'
    return f"<figure>{caption}{svg}</figure>"


def _e(text: object) -> str:
    return html.escape(printable(text, limit=200))


def _ends(finite: Floats, decades: bool) -> tuple[float, float]:
    with np.errstate(over="ignore"):
        shown = np.log10(finite) if decades else np.clip(finite, -1e300, 1e300)
    low, high = float(shown.min()), float(shown.max())
    pad = 0.05 * (high - low) or max(abs(high), 1e-300) * 0.1
    return low - pad, high + pad


def _x(step: float, ends: tuple[int, int]) -> float:
    return _LEFT + (_WIDE - _LEFT - _RIGHT) * (step - ends[0]) / max(ends[1] - ends[0], 1)


def _y(value: float, ends: tuple[float, float]) -> float:
    return _TOP + (_HIGH - _TOP - _BOTTOM) * (1 - (value - ends[0]) / (ends[1] - ends[0]))


def _axes(low: float, high: float, first: int, last: int, decades: bool) -> Iterator[str]:
    style = 'font-size="11" fill="currentColor" opacity="0.7"'
    for value in np.linspace(low, high, 5)[1:-1].tolist():
        y = _y(value, (low, high))
        ends = f'x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        yield f'<line {ends} stroke="currentColor" opacity="0.15"/>'
        text = f"{10**value:.1e}" if decades else f"{value:.3g}"
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" {style}>{text}</text>'
    for step, anchor in ((first, "start"), (last, "end")):
        x = _x(step, (first, last))
        yield f'<text x="{x:.1f}" y="{_HIGH - 8}" text-anchor="{anchor}" {style}>step {step}</text>'


def _drawn(line: Line, colour: str, across: tuple[int, int], ends: tuple[float, float], decades: bool) -> Iterator[str]:
    chosen = np.unique(np.linspace(0, len(line.steps) - 1, min(len(line.steps), _MOST_POINTS)).round().astype(np.int64))
    run: list[str] = []
    for step, value in zip(line.steps[chosen].tolist(), line.values[chosen].tolist(), strict=True):
        if math.isfinite(value) and (value > 0 or not decades):
            y = _y(math.log10(value) if decades else max(-1e300, min(1e300, value)), ends)
            run.append(f"{_x(step, across):.1f},{y:.1f}")
        elif run:
            yield _path(run, colour)
            run = []
    if run:
        yield _path(run, colour)


def _path(points: list[str], colour: str) -> str:
    if len(points) == 1:
        x, y = points[0].split(",")
        return f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>'
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
