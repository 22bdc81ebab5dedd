import numpy as np

from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured
from tests.rules.surroundings import cross_entropy


def run(ratio, loss, rate=lambda t: 1e-5, **facts):
    tables = {"update/rms": lambda s, j: 0.1 * ratio, "parameter/rms": lambda s, j: 0.1}
    points = {"learning_rate/0": [rate(i / 20) for i in range(20)]}
    return history(loss, tables=tables, points=points, losses=cross_entropy(), **facts)


def test_sick_crawling():
    loss = 2.3 - 0.0002 * np.arange(400) + 0.01 * np.random.default_rng(0).standard_normal(400)
    (found,) = judged(run(1e-6, loss), "learning-rate-too-low")
    assert found.severity == "warning"
    assert "x10" in found.prescriptions[0].changes.values()


def test_sick_zero():
    assert judged(run(0.0, flat_loss(), lambda t: 0.0), "learning-rate-too-low")[0].severity == "error"


def test_sick_gone_before_the_loss_rested():
    loss = np.concatenate([np.linspace(2.3, 1.8, 60), np.full(340, 1.8)])
    (found,) = judged(run(1e-3, loss, lambda t: 0.1 if t < 0.15 else 1e-6), "learning-rate-too-low")
    assert "hundredth" in found.message


def test_healthy():
    assert judged(run(1e-3, falling_loss()), "learning-rate-too-low") == []
    assert judged(run(1e-6, falling_loss()), "learning-rate-too-low") == []  # learns nevertheless
    assert judged(run(1e-6, flat_loss(), frozen=["a"]), "learning-rate-too-low") == []


def test_a_decay_after_the_loss_came_to_rest_is_silent():
    loss = np.concatenate([2.3 * np.exp(-np.arange(200) / 15) + 1.0, np.full(200, 1.0)])
    loss += 0.02 * np.random.default_rng(0).standard_normal(400)
    assert judged(run(1e-3, loss, lambda t: 0.1 if t < 0.29 else 1e-6), "learning-rate-too-low") == []


def test_absent():
    assert "needed" not in unmeasured(run(1e-3, flat_loss(), status="running"), "learning-rate-too-low")


def test_sick_on_its_way_but_far_from_anywhere():
    loss = np.linspace(2.32, 2.2, 400) + 0.002 * np.random.default_rng(0).standard_normal(400)
    (found,) = judged(run(1.5e-4, loss), "learning-rate-too-low")
    assert found.severity == "warning"
    assert judged(run(1.5e-4, np.linspace(2.3, 1.5, 400)), "learning-rate-too-low") == []  # it learns
    assert judged(run(1.5e-4, flat_loss()), "learning-rate-too-low") == []  # it rests: another rate may not help
