"""A history as JSON Lines: a header, then layers, site lists, samples, points and facts in the order they came."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_diag.records.parts import STAGES, Floats, HistoryError, Ints, Layer, Sample, Stage
from lightning_diag.records.written import LARGEST, numbers_of, written_sample

if TYPE_CHECKING:
    from lightning_diag.records.history import History

SCHEMA = 1
MAX_FILE_BYTES = 1 << 30


def header(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first line: schema number and facts about the run."""
    return {"lightning_diag_history": SCHEMA, "run": dict(run)}


def layers_line(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the line that states the layers."""
    return {"layers": [asdict(x) for x in layers]}


def sample_line(sample: Sample) -> dict[str, Any]:
    """Return the line of one sample."""
    values = {k: _listed(v) for k, v in sample.values.items()}
    return {"step": sample.step, "epoch": sample.epoch, "stage": sample.stage, "values": values}


def points_line(stage: str, name: str, steps: Ints, values: Floats) -> dict[str, Any]:
    """Return the line of some points of a series."""
    return {"stage": stage, "points": {name: [steps.tolist(), _listed(values)]}}


def read(history: History, lines: Iterable[str], name: str) -> str:
    """Fill a history from lines; return what was wrong with an unfinished last line, "" if nothing.

    Raises:
        HistoryError: no header, another schema, or a line that is not what it should be.
    """
    broken = ""
    taken = 0
    history.writable = False
    for number, line in enumerate(lines, start=1):
        if broken:
            raise HistoryError(broken)
        if not line.strip():
            continue
        taken += 1
        try:
            values = written_sample(line, f"{name}, line {number}") if taken > 1 else None
            if values is not None:
                history.add_written(values.step, values.epoch, values, stage=_known(values.stage))
            else:
                _take(history, json.loads(line), first=taken == 1)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            broken = f"{name}, line {number}: {error}"
            if taken == 1:
                raise HistoryError(broken) from error
    if taken == 0:
        raise HistoryError(f"{name} is empty: nothing was recorded")
    history.writable = True
    return broken


def _take(history: History, line: Any, *, first: bool) -> None:
    if not isinstance(line, dict):
        raise ValueError("not a JSON object")
    if first:
        if line.get("lightning_diag_history") != SCHEMA:
            got = line.get("lightning_diag_history", "none")
            raise ValueError(f"not a history of schema {SCHEMA} (schema: {got!r})")
        history.run.update(line.get("run", {}))
    elif "values" in line:
        values = {k: numbers_of(v) for k, v in line["values"].items()}
        history.add_sample(line["step"], line["epoch"], values, stage=_stage(line))
    elif "points" in line:
        for name, (steps, numbers) in line["points"].items():
            history.add_points(name, steps, numbers_of(numbers), stage=_stage(line))
    elif "sites" in line:
        for family, names in line["sites"].items():
            history.set_sites(family, [str(n) for n in names])
    elif "layers" in line:
        history.set_layers([Layer(**{**x, "parameters": tuple(x["parameters"])}) for x in line["layers"]])
    elif "run" in line:
        history.update_run(**line["run"])


def _stage(line: Mapping[str, Any]) -> Stage:
    return _known(line["stage"])


def _known(stage: Any) -> Stage:
    if stage not in STAGES:
        raise ValueError(f"stage {stage!r} is none of {', '.join(STAGES)}")
    found: Stage = stage
    return found


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[Iterable[str], str]]:
    """Open a history file, or the newest one of a run directory; gives its lines and its name.

    Raises:
        HistoryError: the file is missing, too large, not text.
    """
    path = Path(path)
    try:
        if path.is_dir():
            path = _newest(path)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could go on for ever
            raise HistoryError(f"{path} is no regular file; not read")
        if status.st_size > MAX_FILE_BYTES:
            raise HistoryError(f"{path} is larger than {MAX_FILE_BYTES} bytes; not read")
        with path.open(encoding="utf-8") as file:
            yield file, str(path)
    except UnicodeDecodeError as error:
        raise HistoryError(f"{path} is not text: {error}") from error
    except OSError as error:
        raise HistoryError(f"cannot read {path}: {error.strerror or error}") from error


def _newest(directory: Path) -> Path:
    found = sorted(directory.glob("history*.jsonl"), key=lambda p: (p.stat().st_mtime, p.name))
    if not found:
        raise HistoryError(f"no history.jsonl in {directory}; pass the directory of a run with Diagnostics")
    return found[-1]


def dump(line: Any) -> str:
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
    clipped = np.clip(numbers, -LARGEST, LARGEST).tolist()
    return [x if x == x else None for x in clipped]


def _strict(x: Any) -> Any:
    if isinstance(x, float):
        return None if np.isnan(x) else float(np.clip(x, -LARGEST, LARGEST))
    if isinstance(x, dict):
        return {k: _strict(v) for k, v in x.items()}
    return [_strict(v) for v in x] if isinstance(x, (list, tuple)) else x
