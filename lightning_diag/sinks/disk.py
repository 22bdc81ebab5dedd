"""A run's files: ``history.jsonl``, grown as training goes, and ``health.json``, the report."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from lightning_diag.findings import Report
from lightning_diag.records import History

_MOST_FITS = 100_000


class RunFiles:
    """The files of one fit in a directory; those of other fits there are never touched.

    The first fit writes ``history.jsonl`` and ``health.json``, a second one in the same directory
    ``history-2.jsonl`` and ``health-2.json``, and so on. Whatever ends the process, what was appended stays readable.

    Args:
        directory: where to write; made if it is missing.
        history: the history to write; what it holds already is written at once.

    Raises:
        OSError: the directory cannot be made or written to; every method may raise it. A later call tries again
            and loses nothing that the history still holds.
    """

    def __init__(self, directory: str | Path, history: History) -> None:
        self.directory = Path(directory)
        self._history = history
        self._file: IO[str] | None = None
        self._identity = (0, 0)  # device and inode of our file
        self._generation = -1  # of the history when it was last written whole
        self._closed = False
        self.history_path, self.report_path = self._claim()
        self.append()

    def _claim(self) -> tuple[Path, Path]:
        """Take the first free pair of names; creating the history's file is what takes it."""
        self._release()
        self.directory.mkdir(parents=True, exist_ok=True)
        for number in range(1, _MOST_FITS):
            suffix = "" if number == 1 else f"-{number}"
            history, health = self.directory / f"history{suffix}.jsonl", self.directory / f"health{suffix}.json"
            if health.exists():
                continue
            try:
                with history.open("x", encoding="utf-8") as file:
                    self._identity = _identity(os.fstat(file.fileno()))
            except FileExistsError:
                continue
            return history, health
        raise FileExistsError(f"{self.directory} holds {_MOST_FITS} histories; use another directory")

    def append(self) -> None:
        """Write what the history got since the last call, and hand it to the operating system."""
        if not self._owns():  # the directory was deleted, or another run took the name since
            self.history_path, self.report_path = self._claim()
        lines = self._history.new_lines()
        if self._file is None or self._generation != self._history.generation:
            self._rewrite()
            return
        try:
            self._file.write("".join(f"{line}\n" for line in lines))
            self._file.flush()
        except OSError:
            self._release()  # the last line may be torn: the next call writes the whole file anew
            raise

    def write_report(self, report: Report) -> None:
        """Write ``health.json`` anew; a reader sees the old one or the new one, never a part."""
        if not self._closed:
            self.append()
        _replace(self.report_path, [report.to_json()])

    def close(self) -> None:
        """Write what is left and close the file; a second call does nothing."""
        if not self._closed:
            self._closed = True
            try:
                self.append()
            finally:
                self._release()

    def _rewrite(self) -> None:
        self._release()
        generation = self._history.generation
        _replace(self.history_path, self._history.lines())
        self._file = self.history_path.open("a", encoding="utf-8", newline="\n")
        self._identity = _identity(os.fstat(self._file.fileno()))
        self._generation = generation

    def _owns(self) -> bool:
        """Claim: the file under our name is still the one that we made."""
        try:
            return _identity(self.history_path.stat()) == self._identity
        except OSError:
            return False

    def _release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # what could not be flushed is written with the whole file
                file.close()


def run_directory(log_dir: str | Path | None, default_root_dir: str | Path, run_specific: bool) -> Path:
    """Return the directory for a run's files.

    Args:
        log_dir: the Trainer's ``log_dir``.
        default_root_dir: the Trainer's ``default_root_dir``.
        run_specific: whether ``log_dir`` belongs to this run alone (a logger made it).

    Returns:
        ``log_dir``, or, where it is shared, missing or not on this machine, a new directory
        ``default_root_dir/lightning_diag/version_N`` with the next free N. Two processes never get the same one.

    Raises:
        OSError: the directory cannot be made.
    """
    if run_specific and log_dir is not None and "://" not in str(log_dir):
        return Path(log_dir)
    root = Path("." if "://" in str(default_root_dir) else default_root_dir) / "lightning_diag"
    root.mkdir(parents=True, exist_ok=True)
    taken = (p.name.removeprefix("version_") for p in root.glob("version_*"))
    number = max((int(n) for n in taken if n.isascii() and n.isdigit()), default=-1) + 1
    while True:
        try:
            (root / f"version_{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return root / f"version_{number}"


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _replace(path: Path, lines: Iterable[str]) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
