"""The command line as a test calls it, and the smallest run that it can judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_diag import cli
from lightning_diag.records import History


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Return the exit code and what was printed; no traceback ever is."""
    code = cli.main(argv)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return code, captured.out, captured.err


def history(losses: list[float]) -> History:
    """Return a history of one sample and these losses."""
    h = History({"samples": 1, "steps": len(losses)})
    h.set_sites("activation", ["net.0"])
    h.add_sample(0, 0, {"activation/rms": [1.0], "activation/nonfinite": [0.0], "activation/input_nonfinite": [0.0]})
    h.add_points("loss", list(range(len(losses))), losses)
    return h


def save(directory: Path, h: History) -> str:
    """Write a history as a run leaves it."""
    (directory / "history.jsonl").write_text("".join(f"{line}\n" for line in h.lines()))
    return str(directory)
