"""From what the processes read in a step to one sample: parts merged, laid out in site order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lightning_diag.probes.readings import Part, Row, Silence
from lightning_diag.statistics.histogram import BINS
from lightning_diag.statistics.moments import FIELDS, merge as merge_moments

_REPLICATED = ("gradient", "parameter", "update")  # the same on all ranks, unless sharded
_LARGEST = ("activation/input_nonfinite", "total/eval_modules")  # merged by maximum, other scalars by mean


@dataclass(frozen=True)
class BinCounts:
    """A histogram on the fixed grid of statistics/histogram.py, with the moments TensorBoard wants beside it."""

    counts: Row
    top: int
    minimum: float
    maximum: float
    total: float
    sum: float
    sum_squares: float


@dataclass
class Sample:
    """One sampled step: family -> sites, statistic -> row in site order, family -> site -> histogram."""

    sites: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, Row] = field(default_factory=dict)
    histograms: dict[str, dict[str, BinCounts]] = field(default_factory=dict)


def merged(parts: Sequence[Part], *, sharded: bool = False) -> Part:
    """Return what one process would have read of the union of all parts' data.

    Counts add up, extremes and moments merge, histograms add, a unit is silent only where it was so in every part.
    Parameters and their gradients are the same in every part, and taken from the first, unless ``sharded``.
    """
    if len(parts) == 1:
        return parts[0]
    out = Part()
    for part in parts:
        for family, sites in part.numel.items():
            for site, numel in sites.items():
                known = out.numel.setdefault(family, {})
                one = family in _REPLICATED and not sharded
                known[site] = max(known.get(site, 0), numel) if one else known.get(site, 0) + numel
    for key in dict.fromkeys(k for p in parts for k in p.moments):
        having = [p for p in parts if key in p.moments]
        if key[0] in _REPLICATED and not sharded:
            having = having[:1]
        rows = np.stack([p.moments[key] for p in having])[:, None]
        counts = np.array([[float(p.numel[key[0]][key[1]])] for p in having])
        out.moments[key] = rows[0, 0] if len(having) == 1 else merge_moments(rows, counts)[0]
        if key in having[0].bins:
            out.bins[key] = _added([p.bins[key] for p in having if key in p.bins])
    for statistic, site in dict.fromkeys(k for p in parts for k in p.scalars):
        numbers = [p.scalars[statistic, site] for p in parts if (statistic, site) in p.scalars]
        out.scalars[statistic, site] = float(max(numbers) if statistic in _LARGEST else np.mean(numbers))
    for site in dict.fromkeys(s for p in parts for s in p.silence):
        out.silence[site] = _silent_together([p.silence[site] for p in parts if site in p.silence])
    return out


def _added(rows: Sequence[Row]) -> Row:
    """Add histograms: those with a lower top move to the highest, what falls below goes near zero."""
    top = max(int(r[1]) for r in rows)
    out = np.zeros(BINS + 2)
    out[1] = top
    total = sum(float(r[2:].sum()) for r in rows)
    half = BINS // 2
    for r in rows:
        shift = min(top - int(r[1]), half - 1)
        negative, positive = r[2 : 2 + half], r[2 + half :]
        for target, values in ((out[2 : 2 + half][::-1], negative[::-1]), (out[2 + half :], positive)):
            target[0] += values[: shift + 1].sum()  # index 0 is the near-zero bin of either sign
            target[1 : half - shift] += values[shift + 1 :]
        out[0] += r[0] * float(r[2:].sum())
    out[0] /= max(total, 1.0)
    return out


def _silent_together(parts: Sequence[Silence]) -> Silence:
    same = [p for p in parts if p.silent.shape == parts[0].silent.shape]
    biases = [p.without_bias for p in same if p.without_bias is not None]
    return Silence(
        np.logical_and.reduce([p.silent for p in same]),
        sum(p.examples for p in same),
        np.logical_or.reduce(biases) if biases else None,
    )


def arranged(part: Part, *, histograms: bool) -> Sample:
    """Return the part's numbers in site order, with what follows from them (rms, zero fraction, ratio, norm)."""
    out = Sample(sites={family: list(sites) for family, sites in part.numel.items()})
    where = {f: {s: i for i, s in enumerate(sites)} for f, sites in part.numel.items()}

    def row(statistic: str) -> Row:
        family = statistic.split("/", 1)[0]
        return out.values.setdefault(statistic, np.full(len(where[family]), np.nan))

    for family in part.numel:
        table = np.full((len(where[family]), len(FIELDS)), np.nan)
        for (f, site), numbers in part.moments.items():
            if f == family:
                table[where[f][site]] = numbers
        if not np.isnan(table).all():
            out.values |= {f"{family}/{name}": table[:, k] for k, name in enumerate(FIELDS)}
            out.values[f"{family}/rms"] = np.hypot(table[:, 0], table[:, 1])
    for (family, site), bins in part.bins.items():
        row(f"{family}/zero_fraction")[where[family][site]] = bins[0]
        if histograms:
            out.histograms.setdefault(family, {})[site] = _bin_counts(part, family, site, bins)
    for (statistic, site), number in part.scalars.items():
        row(statistic)[where[statistic.split("/", 1)[0]][site]] = number
    _derive(out, part)
    return out


def _bin_counts(part: Part, family: str, site: str, bins: Row) -> BinCounts:
    mean, std, low, high = part.moments[family, site][:4].tolist()
    n = float(part.numel[family][site])
    return BinCounts(bins[2:], int(bins[1]), low, high, n, mean * n, (mean * mean + std * std) * n)


def _derive(out: Sample, part: Part) -> None:
    """Divide the loss scale out of activation gradients; add the update ratio and the norm of all gradients."""
    values = out.values
    scale = float(values.get("total/gradient_scale", np.ones(1))[0])
    for name in ("mean", "std", "min", "max", "rms"):
        if scale != 1.0 and f"activation_gradient/{name}" in values:
            values[f"activation_gradient/{name}"] /= scale
    if "update/rms" in values and out.sites["update"] == out.sites["parameter"]:
        with np.errstate(all="ignore"):
            ratio = values["update/rms"] / values["parameter/rms"]
        values["update/ratio"] = np.where(np.isfinite(ratio), ratio, np.nan)
    if "gradient/rms" in values:
        numel = np.array(list(part.numel["gradient"].values()), dtype=np.float64)
        out.sites.setdefault("total", [""])
        values["total/gradient_norm"] = np.sqrt(np.nansum(numel * np.square(values["gradient/rms"]))).reshape(1)
