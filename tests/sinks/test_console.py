from __future__ import annotations

import io
import unicodedata

import pytest
from rich.console import Console

from lightning_diag.findings import Outcome, Report
from lightning_diag.sinks.console import live_line, print_report, table, text
from tests.sinks.reports import CRASHED, ERROR, EVIL, HEALTHY, HOSTILE, SICK, UNJUDGED, finding

SICK_AT_80 = """\
╭─  Training health: sick  ────────────────────────────────────────────────────╮
│                                                                              │
│ ✖ A001  dead-units · 2 places                                                │
│         net.5 · steps 0 to 90                                                │
│           94 % of 64 units.                                                  │
│         net.3 · steps 0 to 90                                                │
│           93 % of 64 units.                                                  │
│         → Initialize for ReLU.                                               │
│         → Add BatchNorm.                                                     │
│         ╰ explains G001 vanishing-gradients in net.0.weight, net.2.weight,   │
│           from step 4                                                        │
│         ╰ explains L002 loss-not-decreasing in whole model, from step 40     │
│                                                                              │
│ ▲ V001  overfitting · whole model · step 60                                  │
│         val_loss rises.                                                      │
│         → Stop.                                                              │
│                                                                              │
│ 5 of 6 rules judged · 1 unmeasured · 64 of 91 steps sampled · 0.73 % of the  │
│ time spent looking                                                           │
│ saturated-units: unmeasured, the model has no bounded activation             │
│ logs/version_3                                                               │
╰──────────────────────────────────────────────────────────────────────────────╯
"""
SICK_PLAIN = """\
Training health: sick
  A001 dead-units [error] in net.5, steps 0 to 90: 94 % of 64 units.
  A001 dead-units [error] in net.3, steps 0 to 90: 93 % of 64 units.
      because of it: G001 vanishing-gradients [error] in net.0.weight, step 8: Tiny.
      because of it: G001 vanishing-gradients [error] in net.2.weight, step 4: Tiny.
      because of it: L002 loss-not-decreasing [warning], step 40: Flat.
      to do: Initialize for ReLU.
      to do: Add BatchNorm.
  V001 overfitting [warning], step 60: val_loss rises.
      to do: Stop.
  looked at: 5 of 6 rules judged; 1 unmeasured; 64 of 91 steps sampled; 0.73 % of the time spent looking
  saturated-units: unmeasured (the model has no bounded activation)
  files: logs/version_3
"""


def shown(report: Report, width: int = 80, encoding: str = "utf-8", **options: object) -> str:
    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding=encoding, newline="\n")
    options = {"force_terminal": True, "color_system": None, "legacy_windows": False, **options}
    print_report(report, Console(file=file, width=width, **options))  # type: ignore[arg-type]
    file.flush()
    return buffer.getvalue().decode(encoding)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def test_a_terminal_gets_one_table_with_consequences_folded_under_their_cause() -> None:
    assert shown(SICK) == SICK_AT_80


def test_elsewhere_and_with_no_color_it_is_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(SICK, force_terminal=False) == SICK_PLAIN
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(SICK) == SICK_PLAIN


@pytest.mark.parametrize("width", [30, 80, 120, 300])
@pytest.mark.parametrize("report", [SICK, HEALTHY, UNJUDGED, CRASHED, HOSTILE], ids=lambda r: r.verdict)
def test_lines_keep_to_the_width_and_no_wider_than_can_be_read(report: Report, width: int) -> None:
    lines = shown(report, width).splitlines()
    assert max(map(len, lines)) <= min(width, 120)
    assert all(line[0] in "╭│╰" and line[-1] in "╮│╯" for line in lines)


def test_nothing_found_nothing_judged_and_crashed_read_differently() -> None:
    assert "Nothing found." in shown(HEALTHY)
    assert "run interrupted" in shown(HEALTHY)
    assert "Nothing found." not in shown(UNJUDGED) + shown(CRASHED)
    assert "nothing is known" in shown(UNJUDGED)
    assert "dead-units: unmeasured, no sample" in shown(UNJUDGED)
    assert "dead-units: crashed, ZeroDivisionError: division by zero" in shown(CRASHED)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_hostile_names_neither_break_nor_command_the_terminal(terminal: bool, encoding: str) -> None:
    output = shown(HOSTILE, 100, encoding, force_terminal=terminal)
    assert all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in output)
    assert "[bold red]a|b`c`" in output  # shown as written, not taken for markup
    assert ":boom:" in output


def test_a_terminal_without_unicode_gets_signs_it_can_show() -> None:
    output = shown(SICK, encoding="ascii")
    assert "x A001" in output
    assert "-> Initialize for ReLU." in output
    assert "`- explains G001" in output


def test_many_findings_of_one_rule_are_shown_as_a_few_and_a_list() -> None:
    report = Report(findings=tuple(finding("A001", "dead-units", ERROR, f"net.{i}", 0, f"No {i}.") for i in range(30)))
    output = shown(report)
    assert output.count("No ") == 3
    assert "30 places" in output
    assert "also in net.3, net.4, net.5, net.6, net.7, net.8 and 21 more" in output
    assert text(report).count("No ") == 30


def test_the_same_rule_at_another_severity_is_another_group() -> None:
    from lightning_diag.findings import Severity

    some = [finding("A001", "dead-units", s, f"net.{s}", 0, "m") for s in (Severity.ERROR, Severity.WARNING)]
    assert "✖ A001" in shown(Report(findings=tuple(some)))
    assert "▲ A001" in shown(Report(findings=tuple(some)))


def test_a_consequence_whose_cause_is_not_in_the_report_is_still_shown() -> None:
    report = Report(findings=(finding("G001", "vanishing-gradients", ERROR, "net.0", 0, "Tiny.", because="A001"),))
    assert "Tiny." in shown(report)
    assert "Tiny." in text(report)


def test_files_are_told_where_given() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(table(SICK, files=["runs/history-2.jsonl", "runs/health-2.json"]))
    assert "runs/health-2.json" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "version_3" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_live_line_is_one_clean_line() -> None:
    line = live_line(finding("A003", "non-finite-activation", ERROR, EVIL, 7, EVIL))
    assert line.startswith("lightning_diag: error at step 7: A003 non-finite-activation in x?[2J?[bold red]")
    assert line.isprintable()


def test_many_unmeasured_rules_are_named_without_their_reasons() -> None:
    outcomes = {f"rule-{i}": Outcome("unmeasured", f"reason {i}") for i in range(9)}
    report = Report(outcomes={**outcomes, "bad": Outcome("crashed", "why")})
    told = " ".join(shown(report).replace("│", " ").split())
    assert "unmeasured: rule-0, rule-1, rule-2, rule-3, rule-4, rule-5, rule-6, rule-7, rule-8; why is in" in told
    assert "bad: crashed, why" in told
    assert "reason 3" not in told
    assert "reason 8" in text(report)
