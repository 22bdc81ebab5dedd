import numpy as np

from tests.rules.histories import falling_loss, history, judged, unmeasured


def run(loss, rate=lambda t: 0.1, **facts):
    return history(loss, points={"learning_rate/0": [rate(i / 20) for i in range(20)]}, **facts)


def test_info():
    (found,) = judged(run(falling_loss(noise=0.1)), "plateau-at-constant-rate")
    assert found.severity == "info"


def test_silent():
    assert judged(run(falling_loss(noise=0.1), lambda t: 0.1 * (1 - t)), "plateau-at-constant-rate") == []
    assert judged(run(falling_loss(noise=0.001)), "plateau-at-constant-rate") == []
    assert judged(run(3 - 0.005 * np.arange(400)), "plateau-at-constant-rate") == []


def test_absent():
    assert "end" in unmeasured(run(falling_loss(), status="running"), "plateau-at-constant-rate")
