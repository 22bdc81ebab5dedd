"""The table of preprocessings: what is subtracted, by what is divided, and from which statistics."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

from lightning_diag.preprocessing.moments import Level

How = Literal["centre", "standardize", "range", "pca", "zca"]


@dataclass(frozen=True)
class PreprocessingRow:
    """One kind of preprocessing.

    Attributes:
        name: what users call it.
        how: what is done with the statistics.
        level: what has statistics of its own: everything together, each channel, each element of a sample.
        formula: what it computes.
        use: what it is for.
        source: where it is from.
    """

    name: str
    how: How
    level: Level
    formula: str
    use: str
    source: str


_SLIDES: Final = "training_neural_networks, data preprocessing"
PREPROCESSINGS: Final[tuple[PreprocessingRow, ...]] = (
    PreprocessingRow("mean", "centre", "all", "x - mean of all numbers", "anything", _SLIDES),
    PreprocessingRow("mean_image", "centre", "element", "x - mean of each element", "images of one size (AlexNet)",
                     _SLIDES),
    PreprocessingRow("channel_mean", "centre", "channel", "x - mean of its channel", "images (VGG)", _SLIDES),
    PreprocessingRow("channel", "standardize", "channel", "(x - mean) / std of its channel", "images, tables",
                     "optimization_revisited, standard image normalization"),
    PreprocessingRow("feature", "standardize", "element", "(x - mean) / std of each element", "tables",
                     "better_optimisation, standardised input"),
    PreprocessingRow("minmax", "range", "channel", "(x - min) / (max - min) of its channel", "bounded inputs",
                     "Han, Kamber and Pei, Data Mining, 3.5.2"),
    PreprocessingRow("pca", "pca", "element", "(x - mean) U / sqrt(S + eps), decorrelated", "small inputs", _SLIDES),
    PreprocessingRow("zca", "zca", "element", "(x - mean) U / sqrt(S + eps) U^T, nearest to x", "small images",
                     "Krizhevsky 2009, appendix A"),
)  # fmt: skip
TARGETS: Final[tuple[PreprocessingRow, ...]] = (
    PreprocessingRow("standardize", "standardize", "element", "(y - mean) / std of each output", "regression",
                     "LeCun et al. 1998, 4.5"),
    PreprocessingRow("minmax", "range", "element", "(y - min) / (max - min) of each output", "bounded regression",
                     "Han, Kamber and Pei, Data Mining, 3.5.2"),
)  # fmt: skip
MISSING: Final = ("refuse", "mean", "keep")


def preprocessing_row(name: str, table: tuple[PreprocessingRow, ...] = PREPROCESSINGS) -> PreprocessingRow:
    """Return the row of that name.

    Raises:
        ValueError: no such row; the message has the names and the nearest one.
    """
    found = next((row for row in table if row.name == name), None)
    if found is None:
        raise unknown(
            "preprocessing" if table is PREPROCESSINGS else "target preprocessing", name, [r.name for r in table]
        )
    return found


def unknown(what: str, got: object, names: list[str]) -> ValueError:
    """Return the error for a name that is not allowed, with the nearest one that is."""
    near = get_close_matches(str(got).lower(), names, n=1, cutoff=0.5)
    return ValueError(
        f"{what} {got!r} is none of {', '.join(names)}" + (f"; did you mean {near[0]!r}?" if near else "")
    )
