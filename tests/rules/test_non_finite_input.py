import numpy as np

from tests.rules.histories import falling_loss, history, judged, unmeasured
from tests.rules.surroundings import seen


def run(bad, loss, *, site="0"):
    made = history(loss, structure=[], **seen())
    made.set_sites("batch", ["0", "1"])
    for step in range(0, 400, 20):
        row = [0.0, 0.0]
        row["01".index(site)] = bad(step)
        made.add_sample(step, 0, {"batch/nonfinite": row})
    return made


def test_sick_nan_in_the_input_and_in_the_loss():
    loss = falling_loss()
    loss[200:] = np.nan
    (found,) = judged(run(lambda s: 3.0 * (s == 200), loss), "non-finite-input")
    assert (found.severity, found.site, found.step) == ("error", "0", 200)


def test_info_where_the_model_deals_with_it():
    (found,) = judged(run(lambda s: 3.0, falling_loss()), "non-finite-input")
    assert found.severity == "info"


def test_healthy_and_targets_are_not_its_business():
    assert judged(run(lambda s: 0.0, falling_loss()), "non-finite-input") == []
    assert judged(run(lambda s: 1.0, falling_loss(), site="1"), "non-finite-input") == []


def test_absent():
    assert "batch/nonfinite" in unmeasured(history(falling_loss()), "non-finite-input")


def test_targets_count_where_the_loss_breaks_of_them():
    def made(loss):
        m = history(loss, data={"train": {"1": {}}, "target": {"path": "1"}})
        m.set_sites("batch", ["0", "1"])
        for step in (0, 50, 100):
            m.add_sample(step, 0, {"batch/nonfinite": [0.0, 3.0]})
        return m

    masked, broken = falling_loss(), falling_loss()
    broken[60:] = np.nan
    assert judged(made(masked), "non-finite-input") == []
    assert judged(made(broken), "non-finite-input")[0].site == "1"
