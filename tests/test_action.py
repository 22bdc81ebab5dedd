"""The GitHub Action, as far as it can be run without GitHub: its shell steps, and the workflow that uses it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import pytest
import yaml

from tests.histories import healthy, save, sick

ROOT = Path(__file__).parents[1]
PATH = ROOT / ".github" / "actions" / "training-health" / "action.yml"
ACTION: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
GATE = WORKFLOW["jobs"]["training-health"]["steps"]
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None or sys.platform == "win32", reason="no bash of the usual kind here")


def act(directory: Path, **inputs: str) -> tuple[int, str, str, dict[str, str]]:
    """Run the action's steps with these inputs, as the runner does; return exit code, both outputs, the outputs."""
    given = {name: str(row.get("default", "")) for name, row in ACTION["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    outputs, summary = directory / "github-output", directory / "github-summary"
    given["command"] = f"{sys.executable} -m lightning_diag.cli"
    (step,) = ACTION["runs"]["steps"]
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("LIGHTNING_DIAG", "GITHUB_"))}
    environ |= {k: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: given[m[1]], v) for k, v in step["env"].items()}
    environ |= {"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary), "PYTHONPATH": str(ROOT)}
    script = directory / "step.sh"
    script.write_text(step["run"], encoding="utf-8")
    command = [str(BASH), "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]  # how `shell: bash` is run
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, check=False)
    told = outputs.read_text() if outputs.exists() else ""
    pairs = [(key, value) for key, _, value in (line.partition("=") for line in told.splitlines())]
    return done.returncode, done.stdout, done.stderr, dict(pairs)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    save(tmp_path / "good", healthy())
    save(tmp_path / "bad", sick())
    return tmp_path


def test_a_healthy_run_passes(runs: Path) -> None:
    code, out, err, outputs = act(runs, runs="good", require="L001")
    assert (code, err, outputs) == (0, "", {"exit-code": "0"})
    assert "The gate passes" in out
    assert (runs / "github-summary").read_text().startswith("# Training health")


def test_a_sick_run_fails_and_every_file_is_written(runs: Path) -> None:
    files = {"junit": "out/a b.xml", "sarif": "a.sarif", "json": "a.json", "html": "a.html"}
    code, out, _, outputs = act(runs, runs="good\nbad\n", **files)
    assert (code, outputs) == (1, {"exit-code": "1"})
    assert out.startswith("::error file=model.py,line=3,title=L001 non-finite-loss::")
    assert Tree.parse(runs / "out/a b.xml").getroot().get("failures") == "1"
    assert all((runs / name).is_file() for name in files.values())


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"ignore": "L001"}, 0),
        ({"select": "L001", "fail_on": "error"}, 1),
        ({"fail_on": "never"}, 2),
        ({"require": "A001", "ignore": "L"}, 1),
        ({"baseline": "nowhere.json"}, 2),
        ({"all": "true"}, 1),
    ],
)
def test_inputs_reach_the_command(runs: Path, inputs: dict[str, str], code: int) -> None:
    assert act(runs, runs="bad", **inputs)[::3] == (code, {"exit-code": str(code)})


@pytest.mark.parametrize("given", ["nowhere", "", "--help", "$(touch pwned)", "`touch pwned`", "x; touch pwned", "*"])
def test_what_is_no_run_is_2_and_runs_nothing(runs: Path, given: str) -> None:
    code, _, err, outputs = act(runs, runs=given)
    assert (code, outputs) == (2, {"exit-code": "2"})
    assert "error" in err
    assert not (runs / "pwned").exists()


def test_every_input_is_used_and_no_input_stands_in_the_script() -> None:
    (step,) = ACTION["runs"]["steps"]
    used = set(re.findall(r"inputs\.([\w-]+)", " ".join(step["env"].values())))
    assert used == set(ACTION["inputs"])
    assert "${{" not in step["run"]
    assert all(row["description"] for row in ACTION["inputs"].values())


def test_the_workflow_uses_the_action_with_inputs_it_has() -> None:
    uses = [s for s in GATE if s.get("uses") == "./.github/actions/training-health"]
    assert [s.get("continue-on-error", False) for s in uses] == [False, True]
    for step in uses:
        assert set(step["with"]) <= set(ACTION["inputs"])


@pytest.mark.full
def test_the_workflow_passes_here(tmp_path: Path) -> None:
    """Its trainings, and both calls of the action, in order."""
    (train,) = (s["run"] for s in GATE if s.get("name") == "Train")
    command = train.replace("python examples", f"{sys.executable} {ROOT}/examples")
    subprocess.run([str(BASH), "-e", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    codes = [act(tmp_path, **s["with"])[0] for s in GATE if s.get("uses", "").startswith("./.github")]
    assert codes == [0, 1]
    (verdict,) = (s["run"] for s in GATE if s.get("name") == "And it did")
    assert subprocess.run([str(BASH), "-c", verdict], env={"EXIT_CODE": "1"}, check=False).returncode == 0
    assert subprocess.run([str(BASH), "-c", verdict], env={"EXIT_CODE": "2"}, check=False).returncode == 1
