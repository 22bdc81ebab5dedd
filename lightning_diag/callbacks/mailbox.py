"""How what a spawned or forked process observed comes back to the process that launched it.

With ``strategy="ddp_spawn"`` (or ``ddp_fork``, ``ddp_notebook``) the fit runs in processes of its own, which get
copies of the callback, and Lightning brings only weights and metrics back. So a callback and its copies in other
processes share a random name. In a process launched by the one that made the callback, rank 0 leaves history and
report under that name in the directory for temporary files; the maker takes and removes them when it is asked.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import uuid
import weakref
from pathlib import Path

from lightning_diag.findings import Report
from lightning_diag.records import History


class Mailbox:
    """Belongs to one callback; a copy made in the same process gets one of its own."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self.home = os.getpid()
        self.place = str(Path(tempfile.gettempdir()) / f"lightning_diag-{uuid.uuid4().hex}")
        weakref.finalize(self, _remove, self.place, self.home)

    def __setstate__(self, state: dict[str, object]) -> None:
        """Keep the name in another process: that is what it is for."""
        self.__dict__.update(state)
        if self.home == os.getpid():
            self._renew()

    def leave(self, history: History, report: Report) -> None:
        """Leave a fit for the process that launched this one; nothing where this is the maker's own process."""
        launcher = multiprocessing.parent_process()
        if launcher is None or launcher.pid != self.home:
            return
        part = Path(tempfile.mkdtemp(prefix="lightning_diag-"))  # readable for this user alone
        (part / "history.jsonl").write_text("".join(f"{line}\n" for line in history.lines()), encoding="utf-8")
        (part / "health.json").write_text(report.to_json(), encoding="utf-8")
        shutil.rmtree(self.place, ignore_errors=True)
        part.replace(self.place)

    def take(self) -> tuple[History, Report] | None:
        """Return, once, what was left."""
        place = Path(self.place)
        if self.home != os.getpid() or not place.is_dir():
            return None
        found = History.load(place / "history.jsonl"), Report.load(place / "health.json")
        shutil.rmtree(place, ignore_errors=True)
        return found


def _remove(place: str, home: int) -> None:
    """Remove what nobody took; not when a fork's copy of the callback goes."""
    if os.getpid() == home:
        shutil.rmtree(place, ignore_errors=True)
