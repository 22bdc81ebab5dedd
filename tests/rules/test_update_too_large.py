import numpy as np
import pytest

from tests.rules.histories import falling_loss, flat_loss, history, judged, layers, unmeasured


def run(ratio, loss, *, weight=lambda s, j: 0.1, steps=None, **facts):
    tables = {"update/ratio": ratio, "parameter/rms": weight}
    extra = {} if steps is None else {"steps": steps}
    return history(loss, tables=tables, points={"learning_rate/0": [0.5] * 10}, **extra, **facts)


def test_sick_flat_and_long_steps():
    (found,) = judged(run(lambda s, j: 0.8, flat_loss()), "update-too-large")
    assert found.severity == "error"
    assert found.value == pytest.approx(0.8)
    assert "learning rate 0.5" in found.message
    assert "lr" in found.prescriptions[0].changes


def test_sick_one_step_killed_it():
    (found,) = judged(run(lambda s, j: 30.0 if s == 0 else 0.0, flat_loss()), "update-too-large")
    assert found.step == found.last_step == 0


def test_sick_diverged_within_five_steps():
    loss = np.array([2.3, 9.0, 1e4, 1e9, np.nan, np.nan])
    made = run(lambda s, j: 3.0 if s < 4 else np.nan, loss, steps=(0, 1, 2, 3, 4, 5))
    (found,) = judged(made, "update-too-large")
    assert found.severity == "error"
    assert "diverges" in found.message


@pytest.mark.parametrize("ratio", [1e-4, 1e-3, 0.05, 0.3])
def test_healthy_while_the_loss_falls(ratio):
    assert judged(run(lambda s, j: ratio, falling_loss()), "update-too-large") == []


def test_learning_with_huge_steps_is_a_warning():
    assert judged(run(lambda s, j: 0.9, falling_loss()), "update-too-large")[0].severity == "warning"


def test_transient_first_steps_of_adam_are_silent():
    made = run(lambda s, j: 5.0 if s < 10 else 1e-3, falling_loss())
    assert judged(made, "update-too-large") == []


def test_a_break_long_after_large_first_steps_is_not_blamed_on_them():
    loss = falling_loss()
    loss[300:] = np.nan
    assert judged(run(lambda s, j: 5.0 if s < 3 else 1e-3, loss), "update-too-large") == []


def test_one_matrix_that_grows_from_zero_and_biases_are_silent():
    odd = lambda s, j: 2.0 if j % 2 or j == 8 else 1e-3  # noqa: E731
    assert judged(run(odd, falling_loss()), "update-too-large") == []
    tiny = run(lambda s, j: 2.0 if j == 8 else 1e-3, flat_loss(), weight=lambda s, j: 1e-5 if j == 8 else 0.1)
    assert judged(tiny, "update-too-large") == []


def test_absent():
    assert "update/ratio" in unmeasured(history(flat_loss()), "update-too-large")
    made = run(lambda s, j: 0.8, flat_loss(50), steps=(0, 1, 2, 4, 8, 16, 32, 49), status="running")
    assert "needed" in unmeasured(made, "update-too-large")
    made.layers = tuple(layers(type_="Embedding")[:-1])
    assert "no weight matrix" in unmeasured(made, "update-too-large")


def test_overshoot_before_learning_is_a_warning():
    loss = falling_loss()
    loss[:30] += 40
    loss[0] -= 40
    made = run(lambda s, j: 2.0 if s < 4 else 1e-3, loss)
    (found,) = judged(made, "update-too-large")
    assert found.severity == "warning"


def test_a_break_that_no_growth_announced_is_not_blamed_on_the_steps():
    made = run(lambda s, j: 0.2, np.array([0.1, 0.7, np.nan, np.nan]), steps=(0, 1, 2, 3))
    assert judged(made, "update-too-large") == []


def test_what_a_broken_loss_left_behind_does_not_hide_the_steps_before():
    loss = np.full(400, np.nan)
    loss[:17] = 2.3 * 4.0 ** np.arange(17)
    (found,) = judged(run(lambda s, j: 5.0 if s <= 16 else 0.0, loss), "update-too-large")
    assert found.severity == "error"
    assert found.last_step <= 16
