import numpy as np
import pytest

from tests.rules.histories import STEPS, falling_loss, history, judged, unmeasured

TABLES = {"total/gradient_norm": lambda s, j: 1.0}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sick_names_the_interval(bad):
    loss = falling_loss()
    loss[120:] = bad
    (found,) = judged(history(loss, tables=TABLES), "non-finite-loss")
    assert (found.severity.value, found.step, found.last_step) == ("error", 120, 399)
    assert "between step 100" in found.message
    assert "every_n_steps=1" in found.message


def test_no_interval_where_the_step_before_was_sampled():
    loss = falling_loss()
    loss[2:] = np.nan
    (found,) = judged(history(loss, tables=TABLES), "non-finite-loss")
    assert "origin lies" not in found.message


def test_a_loss_that_grew_first_asks_for_a_smaller_rate():
    loss = falling_loss()
    loss[110:120] = 10.0 ** np.arange(10)
    loss[120:] = np.nan
    (found,) = judged(history(loss, tables=TABLES), "non-finite-loss")
    assert "lr" in found.prescriptions[0].changes


def test_healthy_also_if_negative():
    assert judged(history(falling_loss() - 5), "non-finite-loss") == []


def test_transient_is_a_warning_and_info_where_a_scaler_skips():
    loss = falling_loss()
    loss[120] = np.nan
    assert judged(history(loss), "non-finite-loss")[0].severity == "warning"
    assert judged(history(loss, scaler=True), "non-finite-loss")[0].severity == "info"


def test_absent():
    assert "loss" in unmeasured(history(tables=TABLES, steps=STEPS), "non-finite-loss")


def test_interval_where_the_step_itself_was_not_sampled():
    loss = falling_loss()
    loss[3:] = np.nan  # step 2 was sampled, step 3 was not: nobody saw which layer it was
    (found,) = judged(history(loss, tables=TABLES), "non-finite-loss")
    assert "between step 2, the last one sampled before, and step 3" in found.message
