from pathlib import Path

import numpy as np
import pytest

from lightning_diag import History, check
from lightning_diag.findings import Finding, Report, Severity
from tests.laboratory import judging
from tests.laboratory.judging import Said
from tests.laboratory.store import Store, lines


def history(steps: int = 40, broken_from: int = 20) -> History:
    """A loss that is not a number from some step on."""
    h = History({"status": "finished", "steps": steps})
    h.set_sites("total", [""])
    loss = [2.0 - i / steps if i < broken_from else np.nan for i in range(steps)]
    for i in range(steps):
        h.add_sample(i, 0, {"total/gradient_norm": [1.0]})
        h.add_points("loss", [i], [loss[i]])
    return h


def test_a_prefix_is_what_was_known_then_and_leaves_the_history_alone() -> None:
    whole = history()
    before = lines(whole)
    whole.table("total/gradient_norm")
    part = judging.prefix(whole, 10)
    assert (part.steps.tolist(), part.series("loss").steps.tolist()) == ([*range(10)], [*range(10)])
    assert len(part.table("total/gradient_norm")) == 10
    assert (part.run["steps"], part.run["status"]) == (10, "running")
    assert lines(whole) == before
    assert len(whole.table("total/gradient_norm")) == 40


def test_moments_grow_geometrically_up_to_the_end() -> None:
    moments = list(judging.moments(history(100)))
    assert moments[:6] == [1, 2, 3, 4, 5, 7]
    assert moments[-1] == 100 and len(moments) < 20
    assert list(judging.moments(History())) == []


def test_the_first_naming_is_found() -> None:
    whole = history()
    assert any(f.code == "L001" for f in check(whole).findings)
    first = judging.first_named(whole, ["L001"])
    assert first in list(judging.moments(whole)) and 20 < first <= 40
    assert judging.first_named(whole, ["A001"]) == -1
    assert judging.first_named(whole, ["Z999"]) == -1  # a code whose rule does not exist yet


def test_an_info_counts_where_it_is_all_that_a_rule_says_and_names_the_fault() -> None:
    def of(code: str) -> Finding:
        return Finding(code, code.lower(), Severity.INFO, "", 0, 1.0, 0.0, "found")

    report = Report((of("N002"), of("A001")))
    assert [s.label for s in judging.said(report, ("N002", "A001"))] == ["N002"]
    assert judging.said(report) == ()


def test_a_row_has_the_worst_severity_and_a_star_at_the_first_root() -> None:
    found = [
        Said("L002", ("L002",), "warning", root=False),
        Said("A001", ("A001",), "warning"),
        Said("A001", ("A001",), "error"),
    ]
    assert judging.row(found) == {"A001": "error*", "L002": "warning"}
    assert judging.row([]) == {}


def test_stored_fits_are_judged_alike_alone_and_in_parallel(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tasks = []
    for seed in range(16):
        path = store.path("p", seed, "key")
        store.write(path, lines(history(broken_from=20 + seed)))
        tasks.append(("p", seed, str(path), ("L001",), True))
    alone, _ = judging.judge(tasks, workers=1)
    together, _ = judging.judge(tasks, workers=2)
    assert alone == together
    assert [v.seed for v in alone] == list(range(16))
    assert all(v.primary is not None and v.primary.label == "L001" and v.steps == 40 and v.first > 20 for v in alone)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(store.path("p", 0, "key"), "nonsense\n")
    task = ("p", 0, str(store.path("p", 0, "key")), (), False)
    with pytest.raises(ValueError, match="line 1"):
        judging.judge([task], workers=1)
