"""What surrounds the commands: streams that are closed, commands that are not there, help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lightning_diag import cli
from tests.cli.command import history, run, save

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def test_an_unknown_command_is_2_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "chek", ".") == (2, "", "error: no command 'chek'\n  did you mean 'check'?\n")
    assert run(capsys, "x")[2].splitlines()[1].startswith("  commands are demo, check, ")


@pytest.mark.skipif(sys.platform == "win32", reason="no shell of that kind there")
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "2>&-", "> /dev/full"])
def test_where_nobody_listens_the_exit_code_still_tells(tmp_path: Path, closed: str) -> None:
    run_dir = save(tmp_path, history([1.0, float("nan")]))
    command = f"{sys.executable} -m lightning_diag.cli check {run_dir} {closed}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "full" in closed else 1)
    assert "Traceback" not in done.stderr


def test_the_help_of_every_command_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for command in cli.COMMANDS[1:]:
        code, out, _ = run(capsys, command.name, "--help")
        assert code == 0
        assert out.startswith(f"usage: lightning-diag {command.name} ")
    for word in ("exit codes:", "examples:", "--require", "LIGHTNING_DIAG_SELECT", "partial"):
        assert word in run(capsys, "check", "--help")[1]
