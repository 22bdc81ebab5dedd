from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from lightning_diag.rules import rule_infos
from tests.cli.command import history, run, save

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def test_a_run_without_fault_is_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check", save(tmp_path, history([1.0, 0.5, 0.2])), "--select", "L001")
    assert (code, err) == (0, "")
    assert "Training health: healthy" in out
    assert "1 of 1 rules judged; 1 of 3 steps sampled" in out
    assert f"files: {tmp_path}" in out


def test_a_run_with_a_fault_is_1_and_the_report_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = save(tmp_path, history([1.0, float("nan"), float("nan")]))
    code, out, _ = run(capsys, "check", run_dir)
    assert code == 1
    assert "L001 non-finite-loss [error]" in out
    assert run(capsys, "check", str(tmp_path / "history.jsonl"))[0] == 1
    assert run(capsys, "check", run_dir, "--fail-on", "info")[0] == 1


def test_select_and_ignore_take_lists_of_codes_prefixes_and_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = save(tmp_path, history([1.0, float("nan")]))
    assert "of 2 rules" in run(capsys, "check", run_dir, "--select", "L001, non-finite-activation")[1]
    assert "L001" in run(capsys, "check", run_dir, "--ignore", "A")[1]
    assert "L001" not in run(capsys, "check", run_dir, "--ignore", "L,A001", "--fail-on=warning")[1]


def test_a_run_in_which_nothing_can_be_judged_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", save(tmp_path, history([1.0])), "--select", "dead-units")
    assert code == 2
    assert "not judged" in out
    assert "dead-units: unmeasured" in out


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"lightning_diag_history": 99}',
        b'{"lightning_diag_history": 1, "run": 3}',
        b'{"lightning_diag_history": 1, "run": {}}\n',
        b'{"lightning_diag_history": 1, "run": {}}\n{"step": 1e999, "epoch": 0, "stage": "train", "values": {}}\n{}\n',
        b'{"lightning_diag_history": 1, "run": {}}\n{"layers": 3}\n{}\n',
        b'{"lightning_diag_history": 1, "run": {}}\n{"sites": {"a": ["x", "x"]}}\n{}\n',
        b'{"lightning_diag_history": 1, "run": {}}\n' + b"[" * 100_000 + b"\n{}\n",
    ],
)
def test_what_is_no_history_is_2_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "history.jsonl").write_bytes(content)
    code, out, err = run(capsys, "check", str(tmp_path))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize("run_dir", ["no/such/run", "", ".", "history.json", "a\x00b", "x" * 5000, "\x1b[2J"])
def test_no_run_is_2_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run_dir: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "check", run_dir)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "\x1b" not in err


@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_an_unknown_rule_is_2_and_names_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    code, _, err = run(capsys, "check", save(tmp_path, history([1.0])), option, "dead-unit")
    assert code == 2
    assert "did you mean 'dead-units'?" in err


@pytest.mark.parametrize(
    "argv",
    [
        ("check",),
        ("check", ".", "--fail-on", "never"),
        ("check", ".", "--no-such"),
        ("nonsense",),
        ("explain",),
        ("-x",),
    ],
)
def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert "error:" in err


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 2
    assert run(capsys, "--help")[:2] == (0, out)
    for word in ("demo", "check", "rules", "explain", "exit codes: 0 healthy", "Diagnostics()"):
        assert word in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert out.startswith("lightning-diag ")


def test_rules_lists_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "rules")
    assert code == 0
    for line, info in zip(out.splitlines()[1:], rule_infos().values(), strict=False):
        assert line.split()[:2] == [info.code, info.name]


@pytest.mark.parametrize("selector", ["A001", "dead-units"])
def test_explain_says_all_of_a_rule(capsys: pytest.CaptureFixture[str], selector: str) -> None:
    code, out, _ = run(capsys, "explain", selector)
    assert code == 0
    assert out.startswith("A001 dead-units\n")
    help_words = rule_infos()["A001"].help.replace("``", "`").replace(":\n", "\n").split()
    assert " ".join(out.split()) == "A001 dead-units " + " ".join(help_words)


def test_explain_takes_a_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "A")
    assert code == 0
    assert "A001 dead-units" in out
    assert "A003 non-finite-activation" in out


@pytest.mark.parametrize("selector", ["A9", "", "dead units", "\x1b[2J", "[bold]"])
def test_explain_of_an_unknown_rule_is_2(capsys: pytest.CaptureFixture[str], selector: str) -> None:
    code, out, err = run(capsys, "explain", selector)
    assert (code, out) == (2, "")
    assert err.startswith("error: no rule")
    assert "\x1b" not in err


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1)])
def test_demo_runs_the_demo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, result: int | None, code: int
) -> None:
    demo = types.ModuleType("lightning_diag.demo")
    demo.main = lambda argv: result if argv == ["--quick"] else None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning_diag.demo", demo)
    assert run(capsys, "demo", "--quick")[0] == code


def test_demo_without_what_it_needs_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(argv: list[str]) -> None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    demo = types.ModuleType("lightning_diag.demo")
    demo.main = missing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning_diag.demo", demo)
    code, _, err = run(capsys, "demo")
    assert code == 2
    assert "the demo needs sklearn" in err
    assert "pip install" in err


def test_neither_torch_nor_lightning_is_imported(tmp_path: Path) -> None:
    run_dir = save(tmp_path, history([1.0, float("nan")]))
    code = f"""
import sys
from lightning_diag.cli import main
files = ("github", "json:a", "junit:b", "sarif:c", "markdown:d", "full:e", "concise:f")
formats = [x for f in files for x in ("--format", f)]
calls = (["check", {run_dir!r}, *formats], ["rules"], ["explain", "A001"], ["--help"], ["check", "nowhere"])
codes = [main(a) for a in calls]
more = [main(["compare", {run_dir!r}, {run_dir!r}]), main(["report", {run_dir!r}, "--html", "page.html"])]
heavy = {{"torch", "lightning", "pytorch_lightning", "torchmetrics", "torchvision", "tensorboard"}} & set(sys.modules)
assert codes + more == [1, 0, 0, 0, 2, 0, 1], codes + more
assert not heavy, heavy
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes of that kind there")
def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m lightning_diag.cli explain A | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stdout.splitlines()[0] == "A001 dead-units"
