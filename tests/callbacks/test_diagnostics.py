"""What the callback promises on its surface: settings, the report at any time, how a run may end, what is printed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from lightning_diag import Diagnostics, Report, UnhealthyTraining, check
from lightning_diag.records import History
from lightning_diag.rules import RULES

from .fits import Net, Watch, fit

# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"every_n_steps": 0}, ValueError, "every_n_steps must be 1 or more, got 0"),
        ({"every_n_steps": -3}, ValueError, "got -3"),
        ({"every_n_steps": 1.5}, TypeError, "every_n_steps must be an integer, got 1.5"),
        ({"every_n_steps": True}, TypeError, "got True"),
        ({"select": ["A00x"]}, ValueError, "no rule 'A00x'; did you mean 'A00"),
        ({"ignore": ["dead-unit"]}, ValueError, "did you mean 'dead-units'"),
        ({"ignore": {"net.*": ["nothing-like-it"]}}, ValueError, "no rule 'nothing-like-it'"),
        ({"stop_on": "fatal"}, ValueError, "severity 'fatal' is none of info, warning, error"),
        ({"fail_on": "bad"}, ValueError, "severity 'bad' is none of"),
        ({"compiled": "no"}, ValueError, "compiled must be 'eager' or 'skip', got 'no'"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Diagnostics(**settings)


def test_only_the_interval_may_be_given_by_place() -> None:
    assert Diagnostics(7).every_n_steps == 7
    with pytest.raises(TypeError):
        Diagnostics(7, ["A001"])  # type: ignore[misc]


def test_two_of_them_in_one_trainer_are_refused(tmp_path: Path) -> None:
    with pytest.raises((ValueError, RuntimeError), match=r"two Diagnostics|more than one stateful callback"):
        fit(tmp_path, Diagnostics(verbose=False), Diagnostics(every_n_steps=3, verbose=False))


def test_before_any_fit_nothing_was_judged() -> None:
    diagnostics = Diagnostics()
    assert isinstance(diagnostics.report, Report)
    assert not diagnostics.report.ok
    assert diagnostics.report.exit_code() == 2
    assert diagnostics.report.primary is None
    assert not diagnostics.history


# -- the report ------------------------------------------------------------------------------------------


def test_the_report_is_there_during_fit_and_after(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False)
    seen: list[Report] = []
    fit(tmp_path, diagnostics, Watch(lambda _: seen.append(diagnostics.report)))
    assert len(seen) == 20
    assert [r.run["samples"] for r in seen] == list(range(1, 21)), "up to date with the last sample"
    assert seen[5].run["status"] == "running"
    assert diagnostics.report.run["status"] == "finished"
    assert diagnostics.report.ok, str(diagnostics.report)


def test_a_sick_run_has_its_cause_first(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False)
    fit(tmp_path, diagnostics, module=Net(dead=True))
    report = diagnostics.report
    assert not report.ok
    assert report.primary is not None
    assert (report.primary.code, report.primary.name, report.primary.site) == ("A001", "dead-units", "net.3")
    assert report.primary.severity == "error"
    assert report.primary.message
    assert report.primary.prescriptions
    assert report.outcomes["dead-units"] == "found"


def test_a_stored_history_is_judged_alike(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False)
    fit(tmp_path, diagnostics, module=Net(dead=True))
    stored = History.load(diagnostics.history.run["log_dir"])
    again = check(stored)
    assert again.findings == diagnostics.report.findings
    assert again.outcomes == diagnostics.report.outcomes
    assert check(stored, select=["G00", "L001"]).outcomes.keys() == {
        r.name for r in RULES if r.code.startswith("G00") or r.code == "L001"
    }
    assert "dead-units" not in check(stored, ignore=["A001"]).outcomes


def test_rules_may_be_selected_and_ignored(tmp_path: Path) -> None:
    fit(tmp_path, only := Diagnostics(select=["A", "loss-not-decreasing"], verbose=False), module=Net(dead=True))
    assert all(i.code[0] == "A" or i.code == "L002" for i in only.report.rules.values())
    assert only.report.primary is not None
    fit(tmp_path, without := Diagnostics(ignore=["A001"], verbose=False), module=Net(dead=True))
    assert "dead-units" not in without.report.outcomes


@pytest.mark.parametrize(("glob", "ignored"), [("net.3", True), ("net.*", True), ("other.*", False)])
def test_rules_may_be_ignored_at_sites(glob: str, ignored: bool, tmp_path: Path) -> None:
    diagnostics = Diagnostics(ignore={glob: ["A001"]}, verbose=False)
    fit(tmp_path, diagnostics, module=Net(dead=True))
    assert any(f.code == "A001" for f in diagnostics.report.findings) != ignored
    assert diagnostics.report.outcomes["dead-units"] == ("clean" if ignored else "found")


# -- how a run may end -----------------------------------------------------------------------------------


def test_stop_on_ends_training_at_the_first_such_finding(tmp_path: Path) -> None:
    diagnostics = Diagnostics(stop_on="error", verbose=False)
    module = fit(tmp_path, diagnostics, module=Net(dead=True), max_epochs=30)
    assert 0 < module.trainer.global_step < 60
    assert diagnostics.report.primary is not None
    assert diagnostics.report.run["status"] == "finished"


def test_stop_on_a_loss_that_is_not_finite_acts_on_the_next_sample(tmp_path: Path) -> None:
    diagnostics = Diagnostics(stop_on="error", verbose=False)
    module = fit(tmp_path, diagnostics, module=Net(lr=1e30), max_epochs=30)
    assert module.trainer.global_step <= 12
    assert diagnostics.report.primary is not None


def test_stop_on_leaves_a_healthy_run_alone(tmp_path: Path) -> None:
    module = fit(tmp_path, Diagnostics(stop_on="error", verbose=False), max_epochs=3)
    assert module.trainer.global_step == 30


def test_fail_on_raises_at_the_end_with_the_report(tmp_path: Path) -> None:
    diagnostics = Diagnostics(fail_on="error", verbose=False)
    with pytest.raises(UnhealthyTraining, match="A001 dead-units") as caught:
        fit(tmp_path, diagnostics, module=Net(dead=True))
    assert caught.value.report is diagnostics.report
    assert caught.value.report.run["status"] == "finished"
    assert len(diagnostics.history.series("loss")) == 20, "the whole run was trained"


def test_fail_on_lets_a_healthy_run_pass(tmp_path: Path) -> None:
    fit(tmp_path, diagnostics := Diagnostics(fail_on="error", verbose=False))
    assert diagnostics.report.ok


def test_fail_on_an_exception_leaves_the_exception(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="bang"):
        fit(tmp_path, Diagnostics(fail_on="error", verbose=False), module=Net(dead=True, fail_at=15))


def test_after_an_exception_the_report_says_what_was_seen(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False)
    with pytest.raises(RuntimeError, match="bang"):
        fit(tmp_path, diagnostics, module=Net(dead=True, fail_at=15))
    report = diagnostics.report
    assert report.run["status"] == "failed: RuntimeError: bang"
    assert report.run["steps"] == 15
    assert report.primary is not None
    assert Report.load(Path(report.run["log_dir"]) / "health.json").findings == report.findings


def test_after_ctrl_c(tmp_path: Path) -> None:
    def interrupt(trainer: L.Trainer) -> None:
        if trainer.global_step == 12:
            raise KeyboardInterrupt

    diagnostics = Diagnostics(verbose=False)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, diagnostics, Watch(interrupt))
    assert diagnostics.report.run["status"] == "interrupted"
    assert len(History.load(diagnostics.report.run["log_dir"])) >= 12


def test_our_own_failure_never_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("lightning_diag.probes.readings.moments", broken)
    diagnostics = Diagnostics(verbose=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        module = fit(tmp_path, diagnostics)
    ours = [str(w.message) for w in told if "lightning_diag" in str(w.message)]
    assert len(ours) == 1
    assert "failed and stands aside, the training goes on: ZeroDivisionError('ours')" in ours[0]
    assert module.trainer.global_step == 20
    assert diagnostics.report.outcomes["diagnostics"] == "crashed"
    assert "ZeroDivisionError: ours" in diagnostics.report.outcomes["diagnostics"].reason
    assert diagnostics.report.exit_code() == 2
