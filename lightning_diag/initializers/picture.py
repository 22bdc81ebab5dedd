"""Lines over depth, drawn with pillow: no plotting library is needed."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from lightning_diag.initializers.signals import LayerSignal

_WIDTH, _HEIGHT, _LEFT, _GAP, _TOP, _BOTTOM = 300, 220, 56, 34, 34, 40
_ROW: Final = 20  # height of a line of the legend
_INK, _GREY = (40, 40, 40), (222, 222, 222)
_COLOURS: Final = (
    (31, 119, 180),
    (214, 96, 20),
    (44, 140, 60),
    (190, 40, 60),
    (120, 80, 170),
    (110, 90, 70),
    (0, 140, 150),
)
_FLOOR, _CEILING = 1e-8, 1e8  # what is smaller or larger is drawn at the edge


@dataclass(frozen=True)
class Curves:
    """The layers of one initialization, with the label of its lines."""

    label: str
    layers: Sequence[LayerSignal]


@dataclass(frozen=True)
class _Panel:
    title: str
    lines: tuple[tuple[float, ...], ...]
    decades: bool


def draw(curves: Sequence[Curves]) -> bytes:
    """Return a PNG of three panels: RMS of activations, share at 0 or saturated, RMS of gradients.

    Raises:
        ValueError: there is no layer to draw.
    """
    if not any(c.layers for c in curves):
        raise ValueError("no layer was seen: nothing to draw")
    panels = (
        _Panel("RMS of activations", tuple(tuple(s.rms for s in c.layers) for c in curves), True),
        _Panel("share at 0 or saturated", tuple(tuple(_stuck(s) for s in c.layers) for c in curves), False),
        _Panel("RMS of gradients", tuple(tuple(s.gradient for s in c.layers) for c in curves), True),
    )
    measured = [p for p in panels if any(math.isfinite(v) for line in p.lines for v in line)]
    height = _TOP + _HEIGHT + _BOTTOM + _ROW * len(curves) + 10
    page = Image.new("RGB", ((_LEFT + _WIDTH) * len(measured) + _GAP, height), "white")
    pen = ImageDraw.Draw(page)
    for i, panel in enumerate(measured):
        _draw_panel(pen, panel, i * (_LEFT + _WIDTH) + _LEFT)
    for i, c in enumerate(curves):
        y = _TOP + _HEIGHT + _BOTTOM + _ROW * i + _ROW // 2
        pen.line([(_LEFT, y), (_LEFT + 24, y)], _colour(i), 3)
        pen.text((_LEFT + 32, y), c.label.encode("ascii", "replace").decode(), _INK, _font(12), anchor="lm")
    file = io.BytesIO()
    page.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _draw_panel(pen: ImageDraw.ImageDraw, panel: _Panel, left: int) -> None:
    width, small = _WIDTH - _GAP, _font(11)
    low, high = _ends(panel)
    most = max(len(line) for line in panel.lines)
    pen.text((left, _TOP // 2), panel.title, _INK, _font(13), anchor="lm")
    for tick in _ticks(panel, low, high):
        y = _TOP + _HEIGHT * (1 - (tick - low) / (high - low))
        pen.line([(left, y), (left + width, y)], _GREY)
        label = f"1e{tick:.0f}" if panel.decades else f"{100 * tick:.0f} %"
        pen.text((left - 6, y), label, _INK, small, anchor="rm")
    for i in sorted({round(k * (most - 1) / 5) for k in range(6)}):
        x = left + _x(i, most, width)
        pen.text((x, _TOP + _HEIGHT + 12), str(i + 1), _INK, small, anchor="mm")
    pen.text((left + width / 2, _TOP + _HEIGHT + 27), "layer, in order of execution", _INK, small, anchor="mm")
    for number, line in enumerate(panel.lines):
        points = [
            (left + _x(i, most, width), _TOP + _HEIGHT * (1 - (_at(v, panel.decades) - low) / (high - low)))
            for i, v in enumerate(line)
            if math.isfinite(v)
        ]
        if len(points) > 1:
            pen.line(points, _colour(number), 2)
        for x, y in points:
            pen.ellipse([x - 3, y - 3, x + 3, y + 3], _colour(number))


def _stuck(s: LayerSignal) -> float:
    """Return the share of activations at 0 or on a flat part; only sigmoids and their like have the second."""
    return s.zero if math.isnan(s.saturated) else max(s.zero, s.saturated)


def _at(value: float, decades: bool) -> float:
    return math.log10(min(max(value, _FLOOR), _CEILING)) if decades else value


def _ends(panel: _Panel) -> tuple[float, float]:
    if not panel.decades:
        return 0.0, 1.0
    values = [_at(v, True) for line in panel.lines for v in line if math.isfinite(v)]
    low, high = math.floor(min(values)), math.ceil(max(values))
    return float(low), float(max(high, low + 2))


def _ticks(panel: _Panel, low: float, high: float) -> list[float]:
    if not panel.decades:
        return [0.0, 0.25, 0.5, 0.75, 1.0]
    step = max(1, math.ceil((high - low) / 6))
    return [float(t) for t in range(int(low), int(high) + 1, step)]


def _x(i: int, most: int, width: int) -> float:
    return width * i / (most - 1) if most > 1 else width / 2


def _colour(number: int) -> tuple[int, int, int]:
    return _COLOURS[number % len(_COLOURS)]


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this build of pillow has no FreeType, which the picture needs; install pillow")
    return font
