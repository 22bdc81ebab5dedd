"""From what the processes read in a step to one sample: parts merged, laid out in site order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lightning_diag.probes.readings import Key, Part, Row, Silence
from lightning_diag.statistics.histogram import BINS
from lightning_diag.statistics.moments import FIELDS, merge as merge_moments

_REPLICATED = ("gradient", "parameter", "update")  # the same on all ranks, unless sharded
_TOGETHER: dict[str, Callable[[Sequence[float]], Any]] = {  # how scalars merge; all others by their mean
    "activation/input_nonfinite": max,
    "total/eval_modules": max,
    "prediction/row_sum_min": min,
    "prediction/row_sum_max": max,
}


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


def shared(part: Part) -> Part:
    """Return what of a part the other ranks need: not what they have themselves (parameters, unless sharded)."""

    def needed(family: str, site: str) -> bool:
        return family not in _REPLICATED or site in part.sharded

    def kept(rows: dict[Key, Any]) -> dict[Key, Any]:
        return {key: row for key, row in rows.items() if needed(key[0].split("/")[0], key[1])}

    numel = {f: {s: n for s, n in sites.items() if needed(f, s)} for f, sites in part.numel.items()}
    return Part(numel, kept(part.moments), kept(part.bins), kept(part.scalars), part.silence)


def fingerprints(part: Part) -> dict[Key, float]:
    """Return two numbers of each parameter that every rank should hold alike: its mean and standard deviation."""
    found: dict[Key, float] = {}
    for (family, site), row in part.moments.items():
        if family == "parameter" and site not in part.sharded:
            found["replica/mean", site], found["replica/std", site] = float(row[0]), float(row[1])
    return found


def replica_differences(parts: Sequence[Part]) -> dict[str, float]:
    """Take the fingerprints out of the parts of all ranks; return parameter -> how far the ranks are apart.

    That is the largest difference of a mean or a standard deviation between two ranks, as a share of the largest root
    mean square of that parameter on any rank: exactly 0 where the replicas are the same.
    """
    taken = [{k: p.scalars.pop(k) for k in list(p.scalars) if k[0].startswith("replica/")} for p in parts]
    everywhere = [k for k in taken[0] if all(k in t for t in taken)] if taken else []
    table = {key: np.array([t[key] for t in taken]) for key in everywhere}
    out: dict[str, float] = {}
    with np.errstate(all="ignore"):
        for site in dict.fromkeys(site for _, site in everywhere):
            mean, std = table["replica/mean", site], table["replica/std", site]
            size = float(np.hypot(mean, std).max())
            apart = max(float(np.ptp(mean)), float(np.ptp(std)))
            out[site] = apart / size if size > 0 else 0.0
    return out


def completed(union: Part, own: Part, ranks: int) -> Part:
    """Return the union of all ranks' shared parts with the parameters that this rank has itself.

    Args:
        union: what was merged.
        own: this rank's part.
        ranks: number of ranks; the loss is the mean of theirs, so each saw gradients of outputs so many times larger.
    """
    out = Part(scalars=own.scalars | union.scalars, silence=union.silence)
    for family in dict.fromkeys((*own.numel, *union.numel)):
        ours, all_ranks = own.numel.get(family, {}), union.numel.get(family, {})
        numel = out.numel[family] = ours | all_ranks
        if family in _REPLICATED:
            numel.update({site: n for site, n in own.sharded.items() if site in numel})  # copies are counted once
    out.moments, out.bins = own.moments | union.moments, own.bins | union.bins
    for family, site in out.moments:
        if family == "activation_gradient":
            row = out.moments[family, site] = out.moments[family, site].copy()
            row[:4] /= ranks  # mean, std, min, max
    return out


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
            known = out.numel.setdefault(family, {})
            one = family in _REPLICATED and not sharded
            for site, numel in sites.items():
                known[site] = max(known.get(site, 0), numel) if one else known.get(site, 0) + numel
    _merge_rows(out, parts if sharded else [parts[0], *map(shared, parts[1:])])
    for statistic, site in dict.fromkeys(k for p in parts for k in p.scalars):
        numbers = [p.scalars[statistic, site] for p in parts if (statistic, site) in p.scalars]
        out.scalars[statistic, site] = float(_TOGETHER.get(statistic, np.mean)(numbers))
    for site in dict.fromkeys(s for p in parts for s in p.silence):
        out.silence[site] = _silent_together([p.silence[site] for p in parts if site in p.silence])
    return out


def _merge_rows(out: Part, parts: Sequence[Part]) -> None:
    """Merge the moments and bins, all sites at once."""
    moments = dict.fromkeys(k for p in parts for k in p.moments)
    none = np.full(len(FIELDS), np.nan)
    rows = np.array([[p.moments.get(k, none) for k in moments] for p in parts]).reshape(len(parts), -1, len(FIELDS))
    counts = [[p.numel[k[0]][k[1]] if k in p.moments else 0 for k in moments] for p in parts]
    out.moments = dict(zip(moments, merge_moments(rows, np.array(counts, dtype=np.float64)), strict=True))
    bins = dict.fromkeys(k for p in parts for k in p.bins)
    lowest = np.zeros(BINS + 2)
    lowest[1] = -np.inf
    tables = np.array([[p.bins.get(k, lowest) for k in bins] for p in parts]).reshape(len(parts), -1, BINS + 2)
    out.bins = dict(zip(bins, _added(tables), strict=True))


def _added(tables: Row) -> Row:
    """Add histograms, (parts, sites, 66) -> (sites, 66): all move to the highest top, what falls below goes near zero.

    The share of zeros is weighted by the number of elements counted.
    """
    sites, half = tables.shape[1], BINS // 2
    top = tables[..., 1].max(0)
    shift = np.minimum(top - tables[..., 1], half - 1).astype(np.int64)  # (parts, sites)
    total = tables[..., 2:].sum(-1)
    out = np.zeros((sites, BINS + 2))
    target = np.maximum(np.arange(half) - shift[..., None], 0) + np.arange(sites)[:, None] * half
    for columns in (slice(1 + half, 1, -1), slice(2 + half, None)):  # negative from near zero outward, positive
        added = np.bincount(target.ravel(), tables[..., columns].ravel(), minlength=sites * half)
        out[:, columns] = added.reshape(sites, half)
    with np.errstate(invalid="ignore"):
        share = np.where(total > 0, tables[..., 0] * total, 0.0).sum(0) / np.maximum(total.sum(0), 1.0)
    out[:, 0], out[:, 1] = share, top
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
