"""A picture of one statistic: a row per site, a column per sampled step; numpy and pillow, no plotting library."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from lightning_diag.records import Floats, Table
from lightning_diag.sinks.wording import printable, short_site

Pixels = npt.NDArray[np.uint8]  # shape (height, width, 3)

_GRID_WIDTH = 640
_MOST_ROWS, _MOST_COLUMNS = 80, 160
_SHADES = 160  # colours of the map in the palette
_TOP, _BOTTOM, _GAP, _BAR, _RIGHT = 30, 38, 8, 14, 64
_ABSENT = (225, 225, 225)
_INK = (40, 40, 40)
_RED = (0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943)
_GREEN = (0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604)
_BLUE = (0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973)


@dataclass(frozen=True)
class Heatmap:
    """How a statistic is drawn: its tag and title, and the values at both ends of the colours.

    ``low`` and ``high`` are decades where ``decades`` is set; without them the ends follow the data.
    """

    tag: str
    title: str
    decades: bool = False
    low: float | None = None
    high: float | None = None


HEATMAPS = {
    "update/ratio": Heatmap("update_ratio", "update-to-weight ratio (healthy: about 1e-3)", True, -6.0, 0.0),
    "activation/zero_fraction": Heatmap("zero_fraction", "share of zeros in the activations", False, 0.0, 1.0),
    "activation/dead_fraction": Heatmap("dead_fraction", "share of dead units", False, 0.0, 1.0),
    "gradient/rms": Heatmap("gradient_rms", "root mean square of the gradients", True),
}


def turbo(x: Floats) -> Pixels:
    """Return the colours of numbers from 0 to 1: dark blue, green, yellow, dark red; grey where absent.

    Source: polynomial fit of the Turbo colour map by R. Du, after A. Mikhailov (2019).
    """
    inside = np.round(np.clip(np.nan_to_num(x, nan=0.0), 0.0, 1.0) * (_SHADES - 1)) / (_SHADES - 1)
    powers = inside[..., None] ** np.arange(6)
    colours = np.stack([powers @ np.array(c) for c in (_RED, _GREEN, _BLUE)], axis=-1)
    colours = np.where(np.isnan(x)[..., None], np.array(_ABSENT) / 255, colours)
    pixels: Pixels = np.round(255 * np.clip(colours, 0.0, 1.0)).astype(np.uint8)
    return pixels


def draw(table: Table, heatmap: Heatmap) -> Pixels | None:
    """Return the picture of a table, shape (height, width, 3); None if it holds no value.

    Sites without a value are left out; more sites than there is room for are thinned evenly, and the title says so.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = np.log10(table.matrix) if heatmap.decades else table.matrix
    rows = np.flatnonzero((~np.isnan(matrix)).any(0)) if len(table) else np.zeros(0, dtype=np.int64)
    if not len(rows):
        return None
    low, high = _ends(matrix, heatmap)
    title = heatmap.title if len(rows) <= _MOST_ROWS else f"{heatmap.title}; {_MOST_ROWS} of {len(rows)} sites"
    rows = rows[_evenly(len(rows), _MOST_ROWS)]
    columns = _evenly(len(table), _MOST_COLUMNS)
    scaled = (matrix[np.ix_(columns, rows)].T - low) / (high - low)
    tall = 18 if len(rows) <= 24 else 12
    cells = np.kron(turbo(scaled), np.ones((tall, max(_GRID_WIDTH // len(columns), 1), 1), dtype=np.uint8))
    return _framed(cells, title, [table.sites[i] for i in rows], table.steps[columns].tolist(), heatmap, (low, high))


def encode(image: Pixels) -> bytes:
    """Return a picture of :func:`draw` as PNG, whose palette holds the colours and the greys that it uses."""
    shades = turbo(np.linspace(0, 1, _SHADES))
    greys = np.repeat(np.linspace(0, 255, 24).round().astype(np.uint8)[:, None], 3, axis=1)
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([shades, greys, np.array([_ABSENT], dtype=np.uint8)]).ravel().tolist())
    file = io.BytesIO()
    Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE).save(file, format="PNG")
    return file.getvalue()


def _evenly(n: int, most: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _ends(matrix: Floats, heatmap: Heatmap) -> tuple[float, float]:
    if heatmap.low is not None and heatmap.high is not None:
        return heatmap.low, heatmap.high
    finite = matrix[np.isfinite(matrix)]
    low, high = np.percentile(finite, [1, 99]).tolist() if len(finite) else (0.0, 1.0)
    return float(np.floor(low)), float(max(np.ceil(high), np.floor(low) + 2))


def _framed(
    cells: Pixels, title: str, sites: list[str], steps: list[int], heatmap: Heatmap, ends: tuple[float, float]
) -> Pixels:
    """Return the cells with title, site names, steps and a bar that explains the colours."""
    small, font = _font(11), _font(13)
    names = [_drawable(short_site(s, 40)) for s in sites]
    left = int(max(small.getlength(n) for n in names)) + 2 * _GAP
    height, width = cells.shape[:2]
    page = Image.new("RGB", (left + width + 2 * _GAP + _BAR + _RIGHT, _TOP + max(height, 60) + _BOTTOM), "white")
    pen = ImageDraw.Draw(page)
    page.paste(Image.fromarray(cells), (left, _TOP))
    pen.text((left, _TOP // 2), title, _INK, font, anchor="lm")
    tall = height // len(names)
    for i, name in enumerate(names):
        pen.text((left - _GAP, _TOP + tall * i + tall // 2), name, _INK, small, anchor="rm")
    for i in sorted(set(np.linspace(0, len(steps) - 1, min(len(steps), 6)).round().astype(int).tolist())):
        x = left + width * (2 * i + 1) // (2 * len(steps))
        pen.line([(x, _TOP + height), (x, _TOP + height + 4)], _INK)
        pen.text((x, _TOP + height + 12), str(steps[i]), _INK, small, anchor="mm")
    pen.text((left + width // 2, _TOP + height + 27), "sampled optimizer steps", _INK, small, anchor="mm")
    bar = turbo(np.repeat(np.linspace(1, 0, max(height, 60))[:, None], _BAR, axis=1))
    page.paste(Image.fromarray(bar), (left + width + 2 * _GAP, _TOP))
    for share in (0.0, 0.5, 1.0):
        value = ends[0] + share * (ends[1] - ends[0])
        y = _TOP + int((1 - share) * (len(bar) - 1))
        label = f"{10**value:.0e}" if heatmap.decades else f"{100 * value:.0f} %"
        pen.text((left + width + 2 * _GAP + _BAR + 5, y), label, _INK, small, anchor="lm")
    return np.asarray(page)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this build of pillow has no FreeType, which the names in heatmaps need; install pillow")
    return font


def _drawable(text: str) -> str:
    """Return the text in characters that pillow's own font has."""
    return printable(text, "ascii")
