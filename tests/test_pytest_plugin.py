"""The pytest plugin, run by pytest inside of pytest: what fails, what is shown, what JUnit and xdist get."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree as Tree

import pytest

from lightning_diag.records import History
from tests.histories import healthy, save, sick

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.filterwarnings("default")

HEAD = """
import pytest
from lightning_diag.records import History
"""


@pytest.fixture
def runs(pytester: pytest.Pytester) -> pytest.Pytester:
    """A directory with a healthy and a sick run, in which tests are made."""
    save(pytester.path / "good", healthy())
    save(pytester.path / "bad", sick())
    return pytester


def outcome(pytester: pytest.Pytester, body: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(HEAD + textwrap.dedent(body))
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers", *options)


def test_a_healthy_run_passes_and_is_told(runs: pytest.Pytester) -> None:
    result = outcome(runs, "def test_it(training_health): assert training_health.check('good').ok")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*= training health =*", "*::test_it: healthy: no findings; * rules judged*"])


def test_a_sick_run_fails_and_the_findings_are_the_message(runs: pytest.Pytester) -> None:
    result = outcome(runs, "def test_it(training_health): training_health.check('bad')")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E  *AssertionError: training health: sick: 1 error*",
            "E  *L001 non-finite-loss [[]error] whole model (model.py:3), steps 1 to 2: *",
            "E  *to do:*",
            "*::test_it: sick: 1 error*",
        ]
    )
    assert "pytest_plugin.py" not in result.stdout.str(), "our own frames hide what the user looks for"


@pytest.mark.parametrize(
    "marker",
    [
        "select=['A003']",
        "select='A003'",
        "ignore=['L001']",
        "ignore=['L'], fail_on='warning'",
    ],
)
def test_the_marker_says_what_is_asked(runs: pytest.Pytester, marker: str) -> None:
    outcome(
        runs, f"@pytest.mark.training_health({marker})\ndef test_it(training_health): training_health.check('bad')"
    ).assert_outcomes(passed=1)


def test_check_wins_over_the_marker_and_the_nearest_marker_over_others(runs: pytest.Pytester) -> None:
    body = """
    pytestmark = pytest.mark.training_health(ignore=["L001"])
    def test_module(training_health): training_health.check("bad")
    @pytest.mark.training_health(ignore=["A"])
    def test_near(training_health):
        with pytest.raises(AssertionError, match="L001"): training_health.check("bad")
    def test_call(training_health):
        with pytest.raises(AssertionError, match="L001"): training_health.check("bad", ignore=())
    """
    outcome(runs, body).assert_outcomes(passed=3)


def test_a_required_rule_that_could_not_judge_fails(runs: pytest.Pytester) -> None:
    body = "@pytest.mark.training_health(require=['A001'])\ndef test_it(training_health): training_health.check('good')"
    result = outcome(runs, body)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E  *incomplete*", "E  *required, but unmeasured*A001 dead-units*"])


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("'nowhere'", "cannot read nowhere"),
        ("History()", "nothing was recorded"),
        ("'empty'", "no history.jsonl in empty"),
    ],
)
def test_what_cannot_be_judged_fails(runs: pytest.Pytester, subject: str, text: str) -> None:
    (runs.path / "empty").mkdir()
    result = outcome(runs, f"def test_it(training_health): training_health.check({subject})")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E  *not judged: *{text}*"])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("check('good', selct=['A'])", "ValueError: *did you mean 'select'?*"),
        ("check('good', select=['dead-unit'])", "ValueError: *did you mean 'dead-units'?*"),
        ("check('good', fail_on='never')", "ValueError: severity 'never' is none of*"),
        ("check(3)", "TypeError: training_health.check takes a Trainer*got 3"),
        ("check(type('T', (), {'callbacks': []})())", "ValueError: the Trainer has no Diagnostics*"),
        ("check('good', ignore=['L001'], require=['L001'])", "ValueError: required but not asked: L001*"),
    ],
)
def test_wrong_use_is_an_error_that_says_so(runs: pytest.Pytester, call: str, error: str) -> None:
    result = outcome(runs, f"def test_it(training_health): training_health.{call}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E  *{error}"])


def test_history_report_and_diagnostics_are_subjects_too(runs: pytest.Pytester) -> None:
    body = """
    from lightning_diag.rules import check
    def test_it(training_health):
        bad = History.load("bad")
        diagnostics = type("D", (), {"history": bad})()
        trainer = type("T", (), {"callbacks": [object(), diagnostics]})()
        for subject in (bad, check(bad), diagnostics, trainer):
            with pytest.raises(AssertionError, match="L001"):
                training_health.check(subject)
            training_health.check(subject, select=["A003"])
            with pytest.raises(AssertionError, match="required"):
                training_health.check(subject, ignore=["L"], require=["A001"])
    """
    outcome(runs, body).assert_outcomes(passed=1)


def test_the_file_is_read_and_the_baseline_lets_pass(runs: pytest.Pytester) -> None:
    runs.makepyprojecttoml('[tool.lightning-diag]\nbaseline = "known.json"')
    rows = [{"code": "L001", "site": ""}]
    (runs.path / "known.json").write_text(json.dumps({"lightning_diag_baseline": 1, "findings": rows}))
    result = outcome(runs, "def test_it(training_health): training_health.check('bad')")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*1 known to the baseline*"])


def test_a_wrong_file_is_an_error_of_the_test(runs: pytest.Pytester) -> None:
    runs.makepyprojecttoml("[tool.lightning-diag]\nselekt = []")
    result = outcome(runs, "def test_it(training_health): training_health.check('good')")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E  *ConfigError: *did you mean 'select'?"])


@pytest.mark.parametrize("workers", [(), ("-n", "1", "-p", "no:hypothesispytest")], ids=["here", "xdist"])
def test_junit_and_the_summary_get_the_results(runs: pytest.Pytester, workers: tuple[str, ...]) -> None:
    runs.makepyfile(
        HEAD
        + textwrap.dedent(
            """
            def test_good(training_health): training_health.check('good')
            def test_bad(training_health): training_health.check('bad')
            def test_else(): pass
            """
        )
    )
    options = ["-p", "no:cacheprovider", "--junitxml=out.xml", *workers]
    result = runs.runpytest_subprocess(*options) if workers else runs.runpytest_inprocess(*options)
    result.assert_outcomes(passed=2, failed=1)
    lines = result.stdout.str().split("= training health =")[1].splitlines()
    assert [line.split(": ")[1] for line in lines[1:3]] == ["sick", "healthy"]
    found = {
        case.get("name"): {p.get("name"): p.get("value", "") for p in case.iter("property")}
        for case in Tree.parse(runs.path / "out.xml").iter("testcase")
    }
    assert found["test_else"] == {}
    assert found["test_good"]["training_health"].startswith("healthy: no findings")
    assert found["test_bad"]["training_health"].startswith("sick: 1 error")
    assert found["test_bad"]["training_health.L001"].startswith("error whole model: The loss became nan")


def test_names_from_a_file_cannot_break_the_output(runs: pytest.Pytester) -> None:
    history = History({"status": "finished"})
    evil = "x\x1b[2J\n\ud800|%[bold]"
    history.set_sites("activation", [evil])
    zero = {"activation/rms": [1.0], "activation/nonfinite": [5.0], "activation/input_nonfinite": [0.0]}
    history.add_sample(0, 0, zero)
    save(runs.path / "evil", history)
    result = outcome(runs, "def test_it(training_health): training_health.check('evil', select=['A003'])")
    result.assert_outcomes(failed=1)
    assert "\x1b[2J" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*A003 non-finite-activation*"])


def test_an_unrelated_session_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    heavy = {'torch', 'lightning', 'pytorch_lightning', 'numpy', 'rich'} & set(sys.modules)\n"
        "    ours = {m for m in sys.modules if m.startswith('lightning_diag')}\n"
        "    assert not heavy, heavy\n"
        "    assert ours == {'lightning_diag', 'lightning_diag.pytest_plugin'}, ours\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:xdist",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "training health" not in done.stdout
