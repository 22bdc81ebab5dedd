"""Draws curves of two runs as a small SVG: panels side by side, a title above, a sentence below.

Deterministic, a few kilobytes, legible on white and on dark pages and for the colour-blind; needs numpy only.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from docs.axes import Axis, tick_text
from lightning_diag.sinks.wording import printable, short_site

Floats = NDArray[np.float64]
SICK, MENDED = "#d55e00", "#0072b2"  # vermilion and blue of Okabe and Ito, told apart whatever one's cones
_INK, _GREY, _GRID = "#1f2328", "#57606a", "#e4e7eb"
_WIDTH, _TOP, _BOTTOM = 760, 96, 252
_MOST_BINS, _DOTS = 60, 24  # bins of a curve with more points than twice that; points up to which each gets a dot
_HUGE = 1e300  # an infinity is stored as the largest double


@dataclass(frozen=True)
class Curve:
    """Values over steps (or over depth), both of shape (n,); NaN and Inf are marked as such."""

    x: Floats
    y: Floats

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which values are numbers, shape (n,)."""
        return np.isfinite(self.y) & (np.abs(self.y) < _HUGE)


@dataclass(frozen=True)
class Panel:
    """One diagram.

    Attributes:
        label: what the vertical axis shows.
        sick: the curve of the sick run.
        mended: the curve of its mended twin.
        mark: where a dashed line stands, None for nowhere.
        horizontal: what the horizontal axis shows.
        log: whether the vertical axis may be logarithmic (where the values span decades).
    """

    label: str
    sick: Curve
    mended: Curve
    mark: int | None = None
    horizontal: str = "step"
    log: bool = True


def draw(title: str, panels: Sequence[Panel], *, program: str, subtitle: str, sentence: str, about: str) -> str:
    """Return the SVG.

    Args:
        title: of the picture.
        panels: one or two.
        program: name of the sick program, for the legend.
        subtitle: what is wrong with it.
        sentence: what the rule says, under the panels.
        about: a sentence for those who cannot see it (``<desc>``).

    Raises:
        ValueError: there are no panels, or more than two.
    """
    if len(panels) not in (1, 2):
        raise ValueError(f"a picture has one or two panels, got {len(panels)}")
    said = textwrap.wrap(" ".join(sentence.split()), 124, max_lines=4, placeholder=" …")
    height = _BOTTOM + 48 + 15 * len(said)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="11" fill="{_INK}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(about)}</desc>",
        f'<rect x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="6" fill="#fff" stroke="#d0d7de"/>',
        text(18, 28, title, 'font-size="16" font-weight="bold"'),
        text(18, 47, textwrap.shorten(subtitle, 118, placeholder=" …"), f'fill="{_GREY}"'),
        *_legend(program, panels),
    ]
    edges = [(62, 372), (448, 742)] if len(panels) == 2 else [(62, 742)]
    steps = np.concatenate(
        [np.empty(0), *(x for p in panels if p.horizontal == "step" for x in (p.sick.x, p.mended.x))]
    )
    for panel, (left, right) in zip(panels, edges, strict=True):
        ranged = steps if panel.horizontal == "step" else np.concatenate([panel.sick.x, panel.mended.x])
        parts += _panel(panel, Axis.over(ranged, left, right, tight=True))
    parts += [text(18, _BOTTOM + 49 + 15 * i, line) for i, line in enumerate(said)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, style: str = "") -> str:
    """Return a text element."""
    return f'<text x="{number(x)}" y="{number(y)}"{" " + style if style else ""}>{escape(words)}</text>'


def escape(words: str) -> str:
    """Return one line as XML may hold it, without characters that XML forbids or that nobody sees."""
    return html.escape(printable(words), quote=False)


def number(x: float) -> str:
    """Return a coordinate with one digit behind the point at most."""
    return f"{x:.1f}".removesuffix(".0")


def thinned(curve: Curve) -> tuple[Floats, Floats, Floats, Floats]:
    """Return x, median, lowest and highest value of each of at most 60 bins (of every point up to 120).

    A bin without any finite value is NaN.
    """
    y = np.where(curve.finite, curve.y, np.nan)
    if len(y) <= 2 * _MOST_BINS:
        return curve.x, y, y, y
    rows = [(x, v[~np.isnan(v)]) for x, v in _bins(curve.x, y)]
    columns = [(x.mean(), np.median(v), v.min(), v.max()) if len(v) else (x.mean(), *3 * [np.nan]) for x, v in rows]
    bins = np.array(columns)
    return bins[:, 0], bins[:, 1], bins[:, 2], bins[:, 3]


def _bins(x: Floats, y: Floats) -> Iterator[tuple[Floats, Floats]]:
    yield from zip(np.array_split(x, _MOST_BINS), np.array_split(y, _MOST_BINS), strict=True)


def _legend(program: str, panels: Sequence[Panel]) -> Iterator[str]:
    x, y = 18.0, 69
    items = [(f"sick: {short_site(program, 40)}", f'stroke="{SICK}" stroke-width="2.4"')]
    items.append(("mended", f'stroke="{MENDED}" stroke-width="2.4"'))
    marks = [p.mark for p in panels if p.mark is not None]
    items += [(f"found at step {marks[0]}", f'stroke="{_GREY}" stroke-dasharray="4 3"')] if marks else []
    for words, style in items:
        yield f'<path d="M{number(x)} {y - 4}h20" {style}/>'
        yield text(x + 26, y, words)
        x += 46 + 5.6 * len(words)
    if any(not c.finite.all() for p in panels for c in (p.sick, p.mended)):
        yield text(x, y, "× NaN or infinite")


def _panel(panel: Panel, across: Axis) -> Iterator[str]:
    curves = (panel.mended, MENDED, 1.8, "mended"), (panel.sick, SICK, 2.2, "sick")
    seen = [thinned(c) for c, *_ in curves]
    values = np.concatenate([v for _, middle, low, high in seen for v in (middle, low, high)])
    left, right = across.start, across.end
    upward = Axis.over(values[~np.isnan(values)], _BOTTOM, _TOP, log=panel.log)
    yield text(left - 44, _TOP - 9, printable(panel.label, limit=50), 'font-weight="bold"')
    yield f'<g fill="{_GREY}" font-size="10">'
    for tick in upward.ticks():
        y = number(upward.place(tick))
        yield f'<path d="M{number(left)} {y}H{number(right)}" stroke="{_GRID}"/>'
        yield text(left - 6, float(y) + 3.5, upward.text(tick), 'text-anchor="end"')
    for tick in across.ticks(whole=True):
        yield text(across.place(tick), _BOTTOM + 14, tick_text(tick), 'text-anchor="middle"')
    yield text((left + right) / 2, _BOTTOM + 27, panel.horizontal, 'text-anchor="middle"')
    yield "</g>"
    if panel.mark is not None and across.low <= panel.mark <= across.high:
        x = number(across.place(panel.mark))
        yield f'<path d="M{x} {_TOP - 4}V{_BOTTOM}" stroke="{_GREY}" stroke-dasharray="4 3"/>'
    for (curve, colour, width, name), points in zip(curves, seen, strict=True):
        yield from _line(points, across, upward, f'stroke="{colour}" stroke-width="{width}"', colour)
        yield from _crosses(curve, across, colour, _TOP + (4 if name == "sick" else 14))
    absent = [(name, colour) for curve, colour, _, name in curves if not len(curve.y)]
    for i, (name, colour) in enumerate(absent):
        yield text(left + 10, _TOP + 16 + 14 * i, f"{name}: nothing to measure", f'fill="{colour}"')


def _line(points: tuple[Floats, ...], across: Axis, upward: Axis, style: str, colour: str) -> Iterator[str]:
    x, middle, low, high = points
    xs, ys = across.places(x), upward.places(middle)
    runs = np.split(np.arange(len(x)), np.flatnonzero(np.diff(np.isnan(middle))) + 1) if len(x) else []
    runs = [r for r in runs if not np.isnan(middle[r[0]])]
    for run in runs:
        if np.any(high[run] > low[run]):
            edge = [*zip(xs[run], upward.places(high[run]), strict=True)]
            edge += [*zip(xs[run][::-1], upward.places(low[run])[::-1], strict=True)]
            yield f'<path d="{_path(edge)}Z" fill="{colour}" fill-opacity=".18"/>'
    lines = "".join(_path([*zip(xs[r], ys[r], strict=True)]) for r in runs)
    if lines:
        yield f'<path d="{lines}" fill="none" stroke-linejoin="round" stroke-linecap="round" {style}/>'
    if 0 < len(x) <= _DOTS:
        dots = "".join(f"M{number(a)} {number(b)}h0" for r in runs for a, b in zip(xs[r], ys[r], strict=True))
        if dots:
            yield f'<path d="{dots}" stroke="{colour}" stroke-width="5" stroke-linecap="round"/>'


def _crosses(curve: Curve, across: Axis, colour: str, y: float) -> Iterator[str]:
    last, strokes = -np.inf, ""
    for x in across.places(curve.x[~curve.finite]):
        if x - last >= 9:
            strokes += f"M{number(x - 3)} {number(y - 3)}l6 6m0-6l-6 6"
            last = x
    if strokes:
        yield f'<path d="{strokes}" stroke="{colour}" stroke-width="1.5"/>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    pairs = [f"{number(x)} {number(y)}" for x, y in points]
    return f"M{pairs[0]}" + ("L" + " ".join(pairs[1:]) if len(pairs) > 1 else "h0")
