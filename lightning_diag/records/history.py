"""The measurements of one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_diag.records import jsonlines
from lightning_diag.records.parts import Floats, Ints, Layer, Points, Sample, Series, Stage, Table
from lightning_diag.records.written import Written, matrix_of

_MOST_LINES = 256  # lines that wait for a writer
_MOST_LAYERS = 20_000
_HEAD = 32  # first samples and points that are never thinned
_DIGITS = 6  # significant digits kept, in memory as on disk, so that both are judged alike


class History:
    """The measurements of one run, bounded in memory by thinning.

    Args:
        run: JSON-able facts about the run (versions, batch size, optimizers, steps planned and taken, ...).
        max_samples: samples kept; beyond it they are thinned to an even spacing (the first 32 and the latest stay).
        max_points: points kept in each series, thinned likewise.

    Example:
        >>> history = History()
        >>> history.set_sites("activation", ["net.0", "net.1"])
        >>> history.add_sample(0, 0, {"activation/rms": [1.0, 0.5]})
        >>> history.add_points("loss", [0, 1], [2.3, 2.2])
        >>> history.table("activation/rms").matrix.tolist()
        [[1.0, 0.5]]
        >>> history["activation/rms", "net.1"].values.tolist(), history.series("loss").steps.tolist()
        ([0.5], [0, 1])
    """

    def __init__(
        self, run: Mapping[str, Any] | None = None, *, max_samples: int = 2000, max_points: int = 16_384
    ) -> None:
        self.run: dict[str, Any] = dict(run or {})
        self.layers: tuple[Layer, ...] = ()
        self.max_samples, self.max_points = max_samples, max_points
        self.writable = True  # whether lines are kept for a writer (not while a file is read)
        self.generation = 0  # grows when older content changed, so that a writer knows to write anew
        self._samples: list[Sample] = []
        self._points: dict[tuple[Stage, str], Points] = {}
        self._sites: dict[str, list[tuple[str, ...]]] = {}  # family -> the site lists it ever had
        self._current: dict[str, int] = {}  # family -> which of them holds now
        self._log: list[dict[str, Any]] = []  # lines not yet taken by a writer
        self._written: dict[str, Any] = {}  # facts about the run that a writer has
        self._tables: dict[tuple[str, Stage], Table] = {}
        self._names: tuple[str, ...] | None = None  # of the statistics, once asked for

    # -- filling -----------------------------------------------------------------------------------------

    def set_layers(self, layers: Sequence[Layer]) -> None:
        """State the layers in order of execution; those of earlier steps that are not among them stay, behind."""
        now = {x.site: x for x in layers}
        known = {x.site: x for x in self.layers}
        if any(known.get(site) != x for site, x in now.items()) and len(known) < _MOST_LAYERS:
            self.layers = (*now.values(), *(x for site, x in known.items() if site not in now))
            self._note(jsonlines.layers_line(self.layers))

    def set_sites(self, family: str, sites: Sequence[str]) -> None:
        """State the site order of the statistics ``family/...`` from the next sample on."""
        names, versions = tuple(sites), self._sites.setdefault(family, [])
        if len(set(names)) != len(names):
            raise ValueError(f"sites of {family!r} must be unique, got {sorted(names)}")
        if family not in self._current or versions[self._current[family]] != names:
            if names not in versions:
                versions.append(names)
            self._current[family] = versions.index(names)
            self._note({"sites": {family: list(names)}})

    def add_sample(self, step: int, epoch: int, values: Mapping[str, npt.ArrayLike], *, stage: Stage = "train") -> None:
        """Add one sampled step: statistic -> values in site order (NaN where absent).

        Raises:
            ValueError: a statistic's family has no sites, or their numbers differ.
        """
        rows: dict[str, Floats] = {}
        versions: dict[str, int] = {}
        for name, row in values.items():
            family = name.split("/", 1)[0]
            if family not in self._sites:
                raise ValueError(f"no sites stated for {name!r}; call set_sites({family!r}, ...) first")
            rows[name] = np.asarray(row, dtype=np.float64).ravel()
            versions[family] = self._current[family]
            expected = len(self._sites[family][self._current[family]])
            if len(rows[name]) != expected:
                raise ValueError(f"{name!r} has {len(rows[name])} values for {expected} sites of {family!r}")
        if rows:
            together = _rounded(np.concatenate(list(rows.values())))
            ends = np.cumsum([len(r) for r in rows.values()])
            rows = dict(zip(rows, np.split(together, ends[:-1]), strict=True))
        self._append(Sample(int(step), int(epoch), stage, versions, rows))

    def add_written(self, step: int, epoch: int, values: Written, *, stage: Stage = "train") -> None:
        """Add one sampled step as a file has it; its numbers are parsed when a table is asked for.

        Raises:
            ValueError: a statistic's family has no sites, or their numbers differ.
        """
        versions: dict[str, int] = {}
        for name in values:
            family = name.split("/", 1)[0]
            if family not in versions:
                if family not in self._sites:
                    raise ValueError(f"no sites stated for {name!r}")
                versions[family] = self._current[family]
            expected = len(self._sites[family][versions[family]])
            if (n := values.count(name)) != expected:
                raise ValueError(f"{name!r} has {n} values for {expected} sites of {family!r}")
        self._append(Sample(step, epoch, stage, versions, values))

    def _append(self, sample: Sample) -> None:
        self._samples.append(sample)
        if self.writable:
            self._note(jsonlines.sample_line(sample))
        self._forget()
        if len(self._samples) > self.max_samples:
            kept = _thinned(np.array([s.step for s in self._samples]))
            self._samples = [self._samples[i] for i in kept]
            self.generation += 1
            self._forget()

    def add_points(self, name: str, steps: Sequence[int], values: npt.ArrayLike, *, stage: Stage = "train") -> None:
        """Add points of a series that exists at every step (``loss``, ``metric/val_acc``, ``learning_rate/0``)."""
        if len(steps) != np.size(values):
            raise ValueError(f"{name!r}: {len(steps)} steps for {np.size(values)} values")
        if not len(steps):
            return
        numbers = np.asarray(values, dtype=np.float64)
        rounded = _rounded(numbers) if self.writable else numbers  # a file holds rounded ones
        points = self._points.setdefault((stage, name), Points())
        points.extend(np.asarray(steps, dtype=np.int64), rounded)
        if self.writable:
            self._note(jsonlines.points_line(stage, name, np.asarray(steps), rounded))
        if points.n > self.max_points:
            points.keep(_thinned(points.steps))
            self.generation += 1

    def update_run(self, **facts: Any) -> None:
        """Add or change facts about the run."""
        self.run.update(facts)

    def _note(self, line: dict[str, Any]) -> None:
        """Keep a line for a writer; where none takes them they do not pile up (a late writer writes all anew)."""
        if not self.writable:
            return
        if len(self._log) >= _MOST_LINES:
            self._log.clear()
            self.generation += 1
        self._log.append(line)

    def _forget(self) -> None:
        """Drop what was made of the samples."""
        self._tables.clear()
        self._names = None

    def truncate(self, step: int) -> None:
        """Forget all that was seen at ``step`` or later (a resumed run takes those steps again)."""
        self._samples = [s for s in self._samples if s.step < step]
        for p in self._points.values():
            p.keep(np.flatnonzero(p.steps < step))
        self._forget()
        self.generation += 1

    # -- reading -----------------------------------------------------------------------------------------

    def table(self, statistic: str, stage: Stage = "train") -> Table:
        """Return one statistic over all samples and sites of a stage (empty if it was never taken)."""
        if (statistic, stage) not in self._tables:
            self._tables[statistic, stage] = self._assemble(statistic, stage)
        return self._tables[statistic, stage]

    def _assemble(self, statistic: str, stage: Stage) -> Table:
        family = statistic.split("/", 1)[0]
        taken = [s for s in self._samples if s.stage == stage and statistic in s.values]
        used = sorted({s.versions[family] for s in taken})
        lists = [self._sites[family][v] for v in used]
        steps = np.array([s.step for s in taken], dtype=np.int64)
        if len(used) == 1:
            return Table(steps, lists[0], matrix_of([s.values for s in taken], statistic))
        sites = tuple(dict.fromkeys(name for names in reversed(lists) for name in names))
        column = {name: j for j, name in enumerate(sites)}
        where = {v: np.array([column[n] for n in names], dtype=np.int64) for v, names in zip(used, lists, strict=True)}
        matrix = np.full((len(taken), len(sites)), np.nan)
        for i, s in enumerate(taken):
            matrix[i, where[s.versions[family]]] = s.values[statistic]
        return Table(steps, sites, matrix)

    def series(self, name: str, stage: Stage = "train") -> Series:
        """Return a per-step series; of length 0 if there is none."""
        p = self._points.get((stage, name))
        if p is None:
            return Series(np.empty(0, dtype=np.int64), np.empty(0))
        order = np.argsort(p.steps, kind="stable")
        return Series(p.steps[order], p.values[order])

    def __getitem__(self, key: tuple[str, str]) -> Series:
        """Return ``history[statistic, site]`` over the training samples, absent values left out.

        Raises:
            KeyError: the site has no such statistic; the message lists what there is.
        """
        statistic, site = key
        table = self.table(statistic)
        if site not in table.sites:
            known = ", ".join(table.sites[:8]) or "none"
            raise KeyError(f"no {statistic!r} at {site!r}; statistics: {', '.join(self.statistics)}; sites: {known}")
        column = table.matrix[:, table.sites.index(site)]
        seen = ~np.isnan(column)
        return Series(table.steps[seen], column[seen])

    def tail(self, samples: int) -> History:
        """Return a history of the last ``samples`` samples and all points, sharing their memory."""
        part = History()
        part.run, part.layers, part._points, part._sites = self.run, self.layers, self._points, self._sites
        part._samples = self._samples[-samples:]
        return part

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the sampled statistics."""
        if self._names is None:
            self._names = tuple(dict.fromkeys(name for s in self._samples for name in s.values))
        return self._names

    def series_names(self, stage: Stage = "train") -> tuple[str, ...]:
        """Names of the per-step series of a stage."""
        return tuple(name for s, name in self._points if s == stage)

    @property
    def steps(self) -> Ints:
        """The sampled training steps, shape (n,)."""
        return np.array([s.step for s in self._samples if s.stage == "train"], dtype=np.int64)

    @property
    def epochs(self) -> Ints:
        """The epoch of every sampled training step, shape (n,)."""
        return np.array([s.epoch for s in self._samples if s.stage == "train"], dtype=np.int64)

    def layer(self, site: str) -> Layer | None:
        """Return what is known of a site, None if it is no observed layer."""
        return next((x for x in self.layers if x.site == site), None)

    def __len__(self) -> int:
        return len(self._samples)

    def __bool__(self) -> bool:
        return bool(self._samples or self._points)

    def __repr__(self) -> str:
        return f"History({len(self._samples)} samples, {len(self.layers)} layers, {len(self.statistics)} statistics)"

    # -- JSON Lines --------------------------------------------------------------------------------------

    def new_lines(self) -> list[str]:
        """Return, and forget, the lines added since the last call."""
        changed = {k: v for k, v in self.run.items() if k not in self._written or self._written[k] != v}
        if changed:
            self._written |= changed
            self._log.append({"run": changed})
        lines, self._log = [jsonlines.dump(x) for x in self._log], []
        return lines

    def lines(self) -> Iterator[str]:
        """Yield the whole history as JSON Lines, header first."""
        yield jsonlines.dump(jsonlines.header(self.run))
        if self.layers:
            yield jsonlines.dump(jsonlines.layers_line(self.layers))
        current: dict[str, int] = {}
        for s in self._samples:
            for family, version in s.versions.items():
                if current.get(family) != version:
                    current[family] = version
                    yield jsonlines.dump({"sites": {family: list(self._sites[family][version])}})
            yield jsonlines.dump(jsonlines.sample_line(s))
        for (stage, name), p in self._points.items():
            yield jsonlines.dump(jsonlines.points_line(stage, name, p.steps, p.values))
        late = {f: list(self._sites[f][i]) for f, i in self._current.items() if current.get(f) != i}
        if late:
            yield jsonlines.dump({"sites": late})

    @classmethod
    def from_lines(cls, lines: Iterable[str], *, name: str = "history") -> History:
        """Read JSON Lines; an unfinished last line (a run that died) is left out.

        Raises:
            HistoryError: no header, another schema, or a line that is not what it should be.
        """
        history = cls()
        broken = jsonlines.read(history, lines, name)
        history.generation = 0
        if broken:
            history.run["truncated"] = broken
        return history

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read ``history.jsonl``, or the newest one of a run directory.

        Raises:
            HistoryError: the file is missing, too large, not text, or not a history.
        """
        with jsonlines.opened(path) as (lines, name):
            return cls.from_lines(lines, name=name)


def _rounded(x: Floats) -> Floats:
    """Round to the significant digits kept; exact zeros, NaN and Inf stay."""
    with np.errstate(all="ignore"):
        scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(x))))
        y: Floats = np.round(x * scale) / scale
    return np.where(np.isfinite(y), y, x)


def _thinned(steps: Ints) -> Ints:
    """Return the indices of about two thirds: the first and the latest ones whole, the rest evenly over the steps."""
    n = len(steps)
    head, tail = min(_HEAD, n // 8), n // 4
    middle = np.arange(head, n - tail)
    grid = np.linspace(steps[head], steps[n - tail - 1], max(2, n // 3))
    nearest = middle[np.unique(np.clip(np.searchsorted(steps[middle], grid), 0, len(middle) - 1))]
    return np.concatenate([np.arange(head), nearest, np.arange(n - tail, n)])
