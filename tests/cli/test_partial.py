"""Runs that are not whole, or may not be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import run
from tests.histories import healthy, history, save, sick

CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a good and a bad run, and an environment without settings."""
    for name in [n for n in os.environ if n.startswith(("LIGHTNING_DIAG", "GITHUB_"))] + ["FORCE_COLOR"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "good", healthy())
    save(tmp_path / "bad", sick())
    return tmp_path


# -- runs that are not whole -------------------------------------------------------------------------------------------


def test_a_torn_run_is_judged_as_partial(capsys: CAPTURE, alone: Path) -> None:
    path = alone / "bad" / "history.jsonl"
    path.write_text(path.read_text() + '{"stage":"train","points":{"loss":[[3],[na')
    code, out, _ = run(capsys, "check", "bad", "--format", "json")
    assert code == 1
    assert "unfinished" in json.loads(out)["runs"][0]["partial"]


def test_a_running_run_is_judged_as_partial(capsys: CAPTURE, alone: Path) -> None:
    save(alone / "now", history([1.0, 0.5], status="running"))
    code, out, _ = run(capsys, "check", "now")
    assert code == 0
    assert "this is not the whole run: it has not ended" in out


@pytest.mark.parametrize("path", ["folder", "folder/history.jsonl"])
def test_a_directory_in_place_of_the_file_is_2(capsys: CAPTURE, alone: Path, path: str) -> None:
    (alone / "folder" / "history.jsonl").mkdir(parents=True)
    code, out, err = run(capsys, "check", path)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: no history.jsonl in {path} or beneath it")


@pytest.mark.skipif(sys.platform == "win32", reason="no permissions of that kind there")
@pytest.mark.parametrize("closed", ["good/history.jsonl", "good"])
def test_no_permission_is_2_and_no_traceback(alone: Path, closed: str) -> None:
    (alone / closed).chmod(0)
    code = f"""
import os
from lightning_diag.cli import main
assert main(["check", {str(alone / "bad")!r}]) == 1  # so that all is imported
if os.geteuid() == 0:
    for folder in {[str(p) for p in (alone, *alone.parents)]!r}:
        if folder.count("pytest-of-"):
            os.chmod(folder, 0o755)
    os.setuid(65534)  # root may read everything
raise SystemExit(main(["check", {str(alone / "good")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=False)
    (alone / closed).chmod(0o700)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert "ermission" in done.stderr or "not readable" in done.stderr
    assert "Traceback" not in done.stderr
