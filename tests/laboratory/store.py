"""Where recorded fits lie: one compressed file a program and seed, named by what it depends on."""

from __future__ import annotations

import contextlib
import gzip
import os
import pickle
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lightning_diag.records import History
from tests.laboratory import keys

DIRECTORY = Path(__file__).resolve().parents[2] / ".histories"
HISTORY, CRASH = "jsonl.gz", "crash"


class Store:
    """A directory of files ``program.seed.key.kind``.

    Args:
        directory: where they lie.
        stale: take the newest file of a program and seed where there is none with the key asked for.
    """

    def __init__(self, directory: str | Path = DIRECTORY, *, stale: bool = False) -> None:
        self.directory, self.stale = Path(directory), stale

    def path(self, name: str, seed: int, key: str, kind: str = HISTORY) -> Path:
        """Return where a file of this key belongs."""
        if "." in name:
            raise ValueError(f"the name of a program has no dot, got {name!r}")
        return self.directory / f"{name}.{seed}.{key}.{kind}"

    def find(self, name: str, seed: int, key: str, kind: str = HISTORY) -> Path | None:
        """Return the file with this key, or the newest one if stale ones will do; None if there is none."""
        exact = self.path(name, seed, key, kind)
        if exact.is_file():
            return exact
        others = list(self.directory.glob(f"{name}.{seed}.*.{kind}")) if self.stale else []
        others = [f for f in others if f.name.count(".") == exact.name.count(".")]
        return max(others, key=lambda f: f.stat().st_mtime, default=None)

    def write(self, path: Path, text: str) -> None:
        """Write a file, compressed where its name says so; it is there whole or not at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        handle, temporary = tempfile.mkstemp(dir=self.directory, prefix=".unfinished-")
        with os.fdopen(handle, "wb") as file:
            file.write(gzip.compress(data, 6, mtime=0) if path.suffix == ".gz" else data)
        os.replace(temporary, path)

    def prune(self, kept: Iterable[Path]) -> int:
        """Remove all files but these; return how many went."""
        keep = set(kept)
        gone = [f for f in self.directory.glob("*") if f.is_file() and f not in keep]
        for file in gone:
            file.unlink()
        return len(gone)


def lines(history: History) -> str:
    """Return a history as text."""
    return "\n".join(history.lines()) + "\n"


def load(path: Path) -> History:
    """Read a recorded history; what was read is kept beside it, because parsing takes longer than judging."""
    kept = path.with_name(f"{path.name}.{records_key()}.pickle")
    with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
        if kept.stat().st_mtime >= path.stat().st_mtime:
            return pickle.loads(kept.read_bytes())
    with gzip.open(path, "rt", encoding="utf-8") as file:
        history = History.from_lines(file, name=path.name)
    temporary = kept.with_name(f".unfinished-{os.getpid()}-{kept.name}")
    temporary.write_bytes(pickle.dumps(history, pickle.HIGHEST_PROTOCOL))
    os.replace(temporary, kept)
    return history


@cache
def records_key() -> str:
    """Return the key of the code that reads a history."""
    return keys.digest(
        [*map(keys.normal, sorted((keys.ROOT / "lightning_diag" / "records").glob("*.py"))), sys.version]
    )
