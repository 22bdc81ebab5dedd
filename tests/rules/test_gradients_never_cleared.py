import numpy as np

from tests.rules.histories import falling_loss, flat_loss, judged, unmeasured
from tests.rules.wired import wired

RULE = "gradients-never-cleared"


def left(share, loss, **more):
    return wired(loss, readings={"total/gradients_left": share, **more})


def test_sick():
    (found,) = judged(left(lambda s, n: 1.0, flat_loss()), RULE)
    assert found.severity == "error"
    assert judged(left(lambda s, n: 1.0, falling_loss(scale=0.1)), RULE)[0].severity == "warning"


def test_cleared_at_every_second_batch_is_sick_too():
    assert judged(left(lambda s, n: float(s in (1, 8, 32, 100, 200, 300, 399)), flat_loss()), RULE)


def test_healthy_and_transient():
    assert judged(left(lambda s, n: 0.0, flat_loss()), RULE) == []
    assert judged(left(lambda s, n: float(s == 1), flat_loss()), RULE) == []


def test_a_network_that_died_of_it_leaves_no_gradient():
    died = left(lambda s, n: float(s < 10), flat_loss(), **{"gradient/rms": lambda s, n: 0.1 if s < 10 else 0.0})
    assert judged(died, RULE)


def test_absent():
    assert "needed" in unmeasured(wired(flat_loss()), RULE)


def test_one_part_that_keeps_its_gradients_is_enough_where_both_are_stepped():
    both = {"total/gradients_left": lambda s, n: 0.0, "total/gradients_left_in_part": lambda s, n: 1.0}
    assert judged(wired(flat_loss(), readings=both), RULE)
    turns = {**both, "gradient/rms": lambda s, n: np.nan if n.startswith("net.0") else 0.01}
    assert judged(wired(flat_loss(), readings=turns), RULE) == []  # opponents in other batches
    left_out = {"net.0.weight": [[64, 64], True, -1]}  # gradients pile up where no optimizer clears them
    assert judged(wired(flat_loss(), readings=both, known=left_out), RULE) == []
