"""Learning rates over a run as a picture: SVG by hand, PNG by pillow."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_diag.schedules.drawing import caption, drawn_steps, samples

if TYPE_CHECKING:
    from lightning_diag.schedules.schedule import Schedule

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")  # Okabe and Ito
_WIDTH, _PLOT, _LEFT, _TOP, _LINE = 800, 300, 80, 16, 20


def write_picture(rows: Sequence[tuple[Schedule, float]], path: str | Path) -> Path:
    """Write the schedules with their base rates in one picture; return its path.

    Raises:
        ValueError: the path ends neither in .png nor in .svg, or there is nothing to draw.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"a picture is a .png or a .svg, got {str(path)!r}")
    if not rows:
        raise ValueError("nothing to draw: give at least one schedule")
    if path.suffix == ".svg":
        path.write_text(svg(rows), encoding="utf-8")
    else:
        _png(rows, path)
    return path


def _curves(rows: Sequence[tuple[Schedule, float]]) -> tuple[list[list[tuple[float, float]]], float, int]:
    """Return the points of every curve in pixels, the highest rate, and the last step."""
    seen = [[(t, lr * f) for t, f in samples(s, 600)] for s, lr in rows]
    top = max(y for curve in seen for _, y in curve) or 1.0
    last = max(drawn_steps(s) - 1 for s, _ in rows) or 1
    wide = _WIDTH - _LEFT - 20
    return [[(_LEFT + wide * t / last, _TOP + _PLOT * (1 - y / top)) for t, y in c] for c in seen], top, last


def _labels(top: float, last: int) -> list[tuple[float, float, str]]:
    """Return (x, y, text) of the numbers on the axes."""
    rates = [(4.0, _TOP + _PLOT * (1 - share) - 6, f"{top * share:.3g}") for share in (0.0, 0.5, 1.0)]
    right = _WIDTH - 20 - 8 * len(str(last))
    return [*rates, (float(_LEFT), _TOP + _PLOT + 6.0, "0"), (float(right), _TOP + _PLOT + 6.0, str(last)),
            (_WIDTH / 2, _TOP + _PLOT + 6.0, "step")]  # fmt: skip


def svg(rows: Sequence[tuple[Schedule, float]]) -> str:
    """Return the picture as SVG text."""
    curves, top, last = _curves(rows)
    height = _TOP + _PLOT + 32 + _LINE * len(rows)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" '
             f'font-size="12"><rect width="{_WIDTH}" height="{height}" fill="white"/>',
             f'<path d="M{_LEFT} {_TOP}V{_TOP + _PLOT}H{_WIDTH - 20}" fill="none" stroke="#888"/>']  # fmt: skip
    for i, (curve, (schedule, lr)) in enumerate(zip(curves, rows, strict=True)):
        color, y = _COLORS[i % len(_COLORS)], _TOP + _PLOT + 40 + _LINE * i
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="{_LEFT}" y="{y}" fill="{color}">{html.escape(caption(schedule, lr))}</text>')
    parts += [f'<text x="{x:.0f}" y="{y + 10:.0f}" fill="#444">{text}</text>' for x, y, text in _labels(top, last)]
    return "\n".join([*parts, "</svg>\n"])


def _png(rows: Sequence[tuple[Schedule, float]], path: Path) -> None:
    from PIL import Image, ImageDraw, ImageFont

    curves, top, last = _curves(rows)
    image = Image.new("RGB", (_WIDTH, _TOP + _PLOT + 32 + _LINE * len(rows)), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    draw.line([(_LEFT, _TOP), (_LEFT, _TOP + _PLOT), (_WIDTH - 20, _TOP + _PLOT)], fill="#888888")
    for i, (curve, (schedule, lr)) in enumerate(zip(curves, rows, strict=True)):
        color = _COLORS[i % len(_COLORS)]
        draw.line(curve, fill=color, width=2)
        draw.text((_LEFT, _TOP + _PLOT + 28 + _LINE * i), caption(schedule, lr), fill=color, font=font)
    for x, y, text in _labels(top, last):
        draw.text((x, y), text, fill="#444444", font=font)
    image.save(path)
