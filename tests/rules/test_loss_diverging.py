import numpy as np

from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured


def test_sick_rising():
    (found,) = judged(
        history(2 + np.linspace(0, 5, 400) + 0.1 * np.random.default_rng(0).standard_normal(400)), "loss-diverging"
    )
    assert found.severity == "error"


def test_sick_until_it_overflows():
    loss = np.concatenate([np.geomspace(1, 1e20, 20), [np.nan] * 5])
    assert "no number" in judged(history(loss), "loss-diverging")[0].message


def test_healthy():
    assert judged(history(falling_loss()), "loss-diverging") == []
    assert judged(history(flat_loss()), "loss-diverging") == []


def test_a_spike_and_a_sudden_nan_are_none():
    loss = falling_loss()
    loss[100:104] = 50.0
    assert judged(history(loss), "loss-diverging") == []
    loss[200:] = np.nan
    assert judged(history(loss), "loss-diverging") == []


def test_absent():
    assert "needed" in unmeasured(history([1.0, 2.0, 3.0]), "loss-diverging")
    assert "zero" in unmeasured(history(np.linspace(-1, 5, 100)), "loss-diverging")
