import pytest

from lightning_diag.findings import Finding, Report, Severity
from lightning_diag.rules import CAUSES, RULES, fold

CODES = {r.name: r.code for r in RULES}


def found(name, step=0, severity="error", site=""):
    return Finding(CODES[name], name, Severity(severity), site, step, 0.0, 0.0, "It is so.", step)


def order(*findings):
    return [(f.code, f.because) for f in fold(findings)]


def test_table_names_rules_and_gives_reasons():
    assert {r.cause for r in CAUSES} | {r.consequence for r in CAUSES} <= set(CODES)
    assert all(row.reason and row.cause != row.consequence for row in CAUSES)
    assert len({(r.cause, r.consequence) for r in CAUSES}) == len(CAUSES)


def test_untimed_rows_have_no_circle():
    below = {}
    for row in CAUSES:
        if not row.timed:
            below.setdefault(row.cause, set()).add(row.consequence)

    def reach(name):
        return {x for y in below.get(name, ()) for x in {y} | reach(y)}

    assert all(name not in reach(name) for name in below)


def test_small_start_explains_dead_units_and_a_flat_loss():
    findings = [found("loss-not-decreasing"), found("dead-units", 8, site="a"), found("vanishing-gradients", 0)]
    assert order(*findings) == [("G001", ""), ("A001", "G001"), ("L002", "A001")]


def test_dead_from_the_start_explains_vanishing():
    assert order(found("vanishing-gradients"), found("dead-units")) == [("A001", ""), ("G001", "A001")]


def test_large_steps_explain_units_that_died_later_only():
    assert order(found("update-too-large", 1), found("dead-units", 4)) == [("W001", ""), ("A001", "W001")]
    assert {b for _, b in order(found("update-too-large", 1), found("dead-units", 0))} == {""}


@pytest.mark.parametrize(
    ("first", "then"),
    [("non-finite-activation", "non-finite-loss"), ("non-finite-loss", "non-finite-gradient")],
)
def test_within_a_step_forward_comes_before_loss_before_backward(first, then):
    assert order(found(then, 5), found(first, 5)) == [(CODES[first], ""), (CODES[then], CODES[first])]


def test_what_broke_first_is_the_cause():
    assert order(found("non-finite-gradient", 4), found("non-finite-loss", 5))[0] == ("G003", "")
    assert order(found("non-finite-gradient", 6), found("non-finite-loss", 5))[0] == ("L001", "")


@pytest.mark.parametrize(("step", "root"), [(10, "A006"), (20, "A001"), (30, "A001")])
def test_a_collapse_explains_dead_units_only_where_it_came_before(step, root):
    collapse, dead = found("representation-collapse", step, "warning"), found("dead-units", 20)
    assert order(collapse, dead)[0] == (root, "")


def test_an_info_explains_nothing():
    assert ("L002", "") in order(found("dead-units", severity="info"), found("loss-not-decreasing"))


def test_a_cut_graph_explains_long_steps_only_where_it_is_an_error():
    long = found("learning-rate-too-high", 2)
    assert order(found("no-gradient", 0), long) == [("G004", ""), ("O001", "G004")]
    assert {b for _, b in order(found("no-gradient", 0, "warning"), long)} == {""}


def test_worst_root_first_and_nothing_lost():
    findings = [found("overfitting", severity="warning"), found("dead-units", severity="warning", site="a"),
                found("dead-units", severity="warning", site="b"), found("non-finite-loss", 9)]  # fmt: skip
    folded = fold(findings)
    assert Report(folded).primary.code == "L001"
    assert sorted(f.key for f in folded) == sorted(f.key for f in findings)
    assert fold([]) == ()
