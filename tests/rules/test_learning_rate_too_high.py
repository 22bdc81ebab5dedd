import numpy as np

from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured
from tests.rules.surroundings import cross_entropy


def run(ratio, loss, **facts):
    tables = {"update/ratio": ratio, "parameter/rms": lambda s, j: 0.1}
    return history(loss, tables=tables, points={"learning_rate/0": [0.5] * 10}, losses=cross_entropy(), **facts)


def test_sick_flat():
    (found,) = judged(run(lambda s, j: 0.2, flat_loss()), "learning-rate-too-high")
    assert found.severity == "error"
    assert "learning rate 0.5" in found.message


def test_sick_diverges():
    loss = np.concatenate([np.geomspace(2.3, 1e20, 30), [np.nan] * 5])
    assert judged(run(lambda s, j: 3.0 if s < 30 else np.nan, loss), "learning-rate-too-high")[0].severity == "error"


def test_long_steps_without_harm_and_harm_without_long_steps():
    assert judged(run(lambda s, j: 0.2, falling_loss()), "learning-rate-too-high") == []
    assert judged(run(lambda s, j: 1e-3, flat_loss()), "learning-rate-too-high") == []


def test_ill_before_the_first_step():
    assert judged(run(lambda s, j: 0.2, flat_loss(level=50.0)), "learning-rate-too-high") == []


def test_absent():
    assert "needed" in unmeasured(run(lambda s, j: 0.2, [2.3, 2.2]), "learning-rate-too-high")
    assert "begun" in unmeasured(run(lambda s, j: 0.2, flat_loss(20), status="running"), "learning-rate-too-high")


def test_long_first_steps_alone_are_healthy():
    tables = {
        "update/ratio": lambda s, j: 0.2 if s < 64 else 0.01,
        "update/rms": lambda s, j: 0.02 if s < 64 else 0.001,
        "parameter/rms": lambda s, j: 0.1,
    }
    made = history(flat_loss(), tables=tables, points={"learning_rate/0": [0.001] * 10}, losses=cross_entropy())
    assert judged(made, "learning-rate-too-high") == []
    tables["update/rms"] = lambda s, j: 0.05  # weights that grew make steps look short
    made = history(flat_loss(), tables=tables, points={"learning_rate/0": [0.1] * 10}, losses=cross_entropy())
    assert judged(made, "learning-rate-too-high")


def test_sick_thrown_to_where_the_input_is_ignored():
    loss = np.log(10) + np.concatenate([np.linspace(2.0, 0.0, 40), np.zeros(360)])
    loss += 0.005 * np.random.default_rng(0).standard_normal(400)
    (found,) = judged(run(lambda s, j: 0.9 if s == 0 else 1e-3, loss), "learning-rate-too-high")
    assert "ignores its input" in found.message
    assert judged(run(lambda s, j: 1e-3, loss), "learning-rate-too-high") == []


def test_sick_steps_that_look_short_because_the_weights_grew():
    tables = {
        "update/ratio": lambda s, j: 0.03,
        "update/rms": lambda s, j: 0.003 * (1 + s),
        "parameter/rms": lambda s, j: 0.1 * (1 + s),
    }
    rising = 2.0 + np.linspace(0.0, 200.0, 400)
    made = history(rising, tables=tables, points={"learning_rate/0": [0.5] * 10}, losses=cross_entropy())
    (found,) = judged(made, "learning-rate-too-high")
    assert found.severity == "error"


def test_a_loss_that_stands_far_above_its_start_for_a_while_and_comes_back():
    loss = falling_loss()
    loss[120:180] += 30.0
    (found,) = judged(run(lambda s, j: 0.2, loss), "learning-rate-too-high")
    assert found.severity == "warning"
    assert "far above its start" in found.message
    loss[124:180] -= 30.0  # a passing spike
    assert judged(run(lambda s, j: 0.2, loss), "learning-rate-too-high") == []


def test_a_run_that_throws_its_weights_about_and_hardly_learns():
    loss = np.linspace(2.35, 2.0, 400)
    assert "predictor that ignores" in judged(run(lambda s, j: 2.0, loss), "learning-rate-too-high")[0].message
    assert judged(run(lambda s, j: 0.06, loss), "learning-rate-too-high") == []


def test_the_group_with_the_far_higher_rate_is_named():
    groups = [{"lr": 0.01, "parameters": ["net.0.weight"]}, {"lr": 1.0, "parameters": ["net.4.weight"]}]
    made = run(lambda s, j: 0.2, flat_loss(), optimizers=[{"type": "Adam", "groups": groups}])
    assert judged(made, "learning-rate-too-high")[0].site == "net.4.weight"
    groups[1]["lr"] = 0.02
    assert judged(made, "learning-rate-too-high")[0].site != "net.4.weight"


def test_a_first_loss_that_is_no_number_is_not_the_rates():
    loss = np.full(50, np.nan)
    assert judged(run(lambda s, j: 3.0 if s == 0 else np.nan, loss), "learning-rate-too-high") == []
