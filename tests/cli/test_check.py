"""``lightning-diag check`` as a pipeline uses it: options, formats, files, baselines, settings, what goes wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree as Tree

import pytest

from lightning_diag import cli
from lightning_diag.cli.options import settings_of
from lightning_diag.rules import RULES
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


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["good"], 0),
        (["bad"], 1),
        (["good", "bad"], 1),
        (["good", "nowhere"], 2),
        (["bad", "--ignore", "L001"], 0),
        (["bad", "--select", "A003"], 0),
        (["bad", "--select", "A003", "--select", "L001"], 1),
        (["good", "--require", "L001"], 0),
        (["good", "--require", "A001"], 1),
        (["good", "--require", "dead-units,L001"], 1),
        (["good", "--select", "A001"], 2),
        (["good", "--select", "A001", "--require", "A001"], 2),
    ],
)
def test_exit_codes(capsys: CAPTURE, argv: list[str], code: int) -> None:
    assert run(capsys, "check", *argv)[0] == code


def test_what_was_not_evaluated_is_counted(capsys: CAPTURE) -> None:
    out = run(capsys, "check", "good", "--format", "concise", "--require", "A001")[1]
    n = len(RULES)
    assert f"good/history.jsonl: incomplete: no findings; 3 of {n} rules judged; {n - 3} unmeasured" in out
    assert "good/history.jsonl: required, but unmeasured: no rectifier" in out


def test_concise_points_at_the_line_of_the_code(capsys: CAPTURE) -> None:
    out = run(capsys, "check", "bad", "--format", "concise")[1]
    assert out.startswith("model.py:3: L001 non-finite-loss [error] whole model, steps 1 to 2: ")


def test_a_log_directory_means_its_newest_run(capsys: CAPTURE, alone: Path) -> None:
    for number, h in ((0, sick()), (9, sick()), (10, healthy())):
        save(alone / "logs" / f"version_{number}", h)
    code, out, _ = run(capsys, "check", "logs", "--format", "concise")
    assert (code, out.count("rules judged")) == (0, 1)
    assert "version_10" in out
    code, out, _ = run(capsys, "check", "logs", "--all", "--format", "concise")
    assert (code, out.count("rules judged")) == (1, 3)


def test_several_formats_at_once(capsys: CAPTURE, alone: Path) -> None:
    formats = ("github", "junit:out/junit.xml", "sarif:out.sarif", "json:out.json", "markdown:out.md")
    code, out, err = run(capsys, "check", "bad", *(x for f in formats for x in ("--format", f)))
    assert (code, err) == (1, "")
    assert out.startswith("::error file=model.py,line=3,title=L001 non-finite-loss::")
    assert Tree.parse(alone / "out/junit.xml").getroot().get("failures") == "1"
    assert json.loads((alone / "out.sarif").read_text())["runs"][0]["results"][0]["ruleId"] == "L001"
    assert json.loads((alone / "out.json").read_text())["exit_code"] == 1
    assert "**L001 non-finite-loss**" in (alone / "out.md").read_text()


def test_output_names_the_file_of_the_format_without_one(capsys: CAPTURE, alone: Path) -> None:
    argv = ("check", "bad", "--format", "json", "--format", "concise:log.txt", "--output", "report.json")
    assert run(capsys, *argv)[:2] == (1, "")
    assert json.loads((alone / "report.json").read_text())["exit_code"] == 1
    assert "L001" in (alone / "log.txt").read_text()


def test_github_gets_its_job_summary(capsys: CAPTURE, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(alone / "summary.md"))
    run(capsys, "check", "bad", "--format", "github")
    assert (alone / "summary.md").read_text().startswith("# Training health")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--format", "yaml"), "no format 'yaml'"),
        (("--format", "json", "--format", "concise"), "two formats for standard output"),
        (("--format", "json:a", "--format", "junit:./a"), "two formats for "),
        (("--format", "json:a", "--output", "b"), "--output 'b' is for one format without a file"),
        (("--format", "json:bad"), "cannot write bad: Is a directory"),
        (("--format", "json:bad/history.jsonl/x"), "cannot write"),
        (("--baseline", "nowhere.json"), "no baseline at nowhere.json"),
        (("--write-baseline",), "--write-baseline needs a file"),
        (("--write-baseline", "--baseline", "no/where/x.json"), "cannot write no/where/x.json"),
        (("--config", "nowhere.toml"), "cannot read nowhere.toml"),
        (("--require", "nope"), "no rule 'nope'"),
        (("--require", "L001", "--ignore", "L"), "required but not asked: L001"),
    ],
)
def test_wrong_use_is_2_and_says_what_to_do(capsys: CAPTURE, argv: tuple[str, ...], words: str) -> None:
    code, _, err = run(capsys, "check", "bad", *argv)
    assert code == 2
    assert err.startswith(f"error: {words}")
    assert len(err.splitlines()) == 2


# -- the baseline ------------------------------------------------------------------------------------------------------


def test_a_baseline_accepts_what_is_there_and_nothing_else(capsys: CAPTURE, alone: Path) -> None:
    code, out, _ = run(capsys, "check", "bad", "--baseline", "known.json", "--write-baseline")
    assert (code, out) == (0, "known.json: 1 finding(s) are known from now on\n")
    code, out, _ = run(capsys, "check", "bad", "--baseline", "known.json")
    assert code == 0
    assert "1 error known to the baseline, not shown" in out
    code, out, _ = run(capsys, "check", "good", "--baseline", "known.json")
    assert code == 0
    assert "stale entry of the baseline, remove it: L001 whole model" in out
    (alone / "known.json").write_text('{"lightning_diag_baseline": 1, "findings": []}')
    assert run(capsys, "check", "bad", "--baseline", "known.json")[0] == 1


def test_no_baseline_is_written_of_what_could_not_be_judged(capsys: CAPTURE, alone: Path) -> None:
    code, _, err = run(capsys, "check", "bad", "nowhere", "--baseline", "known.json", "--write-baseline")
    assert code == 2
    assert err.startswith("error: no baseline was written: cannot read nowhere")
    assert not (alone / "known.json").exists()


# -- settings ----------------------------------------------------------------------------------------------------------


def test_command_line_over_environment_over_file_over_default(
    capsys: CAPTURE, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*argv: str) -> bool:
        return "L001" in run(capsys, "check", "bad", "--format", "concise", *argv)[1]

    assert told()
    (alone / "pyproject.toml").write_text('[tool.lightning-diag]\nignore = ["L001"]')
    assert not told()
    monkeypatch.setenv("LIGHTNING_DIAG_IGNORE", "V")
    assert told()
    assert not told("--ignore", "L")
    monkeypatch.delenv("LIGHTNING_DIAG_IGNORE")
    assert told("--ignore", "")  # the command line takes the file's back
    assert told("--no-config")


def test_sites_limits_and_formats_in_the_file(capsys: CAPTURE, alone: Path) -> None:
    h = history([1.0, 0.5], status="finished")
    h.add_sample(1, 0, {"activation/rms": [1.0], "activation/nonfinite": [3.0], "activation/input_nonfinite": [0.0]})
    save(alone / "layer", h)
    assert run(capsys, "check", "layer", "--fail-on", "info")[0] == 1
    (alone / "pyproject.toml").write_text(
        '[tool.lightning-diag]\nformat = ["json"]\n[tool.lightning-diag.per-site-ignores]\n"net.*" = ["A003"]\n'
        "[tool.lightning-diag.rules]\ndead-units.max_dead_fraction = 0.6\n"
    )
    code, out, _ = run(capsys, "check", "layer", "--fail-on", "info")
    assert (code, json.loads(out)["runs"][0]["findings"]) == (0, [])


def test_limits_on_the_command_line_win(capsys: CAPTURE, alone: Path) -> None:
    (alone / "pyproject.toml").write_text('[tool.lightning-diag.rules]\ndead-units = {"max-dead-fraction" = 0.6}')
    limits = ("--limit", "A001.max_dead_fraction=0.7", "--limit", "dead-units.max_layer_fraction=0.9")
    parser = cli._parser(cli.COMMANDS[1])
    settings = settings_of(parser.parse_args(["check", "good", *limits]))
    assert settings.rules == {"A001": {"max_dead_fraction": 0.7, "max_layer_fraction": 0.9}}
    assert run(capsys, "check", "good", *limits)[0] == 0
    for wrong, words in (
        ("dead-units.max_dead_fraction", "is not RULE.NAME=VALUE"),
        ("dead-unit.x=1", "did you mean 'dead-units'?"),
        ("A001.max_dead=1", "did you mean 'max_dead_fraction'?"),
        ("A001.max_dead_fraction=much", "must be float"),
        ("A001.max_dead_fraction=7", "must be between"),
    ):
        code, _, err = run(capsys, "check", "good", "--limit", wrong)
        assert (code, words in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.lightning-diag]\nselekt = []", "did you mean 'select'?"),
        ("[tool.lightning-diag.rules]\ndead-unit = {}", "did you mean 'dead-units'?"),
        ("[tool.lightning-diag.rules]\ndead-units = {max_dead_fraction = 7}", "must be between"),
        ("[tool.lightning-diag]\nformat = ['yaml']", "no format 'yaml'"),
    ],
)
def test_a_wrong_file_is_2(capsys: CAPTURE, alone: Path, text: str, words: str) -> None:
    (alone / "pyproject.toml").write_text(text)
    code, _, err = run(capsys, "check", "good")
    assert code == 2
    assert words in err
