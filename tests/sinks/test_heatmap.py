from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lightning_diag.records import Table
from lightning_diag.sinks.heatmap import HEATMAPS, Heatmap, draw, encode, turbo

SHARE = Heatmap("share", "share", low=0.0, high=1.0)


def table(matrix: np.ndarray, name: str = "net.{}") -> Table:
    return Table(np.arange(len(matrix)) * 10, tuple(name.format(i) for i in range(matrix.shape[1])), matrix)


def colours(image: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(c) for c in image.reshape(-1, 3).tolist()}


def test_turbo_goes_from_dark_blue_over_green_to_dark_red_and_absent_is_grey() -> None:
    low, middle, high, absent, below, above = turbo(np.array([0.0, 0.5, 1.0, np.nan, -np.inf, np.inf])).tolist()
    assert low[2] > low[1]
    assert middle[1] > max(middle[0], middle[2])
    assert high[0] > 5 * high[2]
    assert len(set(absent)) == 1
    assert (below, above) == (low, high)


def test_rows_are_sites_from_top_to_bottom_and_columns_steps_from_left_to_right() -> None:
    image = draw(table(np.array([[0.0, 1.0], [1.0, 0.0], [np.nan, 0.0]])), SHARE)
    assert image is not None
    low, high, absent = (tuple(c) for c in turbo(np.array([0.0, 1.0, np.nan])).tolist())
    top, bottom = image[30 + 2], image[30 + 18 + 2]
    left = next(x for x in range(image.shape[1]) if tuple(top[x]) == low)
    middles = [left + 213 * i + 100 for i in range(3)]
    assert [tuple(top[x]) for x in middles] == [low, high, absent]
    assert [tuple(bottom[x]) for x in middles] == [high, low, low]


def test_nothing_measured_is_no_picture() -> None:
    assert draw(table(np.full((3, 2), np.nan)), SHARE) is None
    assert draw(table(np.zeros((0, 0))), SHARE) is None


@pytest.mark.parametrize("heatmap", HEATMAPS.values(), ids=list(HEATMAPS))
@pytest.mark.parametrize(("steps", "sites"), [(1, 1), (7, 30), (1000, 3), (40, 300)])
def test_any_size_gives_a_picture_of_bounded_size_that_reads_back(heatmap: Heatmap, steps: int, sites: int) -> None:
    rng = np.random.default_rng(0)
    image = draw(table(10.0 ** rng.uniform(-8, 1, (steps, sites)), "a.long/name[{}]é→"), heatmap)
    assert image is not None
    assert image.dtype == np.uint8
    assert image.shape[0] <= 1050
    assert image.shape[1] <= 1100
    again = np.asarray(Image.open(io.BytesIO(encode(image))).convert("RGB"))
    difference = np.abs(again.astype(int) - image).max(-1)
    assert int(difference.max()) <= 16  # text is antialiased: rounded to the palette's greys
    assert int(np.percentile(difference, 90)) <= 4
    assert again[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("value", [0.0, np.inf, -np.inf, 1e300, 5e-324])
@pytest.mark.parametrize("heatmap", HEATMAPS.values(), ids=list(HEATMAPS))
def test_extreme_values_have_a_colour(heatmap: Heatmap, value: float) -> None:
    if heatmap.decades and value < 0:
        value = 0.0  # a ratio and a root mean square are never negative
    image = draw(table(np.full((2, 2), value)), heatmap)
    assert image is not None
    assert len(colours(image)) > 10
