"""What was measured in one training: the waist of the hourglass, numpy only.

A :class:`History` holds *samples* (one row of statistics over all sites, taken on a sampled step) and
*points* (numbers that exist at every step: the loss, learning rates, logged metrics). Rules read nothing
else, so the same judgement runs during a fit, on a file, in pytest and in a dashboard.

In a sample ``NaN`` means *absent*: a statistic of a tensor that was not seen, or that has no value there.
A tensor that holds NaN or Inf is told by its ``.../nonfinite`` count, its moments are those of the finite
part. In points a ``NaN`` is a measured NaN, because an absent point is simply not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Stage: TypeAlias = Literal["preflight", "train", "validate"]
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

SCHEMA = 1
STAGES: tuple[Stage, ...] = ("preflight", "train", "validate")
MAX_FILE_BYTES = 1 << 30
_LARGEST = float(np.finfo(np.float64).max)
_DIGITS = 6  # significant digits kept, in memory as on disk, so that both are judged alike


class HistoryError(ValueError):
    """A history file cannot be read; the message says where and why."""


@dataclass(frozen=True)
class Series:
    """Values of one statistic over steps, both of shape (n,), steps ascending."""

    steps: Ints
    values: Floats

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Table:
    """One statistic over steps and sites: ``matrix[i, j]`` is site ``j`` at ``steps[i]``, NaN where absent."""

    steps: Ints
    sites: tuple[str, ...]
    matrix: Floats

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Layer:
    """One observed call of a module, in order of execution.

    ``site`` is the qualified module name (``name#1`` for the second call of a shared module in one forward
    pass). ``role`` is "output" for the layer whose result the loss sees and the activation directly behind
    it, else "hidden". ``activation`` is the lower-case kind ("relu", "tanh", ...) of an activation, or "".
    ``follows`` is the site that made this layer's input, "" if unknown. ``parameters`` are qualified names.
    """

    site: str
    type: str
    role: Literal["hidden", "output"] = "hidden"
    activation: str = ""
    follows: str = ""
    units: int = 0
    parameters: tuple[str, ...] = ()
    source: str = ""


@dataclass
class _Sample:
    step: int
    epoch: int
    stage: Stage
    versions: dict[str, int]
    values: dict[str, Floats]


class _Points:
    """A growing pair of arrays."""

    def __init__(self) -> None:
        self.n = 0
        self._steps: Ints = np.empty(64, dtype=np.int64)
        self._values: Floats = np.empty(64)

    @property
    def steps(self) -> Ints:
        return self._steps[: self.n]

    @property
    def values(self) -> Floats:
        return self._values[: self.n]

    def extend(self, steps: Ints, values: Floats) -> None:
        end = self.n + len(steps)
        if end > len(self._steps):
            self._steps = np.concatenate([self.steps, np.empty(end, dtype=np.int64)])
            self._values = np.concatenate([self.values, np.empty(end)])
        self._steps[self.n : end], self._values[self.n : end] = steps, values
        self.n = end

    def keep(self, which: Ints) -> None:
        self._steps, self._values = self.steps[which], self.values[which]
        self.n = len(which)


class History:
    """The measurements of one run, bounded in memory by thinning.

    Args:
        run: JSON-able facts about the run (versions, batch size, optimizers, steps planned and taken, ...).
        max_samples: samples kept; beyond it every second older one is dropped (the first 32 stay).
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
        self.generation = 0  # grows when older content changed, so that a writer knows to write anew
        self._samples: list[_Sample] = []
        self._points: dict[tuple[Stage, str], _Points] = {}
        self._sites: dict[str, list[tuple[str, ...]]] = {}
        self._log: list[dict[str, Any]] = []  # lines not yet taken by a writer
        self._tables: dict[tuple[str, Stage], Table] = {}

    # -- filling -----------------------------------------------------------------------------------------

    def set_layers(self, layers: Sequence[Layer]) -> None:
        """State the layers in order of execution (replaces what was stated before)."""
        if tuple(layers) != self.layers:
            self.layers = tuple(layers)
            self._log.append({"layers": [asdict(x) for x in self.layers]})

    def set_sites(self, family: str, sites: Sequence[str]) -> None:
        """State the site order of the statistics ``family/...`` from the next sample on."""
        names, versions = tuple(sites), self._sites.setdefault(family, [])
        if len(set(names)) != len(names):
            raise ValueError(f"sites of {family!r} must be unique, got {sorted(names)}")
        if not versions or versions[-1] != names:
            versions.append(names)
            self._log.append({"sites": {family: list(names)}})

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
            rows[name] = _rounded(np.asarray(row, dtype=np.float64).ravel())
            versions[family] = len(self._sites[family]) - 1
            if len(rows[name]) != len(self._sites[family][-1]):
                raise ValueError(
                    f"{name!r} has {len(rows[name])} values for {len(self._sites[family][-1])} sites of {family!r}"
                )
        self._samples.append(_Sample(int(step), int(epoch), stage, versions, rows))
        self._log.append(_sample_line(self._samples[-1]))
        self._tables.clear()
        if len(self._samples) > self.max_samples:
            self._samples = [self._samples[i] for i in _thinned(np.arange(len(self._samples)))]
            self.generation += 1

    def add_points(self, name: str, steps: Sequence[int], values: npt.ArrayLike, *, stage: Stage = "train") -> None:
        """Add points of a series that exists at every step (``loss``, ``metric/val_acc``, ``learning_rate/0``)."""
        if len(steps) != np.size(values):
            raise ValueError(f"{name!r}: {len(steps)} steps for {np.size(values)} values")
        if not len(steps):
            return
        rounded = _rounded(np.asarray(values, dtype=np.float64))
        points = self._points.setdefault((stage, name), _Points())
        points.extend(np.asarray(steps, dtype=np.int64), rounded)
        self._log.append({"stage": stage, "points": {name: [[int(s) for s in steps], _listed(rounded)]}})
        if points.n > self.max_points:
            points.keep(_thinned(np.arange(points.n)))
            self.generation += 1

    def update_run(self, **facts: Any) -> None:
        """Add or change facts about the run."""
        changed = {k: v for k, v in facts.items() if k not in self.run or self.run[k] != v}
        if changed:
            self.run.update(changed)
            self._log.append({"run": changed})

    def truncate(self, step: int) -> None:
        """Forget all that was seen at ``step`` or later (a resumed run takes those steps again)."""
        self._samples = [s for s in self._samples if s.step < step]
        for p in self._points.values():
            p.keep(np.flatnonzero(p.steps < step))
        self._tables.clear()
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
            return Table(steps, lists[0], np.array([s.values[statistic] for s in taken]))
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
        return tuple(dict.fromkeys(name for s in self._samples for name in s.values))

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
        lines, self._log = [_dump(x) for x in self._log], []
        return lines

    def lines(self) -> Iterator[str]:
        """Yield the whole history as JSON Lines, header first."""
        yield self.header()
        if self.layers:
            yield _dump({"layers": [asdict(x) for x in self.layers]})
        current: dict[str, int] = {}
        for s in self._samples:
            for family, version in s.versions.items():
                if current.get(family) != version:
                    current[family] = version
                    yield _dump({"sites": {family: list(self._sites[family][version])}})
            yield _dump(_sample_line(s))
        for (stage, name), p in self._points.items():
            yield _dump({"stage": stage, "points": {name: [p.steps.tolist(), _listed(p.values)]}})
        late = {f: v[-1] for f, v in self._sites.items() if current.get(f) != len(v) - 1}
        if late:
            yield _dump({"sites": {f: list(v) for f, v in late.items()}})

    def header(self) -> str:
        """Return the first line: schema number and facts about the run."""
        return _dump({"lightning_diag_history": SCHEMA, "run": self.run})

    @classmethod
    def from_lines(cls, lines: Iterable[str], *, name: str = "history") -> History:
        """Read JSON Lines; an unfinished last line (a run that died) is left out.

        Raises:
            HistoryError: no header, another schema, or a line that is not what it should be.
        """
        history = cls()
        broken: str | None = None
        number = 0
        for number, line in enumerate(lines, start=1):
            if broken is not None:
                raise HistoryError(broken)
            if not line.strip():
                continue
            try:
                history._read(json.loads(line), first=number == 1)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                broken = f"{name}, line {number}: {error}"
                if number == 1:
                    raise HistoryError(broken) from error
        if number == 0:
            raise HistoryError(f"{name} is empty: nothing was recorded")
        history._log.clear()
        history.generation = 0
        if broken is not None:
            history.run["truncated"] = broken
        return history

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read ``history.jsonl``, or the newest one of a run directory.

        Raises:
            HistoryError: the file is missing, too large, not text, or not a history.
        """
        path = Path(path)
        if path.is_dir():
            found = sorted(path.glob("history*.jsonl"), key=lambda p: (p.stat().st_mtime, p.name))
            if not found:
                raise HistoryError(f"no history.jsonl in {path}; pass the directory of a run with Diagnostics")
            path = found[-1]
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise HistoryError(f"{path} is larger than {MAX_FILE_BYTES} bytes; not read")
            with path.open(encoding="utf-8") as file:
                return cls.from_lines(file, name=str(path))
        except UnicodeDecodeError as error:
            raise HistoryError(f"{path} is not text: {error}") from error
        except OSError as error:
            raise HistoryError(f"cannot read {path}: {error.strerror or error}") from error

    def _read(self, line: Any, *, first: bool) -> None:
        if not isinstance(line, dict):
            raise ValueError("not a JSON object")
        if first:
            if line.get("lightning_diag_history") != SCHEMA:
                got = line.get("lightning_diag_history", "none")
                raise ValueError(f"not a history of schema {SCHEMA} (schema: {got!r})")
            self.run.update(line.get("run", {}))
        elif "values" in line:
            if line["stage"] not in STAGES:
                raise ValueError(f"stage {line['stage']!r} is none of {', '.join(STAGES)}")
            values = {k: _numbers(v) for k, v in line["values"].items()}
            self.add_sample(line["step"], line["epoch"], values, stage=line["stage"])
        elif "points" in line:
            if line["stage"] not in STAGES:
                raise ValueError(f"stage {line['stage']!r} is none of {', '.join(STAGES)}")
            for name, (steps, numbers) in line["points"].items():
                self.add_points(name, steps, _numbers(numbers), stage=line["stage"])
        elif "sites" in line:
            for family, names in line["sites"].items():
                self.set_sites(family, [str(n) for n in names])
        elif "layers" in line:
            self.set_layers([Layer(**{**x, "parameters": tuple(x["parameters"])}) for x in line["layers"]])
        elif "run" in line:
            self.update_run(**line["run"])
        self._log.clear()


def _sample_line(sample: _Sample) -> dict[str, Any]:
    values = {k: _listed(v) for k, v in sample.values.items()}
    return {"step": sample.step, "epoch": sample.epoch, "stage": sample.stage, "values": values}


def _rounded(x: Floats) -> Floats:
    """Round to the significant digits kept; exact zeros, NaN and Inf stay."""
    with np.errstate(all="ignore"):
        scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(x))))
        y: Floats = np.round(x * scale) / scale
    return np.where(np.isfinite(y), y, x)


def _thinned(items: Ints, head: int = 32) -> Ints:
    """Drop every second item of the older half, but for the first ``head``."""
    middle = max(head, len(items) // 2)
    return np.concatenate([items[:head], items[head:middle:2], items[middle:]])


def _dump(line: Any) -> str:
    """Return one line of strict JSON: NaN is null, an infinity the largest double (read back as infinity)."""
    try:
        return json.dumps(line, allow_nan=False, separators=(",", ":"))
    except ValueError:  # only facts about the run can still hold such numbers
        return json.dumps(_strict(line), separators=(",", ":"))


def _listed(numbers: Floats) -> list[Any]:
    """Return numbers as JSON can hold them."""
    if np.isfinite(numbers).all():
        plain: list[Any] = numbers.tolist()
        return plain
    clipped = np.clip(numbers, -_LARGEST, _LARGEST).tolist()
    return [x if x == x else None for x in clipped]


def _numbers(values: Any) -> Floats:
    """Undo :func:`_listed`."""
    numbers = np.array(values, dtype=np.float64)  # None becomes NaN
    return np.where(np.abs(numbers) >= _LARGEST, np.copysign(np.inf, numbers), numbers)


def _strict(x: Any) -> Any:
    if isinstance(x, float):
        return None if np.isnan(x) else float(np.clip(x, -_LARGEST, _LARGEST))
    if isinstance(x, dict):
        return {k: _strict(v) for k, v in x.items()}
    return [_strict(v) for v in x] if isinstance(x, (list, tuple)) else x
