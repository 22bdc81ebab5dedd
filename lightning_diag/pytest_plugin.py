"""pytest plugin: the fixture and the marker ``training_health``, a terminal summary, properties in JUnit.

pytest imports this module in every session of the environment, so it imports nothing else: what a check needs is
loaded by the first check.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lightning_diag.findings import Report
    from lightning_diag.gate import Decision, Judged

_OPTIONS = ("select", "ignore", "fail_on", "require")
_PROPERTY = "training_health"
_MARKER = (
    "training_health(select=, ignore=, fail_on=, require=): which rules training_health.check asks in this test, "
    "which severity fails (error), and which rules must judge"
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def training_health(request: pytest.FixtureRequest) -> TrainingHealth:
    """Judge trainings: ``training_health.check(trainer | diagnostics | run directory | history | report)``."""
    return TrainingHealth(request)


class TrainingHealth:
    """What the fixture gives; settings come from ``check``, then the marker, then pyproject.toml."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._node, self._root = request.node, request.config.rootpath
        self._checks = 0

    def check(self, subject: Any, **options: Any) -> Report:
        """Return the report on a training, or fail the test and show the findings.

        Args:
            subject: a Trainer with a Diagnostics among its callbacks, a Diagnostics, the directory of a run (or of
                many: the newest), a history, or a report.
            **options: ``select``, ``ignore``, ``fail_on``, ``require``; they win over those of the marker.

        Raises:
            AssertionError: something was found, a required rule did not judge, or nothing could be judged.
            ValueError: an option or a rule does not exist.
            TypeError: the subject is none of these.
        """
        __tracebackhide__ = True
        checks = importlib.import_module("lightning_diag.pytest_checks")
        decision, run = checks.decided(subject, self._settings(options), str(self._root))
        self._checks += 1
        self._tell(decision, run)
        if decision.exit_code:
            raise AssertionError(checks.message(decision, run))
        report: Report = run.report
        return report

    def fit(self, module: Any, train_loader: Any, val_loader: Any = None, **options: Any) -> Report:
        """Return the report on a short fit, see :func:`lightning_diag.testing.fit`; it is not checked yet."""
        report: Report = importlib.import_module("lightning_diag.testing").fit(
            module, train_loader, val_loader, **options
        )
        return report

    def _settings(self, options: dict[str, Any]) -> dict[str, Any]:
        marked: dict[str, Any] = {}
        for marker in reversed(list(self._node.iter_markers("training_health"))):  # the nearest one wins
            if marker.args:
                raise ValueError(f"the marker training_health takes keywords only, got {marker.args!r}")
            marked |= marker.kwargs
        for name in (*marked, *options):
            if name not in _OPTIONS:
                near = difflib.get_close_matches(name, _OPTIONS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(_OPTIONS)}"
                raise ValueError(f"training_health has no option {name!r}; {hint}")
        return marked | options

    def _tell(self, decision: Decision, run: Judged) -> None:
        """Leave the outcome where the summary, JUnit and xdist find it."""
        from lightning_diag.sinks.tally import tally
        from lightning_diag.sinks.wording import printable

        told = self._node.user_properties
        told.append((_PROPERTY, printable(tally(run, decision), limit=400)))
        for f in run.report.findings[:20]:
            where = f.site or "whole model"
            told.append((f"{_PROPERTY}.{f.code}", printable(f"{f.severity} {where}: {f.message}", limit=400)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show one line per check, the failed ones first."""
    lines = []
    for outcome in ("failed", "error", "passed"):
        for report in terminalreporter.stats.get(outcome, []):
            if getattr(report, "when", "") != "call":
                continue
            found = [str(v) for k, v in getattr(report, "user_properties", ()) if k == _PROPERTY]
            lines += [(outcome, f"{report.nodeid}: {text}") for text in found]
    if not lines:
        return
    terminalreporter.section("training health")
    for outcome, text in lines:
        terminalreporter.write_line(text, red=outcome != "passed", green=outcome == "passed")
